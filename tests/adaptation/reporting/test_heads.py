"""Which heads are drawn, and which of them are chosen."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eg3d_jax
from adaptation.config import AdaptationConfig
from adaptation.errors import AdaptationError
from adaptation.inputs import Inputs, load_inputs
from adaptation.leaves import with_leaves
from adaptation.reporting import heads
from adaptation.reporting.heads import CANDIDATES, VIEWS, Gallery, Painter, closeness, curate, images, turning_reach

ANGLE_TOLERANCE = 1e-4  # radians, of angles found from float32 matrices


class Recorder:
    """Stands in for the compiled generator: a flat image whose grey is the first number of z, and darker if adapted."""

    def __init__(self, source: eg3d_jax.TriPlaneGenerator):
        self.source, self.yaws = source, []

    def __call__(
        self, generator: eg3d_jax.TriPlaneGenerator, z: jax.Array, camera: jax.Array, conditioning: jax.Array
    ) -> jax.Array:
        assert len(z) == 3, 'batches of one size'
        self.yaws.append(np.arctan2(camera[:, 3], camera[:, 11]))  # of the camera's place
        grey = jnp.tanh(z[:, :1]) - (0.0 if generator is self.source else 0.5)
        return jnp.broadcast_to(grey[:, :, None, None], (3, 16, 16, 3))


@pytest.fixture
def inputs(hostile_config: AdaptationConfig) -> Inputs:
    return load_inputs(hostile_config)


@pytest.fixture
def paint(inputs: Inputs) -> Callable[..., Gallery]:
    def gallery(count: int, seed: int, drawn: Callable[[int], object] = lambda images: None) -> Gallery:
        adapted = with_leaves(inputs.generator, {})
        painter = Painter(inputs, adapted, Recorder(inputs.generator), batch_size=3, drawn=drawn)
        return painter.gallery(count, seed)

    return gallery


def test_gallery(paint: Callable[..., Gallery]):
    told: list[int] = []
    gallery = paint(2, 0, told.append)
    assert sum(told) == images(2)
    assert gallery.candidates == CANDIDATES * 2
    assert [pair.number for pair in gallery.random] == [0, 1]
    assert len({pair.number for pair in gallery.curated}) == 2
    assert [turn.number for turn in gallery.turns] == [pair.number for pair in gallery.curated]
    assert gallery.turns[0].source.shape == (VIEWS, 16, 16, 3)
    for pair, turn in zip(gallery.curated, gallery.turns, strict=True):
        np.testing.assert_array_equal(turn.source[0], pair.source, 'the same latent')
    brighter = [pair.source.mean() > pair.adapted.mean() for pair in (*gallery.random, *gallery.curated)]
    assert all(brighter), 'source and adapted are not mixed up'


def test_heads_depend_on_the_seed_and_not_on_their_number(paint: Callable[..., Gallery]):
    few, many, other = paint(1, 0), paint(2, 0), paint(1, 1)
    np.testing.assert_array_equal(few.random[0].source, many.random[0].source)
    assert (few.random[0].source != other.random[0].source).any()
    assert images(1) < images(2)


def test_a_turning_head_is_seen_from_side_to_side(inputs: Inputs):
    recorder = Recorder(inputs.generator)
    Painter(inputs, with_leaves(inputs.generator, {}), recorder, batch_size=3).gallery(1, 0)
    yaws = np.concatenate(recorder.yaws[-5:])[:VIEWS]  # 13 views in batches of 3
    reach = turning_reach(inputs.camera)
    np.testing.assert_allclose(yaws, inputs.camera.yaw_mean + np.linspace(-reach, reach, VIEWS), atol=ANGLE_TOLERANCE)


def test_the_reach_covers_the_training_cameras():
    camera = eg3d_jax.CameraConfig(yaw_std=0.3)
    assert turning_reach(camera) == pytest.approx(0.6)
    assert turning_reach(replace(camera, distribution='uniform')) == pytest.approx(0.3)
    assert turning_reach(replace(camera, yaw_std=3.0)) == pytest.approx(np.pi), 'not more than all around'


def test_images_that_are_not_finite_are_refused(inputs: Inputs):
    def generate(*_: object) -> jax.Array:
        return jnp.full((3, 16, 16, 3), jnp.nan)

    with pytest.raises(AdaptationError, match='images that are not finite'):
        Painter(inputs, inputs.generator, generate, batch_size=3).gallery(1, 0)


def test_closeness_is_the_cosine_with_the_way_to_the_reference():
    source = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    moves = np.array([[0.0, 2.0], [3.0, 3.0], [0.0, 0.0]])
    found = closeness(source, source + moves, np.array([0.0, 5.0]))
    np.testing.assert_allclose(found, [1.0, np.sqrt(0.5), 0.0], atol=1e-12)


class TestCurate:
    scores = np.array([0.9, 0.1, 0.8, 0.7, 0.2, 0.3])
    places = np.array([[0.0], [50.0], [0.1], [4.0], [60.0], [70.0]])

    def test_the_better_half_by_score_then_the_unlike(self):
        assert curate(self.scores, self.places, 1) == [0]
        assert curate(self.scores, self.places, 2) == [0, 3], 'not 2, which is like 0, nor 5, which is worse'
        assert curate(self.scores, self.places, 3) == [0, 3, 2]

    def test_all_of_them_where_all_are_wanted(self):
        assert sorted(curate(self.scores, self.places, 6)) == list(range(6))
        assert sorted(curate(self.scores, self.places, 9)) == list(range(6))

    def test_equal_heads_are_still_chosen_once(self):
        assert sorted(curate(np.zeros(4), np.zeros((4, 1)), 4)) == [0, 1, 2, 3]


def test_more_candidates_than_heads_in_a_grid():
    assert CANDIDATES >= 2, 'or else the better half is not enough'
    assert images(12) == 2 * (heads.CANDIDATES * 12 + heads.TURNING * VIEWS)
