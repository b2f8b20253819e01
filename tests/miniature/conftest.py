"""Shared fixtures: run-time checks of the shape annotations, and heads that between them have all the world offers."""

import dataclasses
import functools

import numpy as np
import pytest
from jaxtyping import install_import_hook

with install_import_hook('miniature', 'beartype.beartype'):
    from miniature import world

import jax
import jax.numpy as jnp

from eg3d_jax import PRESETS
from eg3d_jax.cameras import orbit_cameras
from miniature.world.latent import CHOICES

YAW = (0.0, 0.6, -0.6, 0.3, -0.3, 0.5, 0.0, -0.45)  # radians
PITCH = (0.0, 0.3, -0.3, 0.1, 0.2, -0.2, 0.3, -0.1)


class Gallery:
    """Eight heads of as many hair styles, with every other choice taken in turn, each seen from a side of its own."""

    count = len(YAW)
    side = 64  # pixels of the buffers; pictures drawn from them have half of it

    def __init__(self) -> None:
        heads = world.sample(jax.random.key(7), self.count)
        turns = {
            name: jnp.asarray((np.arange(self.count) + offset) % len(values), jnp.int32)
            for offset, (name, values) in enumerate(CHOICES.items())
        }
        self.heads = dataclasses.replace(heads, choices=turns)

    def cameras(self, turn: float = 0.0) -> jax.Array:
        """The cameras, all turned further around the heads."""
        return orbit_cameras(jnp.asarray(YAW) + turn, jnp.asarray(PITCH), PRESETS['miniature'].camera)

    @functools.cache  # noqa: B019 -- lives as long as the tests
    def buffers(self, turn: float = 0.0) -> world.Buffers:
        """What the cameras see, as NumPy arrays."""
        return jax.device_get(world.buffers(self.heads, self.cameras(turn), self.side))

    @functools.cache  # noqa: B019 -- lives as long as the tests
    def pictures(self, side: int) -> dict[str, np.ndarray]:
        """What the cameras see, drawn in every style in this many pixels."""
        drawn = world.render_styles(self.heads, self.cameras(), side)
        return {style: np.asarray(images) for style, images in drawn.items()}

    def query(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance and colour at points [N, R, R, 3]."""
        asked = jnp.asarray(points.reshape(self.count, -1, 3), jnp.float32)
        distance, colour = world.query(self.heads, asked)
        return np.asarray(distance).reshape(points.shape[:-1]), np.asarray(colour).reshape(points.shape)


@pytest.fixture(scope='session')
def gallery() -> Gallery:
    return Gallery()
