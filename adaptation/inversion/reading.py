"""A first guess of a photograph's view: read linearly off its colours, by a map that the generator's own heads teach.

Regularised least squares over small renderings of random heads from random views; nothing is trained beforehand.

N renderings, F numbers of one, S side of a photograph.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from adaptation.inversion.poses import VIEWS, cameras_of, deviations, make_look, middle
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator

HEADS, VIEWS_PER_HEAD = 192, 4
LARGEST_SIDE = 32  # pixels of a rendering
SPREAD = 1.2  # of the views, in deviations of the generator's cameras
RIDGE = 0.1  # in mean squared norms of a rendering
SEED = 21_000


class Reading(NamedTuple):
    """yaw and pitch in radians, and how far they are wrong by for heads of the generator (root mean square)."""

    view: Float[np.ndarray, '2']
    error: Float[np.ndarray, '2']


class ViewReader:
    """Guesses from which side photographs were taken; to be made once for a generator."""

    def __init__(self, generator: TriPlaneGenerator, camera: CameraConfig):
        self.side = min(LARGEST_SIDE, generator.config.rendering.neural_resolution)
        self._seen, self._views = _examples(generator, self.side, camera)
        last = len(self._seen) - len(self._seen) // 4  # the others tell the error
        guesses = _fit(self._seen[:last], self._views[:last], self._seen[last:])
        self.error = np.sqrt(np.mean(np.square(guesses - self._views[last:]), axis=0))

    def read(self, photo: Float[np.ndarray, 'S S 3']) -> Reading:
        """The view of a photograph in [-1, 1]."""
        small = jax.image.resize(jnp.asarray(photo), (self.side, self.side, 3), 'linear', antialias=True)
        (view,) = _fit(self._seen, self._views, np.asarray(small, np.float64).reshape(1, -1))
        return Reading(view, self.error)


def _examples(
    generator: TriPlaneGenerator, side: int, camera: CameraConfig
) -> tuple[Float[np.ndarray, 'N F'], Float[np.ndarray, 'N 2']]:
    """Renderings of random heads, and their views."""
    random, look = np.random.default_rng(SEED), make_look(side)
    seen, views = [], []
    for _ in range(HEADS):
        z = jnp.asarray(random.standard_normal((1, generator.config.z_dim)), jnp.float32)
        poses = np.repeat(middle(camera)[None], VIEWS_PER_HEAD, axis=0)
        turns = random.standard_normal((VIEWS_PER_HEAD, VIEWS))
        poses[:, :VIEWS] += SPREAD * deviations(camera)[:VIEWS] * turns
        looking = cameras_of(jnp.asarray(poses, jnp.float32), camera)
        planes = _planes(generator, z, frontal_cameras(1, camera))
        seen.append(np.asarray(look(generator, planes, looking), np.float64).reshape(VIEWS_PER_HEAD, -1))
        views.append(poses[:, :VIEWS])
    return np.concatenate(seen), np.concatenate(views)


@jax.jit
def _planes(generator: TriPlaneGenerator, z: jax.Array, conditioning: jax.Array) -> jax.Array:
    return generator.planes(generator.mapping(z, conditioning))


def _fit(
    examples: Float[np.ndarray, 'N F'], answers: Float[np.ndarray, 'N 2'], asked: Float[np.ndarray, 'M F']
) -> Float[np.ndarray, 'M 2']:
    """The answers of a ridge regression, in its dual form: there are fewer examples than features."""
    mean, centre = examples.mean(axis=0), answers.mean(axis=0)
    moved = examples - mean
    products = moved @ moved.T
    ridge = RIDGE * np.trace(products) / len(examples)
    weights = np.linalg.solve(products + ridge * np.eye(len(examples)), answers - centre)
    return (asked - mean) @ moved.T @ weights + centre
