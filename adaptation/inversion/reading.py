"""A first guess of a photograph's view, by a regression that the generator's own heads teach.

Kernel ridge regression over small renderings of random heads from random views; nothing is trained beforehand.
Renderings are compared by their colours, brightness and contrast apart, and by their edges.

N renderings, F numbers of one, G of its features, S side of a photograph.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from adaptation.inversion.poses import VIEWS, cameras_of, deviations, make_look, middle
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator
from eg3d_jax.config import RGB_CHANNELS

HEADS, VIEWS_PER_HEAD = 192, 4
LARGEST_SIDE = 32  # pixels of a rendering
SPREAD = 1.2  # of the views, in deviations of the generator's cameras
RIDGE = 3e-4  # of the kernel, which is 1 for two equal renderings
EDGES = 4.0  # weight of differences between neighbouring pixels, beside colours in deviations
LEAST_CONTRAST = 0.05  # added to the deviation that colours are divided by
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


def _features(renderings: Float[np.ndarray, 'N F']) -> Float[np.ndarray, 'N G']:
    """What is compared of renderings."""
    side = math.isqrt(renderings.shape[1] // RGB_CHANNELS)
    images = renderings.reshape(-1, side, side, RGB_CHANNELS)
    level, contrast = (statistic(images, axis=(1, 2), keepdims=True) for statistic in (np.mean, np.std))
    colours = (images - level) / (contrast + LEAST_CONTRAST)
    edges = [EDGES * np.abs(np.diff(images, axis=axis)) for axis in (1, 2)]
    return np.concatenate([part.reshape(len(images), -1) for part in (colours, *edges)], axis=1)


def _fit(
    examples: Float[np.ndarray, 'N F'], answers: Float[np.ndarray, 'N 2'], asked: Float[np.ndarray, 'M F']
) -> Float[np.ndarray, 'M 2']:
    """The answers of a ridge regression with a Gaussian kernel, as wide as renderings are apart."""
    ours, theirs = _features(examples), _features(asked)
    between = _squared_distances(ours, ours)
    width = np.median(between)
    centre = answers.mean(axis=0)
    weights = np.linalg.solve(np.exp(-between / width) + RIDGE * np.eye(len(ours)), answers - centre)
    return np.exp(-_squared_distances(theirs, ours) / width) @ weights + centre


def _squared_distances(one: Float[np.ndarray, 'M G'], other: Float[np.ndarray, 'N G']) -> Float[np.ndarray, 'M N']:
    norms = (np.sum(np.square(x), axis=1) for x in (one, other))
    return np.maximum(np.add.outer(*norms) - 2.0 * one @ other.T, 0.0)
