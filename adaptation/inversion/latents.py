"""Where heads lie in w: their mean and principal directions, in whose units a head is looked for.

L number of w vectors, D channels of w, S samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator

SAMPLES = 4096
SEED = 20_000
SMALLEST_SHARE = 1e-3  # of the largest deviation: directions in which heads vary less are not followed


class Basis(NamedTuple):
    """mean: of w. axes: a row for each principal direction, one standard deviation long."""

    mean: Float[Array, 'D']
    axes: Float[Array, 'K D']

    def ws(self, coordinates: Float[Array, 'K'], offsets: Float[Array, 'L K']) -> Float[Array, '1 L D']:
        """W+ vectors: one point for all layers, and what each layer's differs from it."""
        return (self.mean + (coordinates + offsets) @ self.axes)[None]


def w_basis(generator: TriPlaneGenerator, camera: CameraConfig) -> Basis:
    """From samples of w, conditioned on the frontal camera."""
    z = jax.random.normal(jax.random.key(SEED), (SAMPLES, generator.config.z_dim))
    w = np.asarray(_map(generator, z, frontal_cameras(SAMPLES, camera)), np.float64)
    mean = w.mean(axis=0)
    _, lengths, directions = np.linalg.svd(w - mean, full_matrices=False)
    deviations = lengths / np.sqrt(SAMPLES - 1)
    kept = deviations > SMALLEST_SHARE * deviations[0]
    axes = deviations[kept, None] * directions[kept]
    return Basis(jnp.asarray(mean, jnp.float32), jnp.asarray(axes, jnp.float32))


@jax.jit
def _map(generator: TriPlaneGenerator, z: Array, conditioning: Array) -> Array:
    return generator.mapping(z, conditioning)[:, 0]
