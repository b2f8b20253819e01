"""The record of inversions: its table, and the side from which a head is shown that its picture does not show."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from adaptation.generation.poses import pose_cameras
from adaptation.generation.rendering import look
from adaptation.generation.subjects import Subject
from adaptation.inversion import Inversion
from benchmarks.inversion import COLUMNS, OTHER_SIDE, from_another_side, table


@pytest.mark.parametrize('yaw', [0.3, -0.2])
def test_a_head_is_turned_to_its_other_side(tiny_generator: Any, yaw: float):
    camera = tiny_generator.config.camera
    ws = tiny_generator.mapping(jnp.ones((1, 8)), jnp.zeros((1, 25)))
    pose = np.asarray((yaw, 0.1, 0.0, 0.0, 0.0, 0.0))
    found = Inversion(ws, pose_cameras(np.asarray([pose[:2]], np.float32), camera), pose, {}, {})
    other = pose_cameras(np.asarray([[-np.sign(yaw) * OTHER_SIDE, 0.0]], np.float32), camera)
    (seen,) = look(tiny_generator, ws, other, 1)
    made = from_another_side(found, Subject('source', 'source', tiny_generator, camera))
    np.testing.assert_array_equal(made, seen.images[0])


def test_the_table_has_means_and_extremes_of_each_kind():
    records = [
        {'heads': kind, 'head': head, **dict.fromkeys(COLUMNS, value)}
        for kind, values in (('world', (1.0, 2.0)), ('generator', (0.5, 0.5)))
        for head, value in enumerate(values)
    ]
    lines = table(records).splitlines()
    assert lines[0] == '| | heads of the world | heads of the generator |'
    assert '| Yaw error, degrees | 1.5 (1.0 to 2.0) | 0.5 (0.5 to 0.5) |' in lines
    assert '| Attributes | 150% (100% to 200%) | 50% (50% to 50%) |' in lines
    assert len(lines) == 2 + len(COLUMNS)
