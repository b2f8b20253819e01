"""The miniature's test set follows from its seed."""

import numpy as np
import pytest

from benchmarks.ground_truth import VALIDATION, batches, poses


def test_the_seed_alone_chooses_the_heads_and_a_larger_set_begins_with_the_smaller():
    small, large = poses(16, seed=3), poses(32, seed=3)
    np.testing.assert_array_equal(small.z, large.z[:16])
    np.testing.assert_array_equal(small.camera, large.camera[:16])
    assert not np.allclose(large.z[:16], large.z[16:])
    for other in (4, VALIDATION + 3):
        assert not np.allclose(poses(16, other).z, small.z)


def test_batches_hold_all_in_order():
    chosen = poses(48, seed=0)
    parts = batches(chosen)
    assert [len(part.z) for part in parts] == [16, 16, 16]
    np.testing.assert_array_equal(np.concatenate([part.z for part in parts]), chosen.z)
    with pytest.raises(ValueError, match='multiple of 16'):
        batches(poses(17, seed=0))
