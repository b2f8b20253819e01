"""The miniature's test set follows from its seed."""

from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.ground_truth import (
    VALIDATION,
    GroundTruth,
    batches,
    poses,
    read_ground_truth,
    save_ground_truth,
)


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


def test_what_is_saved_is_read(tmp_path: Path):
    chosen, numbers = poses(16, seed=0), np.random.default_rng(0)
    truth = GroundTruth(
        style='sketch',
        poses=chosen,
        images=numbers.random((16, 4, 4, 3), np.float32),
        depth=np.where(numbers.random((16, 2, 2)) > 0.5, np.float32(2.5), np.float32(np.inf)),
        classes={'glasses': numbers.integers(0, 3, 16), 'hair_style': numbers.integers(0, 5, 16)},
        amounts=numbers.random((16, 2)),
        embedded=numbers.random((16, 3)),
        domain=numbers.random((16, 3)),
    )
    save_ground_truth(truth, tmp_path / 'deeper' / 'truth.npz')
    found = read_ground_truth(tmp_path / 'deeper' / 'truth.npz')
    assert found.style == 'sketch'
    jax.tree.map(np.testing.assert_array_equal, found._replace(style=0), truth._replace(style=0))
    assert found.floor == truth.floor
