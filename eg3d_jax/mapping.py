"""The mapping network: (latent, conditioning camera) -> w, with truncation towards the mean w.

Letters: N batch, Z channels of z, D channels of w, L number of w vectors.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from eg3d_jax.config import GeneratorConfig
from eg3d_jax.layers import Buffer, FullyConnected, leaky_relu, normalise


class MappingNetwork(nnx.Module):
    """Fully connected layers `fc0`, `fc1`, ... behind the normalised latent and the embedded camera."""

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        settings = config.mapping
        self.embed = FullyConnected(config.c_dim, config.w_dim, rngs=rngs)
        in_channels = config.z_dim + config.w_dim
        for index in range(settings.num_layers):
            layer = FullyConnected(
                in_channels,
                config.w_dim,
                rngs=rngs,
                learning_rate_multiplier=settings.learning_rate_multiplier,
            )
            setattr(self, f'fc{index}', layer)
            in_channels = config.w_dim
        self.w_avg = Buffer(jnp.zeros(config.w_dim))
        self.settings = settings
        self.num_ws = config.num_ws

    def __call__(
        self,
        z: Float[Array, 'N Z'],
        camera: Float[Array, 'N 25'],
        truncation_psi: float | Float[Array, ''] = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Array, 'N L D']:
        """The w vectors of the backbone, `num_ws` equal ones where nothing is truncated.

        Args:
            z: latents, normally distributed; only their direction matters.
            camera: conditioning cameras. Not looked at where the config conditions on zeros.
            truncation_psi: 1 leaves w as it is, 0 gives the mean w.
            truncation_cutoff: how many of the first w vectors are truncated; None: all.
        """
        conditioning = jnp.zeros_like(camera) if self.settings.condition_on_zeros else camera
        embedded = normalise(self.embed(conditioning * self.settings.camera_scale))
        x = jnp.concatenate([normalise(z), embedded], axis=-1)
        for index in range(self.settings.num_layers):
            x = leaky_relu(getattr(self, f'fc{index}')(x))
        ws = jnp.broadcast_to(x[:, None, :], (x.shape[0], self.num_ws, x.shape[1]))
        mean = self.w_avg[...]
        truncated = (1.0 - truncation_psi) * mean + truncation_psi * ws  # exactly ws where psi is 1
        is_truncated = jnp.arange(self.num_ws) < (self.num_ws if truncation_cutoff is None else truncation_cutoff)
        return jnp.where(is_truncated[:, None], truncated, ws)
