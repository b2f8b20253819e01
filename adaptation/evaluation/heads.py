"""The heads that are looked at: the same latents and cameras from the source and from the adapted generator.

N batch, L number of w vectors, D their channels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from adaptation.evaluation.features import as_stored
from adaptation.evaluation.multiview import View
from adaptation.step import frontal_cameras
from adaptation.streams import EVALUATION
from eg3d_jax import CameraConfig, TriPlaneGenerator, cameras


@dataclass(frozen=True)
class HeadSampling:
    """What latents and cameras are drawn from; the fields are the run's config's, but for the seed."""

    seed: int
    truncation_psi: float
    conditioning: str
    camera: CameraConfig


class Head(NamedTuple):
    """What a generator knows before it is seen from anywhere."""

    ws: Float[Array, 'N L D']
    planes: Float[Array, 'N 3 H W C']


class Drawn(NamedTuple):
    """Latents, the cameras that look, and those that the mapping is told."""

    z: Float[Array, 'N Z']
    camera: Float[Array, 'N 25']
    conditioning: Float[Array, 'N 25']


def draw(indices: Int[Array, 'N'], sampling: HeadSampling, z_dim: int) -> Drawn:
    """The samples of these numbers: each depends on the seed and on its own number alone, not on the batch."""

    def one(index: Int[Array, '']) -> tuple[Array, Array]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(sampling.seed), EVALUATION), index)
        z_key, camera_key = jax.random.split(key)
        return jax.random.normal(z_key, (z_dim,)), cameras.sample_poses(camera_key, 1, sampling.camera)[0]

    z, camera = jax.vmap(one)(indices)
    same = sampling.conditioning == 'same'
    return Drawn(z, camera, camera if same else frontal_cameras(len(indices), sampling.camera))


def make_head(generator: TriPlaneGenerator, drawn: Drawn, truncation_psi: float) -> Head:
    """Mapping and backbone."""
    ws = generator.mapping(drawn.z, drawn.conditioning, truncation_psi)
    return Head(ws, generator.planes(ws))


def look(generator: TriPlaneGenerator, head: Head, camera: Float[Array, 'N 25']) -> View:
    """The head from cameras, without jitter; the image in 8 bits (see `as_stored`)."""
    rendered = generator.render(head.planes, camera)
    image = as_stored(generator.superresolve(rendered.feature_image, head.ws, rendered.points))
    return View(camera, image, jnp.squeeze(rendered.depth, -1), jnp.squeeze(rendered.weights_sum, -1))
