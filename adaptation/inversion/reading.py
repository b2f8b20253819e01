"""A first guess of a photograph's view: read linearly off its colours, by a map that the generator's own heads teach.

Regularised least squares over small renderings of random heads from random views; nothing is trained beforehand.

N renderings, h side of one.
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


def read_view(generator: TriPlaneGenerator, photo: Float[np.ndarray, 'S S 3'], camera: CameraConfig) -> Reading:
    """Guesses from which side a photograph in [-1, 1] was taken."""
    side = min(LARGEST_SIDE, generator.config.rendering.neural_resolution)
    seen, views = _examples(generator, side, camera)
    photo = np.asarray(jax.image.resize(jnp.asarray(photo), (side, side, 3), 'linear', antialias=True))
    centre, mean = views.mean(axis=0), seen.mean(axis=0)
    last = len(seen) - len(seen) // 4  # the others tell the error
    guesses = _fit(seen[:last] - mean, views[:last] - centre, seen[last:] - mean) + centre
    error = np.sqrt(np.mean(np.square(guesses - views[last:]), axis=0))
    (guess,) = _fit(seen - mean, views - centre, photo.reshape(1, -1) - mean) + centre
    return Reading(guess, error)


def _examples(
    generator: TriPlaneGenerator, side: int, camera: CameraConfig
) -> tuple[Float[np.ndarray, 'N h*h*3'], Float[np.ndarray, 'N 2']]:
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
    products = examples @ examples.T
    ridge = RIDGE * np.trace(products) / len(examples)
    return asked @ examples.T @ np.linalg.solve(products + ridge * np.eye(len(examples)), answers)
