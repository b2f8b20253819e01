"""The pre-norm transformer that both towers share.

N batch, T tokens, C channels, H heads, D channels of a head.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from clip_jax.config import TextConfig, VisionConfig
from clip_jax.layers import LayerNorm, Linear, activation


class Attention(nnx.Module):
    """Multi-head self-attention; `causal` lets a token see itself and those before it."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool, rngs: nnx.Rngs):
        width = config.width
        std = width**-0.5
        residual_std = std * (2 * config.layers) ** -0.5
        self.q_proj = Linear(width, width, std=std, rngs=rngs)
        self.k_proj = Linear(width, width, std=std, rngs=rngs)
        self.v_proj = Linear(width, width, std=std, rngs=rngs)
        self.out_proj = Linear(width, width, std=residual_std, rngs=rngs)
        self.heads = config.heads
        self.causal = causal

    def __call__(self, x: Float[Array, 'N T C']) -> Float[Array, 'N T C']:
        n, t, c = x.shape
        query, key, value = (
            layer(x).reshape(n, t, self.heads, -1).transpose(0, 2, 1, 3)  # [N, T, C] -> [N, H, T, D]
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attend(query, key, value, self.causal)
        return self.out_proj(mixed.transpose(0, 2, 1, 3).reshape(n, t, c))  # [N, H, T, D] -> [N, T, C]


def attend(
    query: Float[Array, 'N H T D'], key: Float[Array, 'N H T D'], value: Float[Array, 'N H T D'], causal: bool
) -> Float[Array, 'N H T D']:
    """Scaled dot-product attention. The softmax is divided by its sum after the values are mixed, not before: the same
    numbers, and with the gradient half the time on CPU."""
    scores = (query * query.shape[-1] ** -0.5) @ key.swapaxes(-1, -2)  # [N, H, T, T]
    if causal:
        scores = jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    return (weights @ value) / weights.sum(-1, keepdims=True)


class Mlp(nnx.Module):
    """Two linear layers with the tower's activation between them."""

    def __init__(self, config: VisionConfig | TextConfig, *, rngs: nnx.Rngs):
        std = (2 * config.width) ** -0.5
        residual_std = config.width**-0.5 * (2 * config.layers) ** -0.5
        self.fc1 = Linear(config.width, config.mlp_width, std=std, rngs=rngs)
        self.fc2 = Linear(config.mlp_width, config.width, std=residual_std, rngs=rngs)
        self.hidden_act = config.hidden_act

    def __call__(self, x: Float[Array, 'N T C']) -> Float[Array, 'N T C']:
        return self.fc2(activation(self.hidden_act)(self.fc1(x)))


class Block(nnx.Module):
    """Attention and MLP, each on a normalised copy of the tokens and added to them."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool, rngs: nnx.Rngs):
        self.layer_norm1 = LayerNorm(config.width, config.layer_norm_eps)
        self.self_attn = Attention(config, causal=causal, rngs=rngs)
        self.layer_norm2 = LayerNorm(config.width, config.layer_norm_eps)
        self.mlp = Mlp(config, rngs=rngs)

    def __call__(self, x: Float[Array, 'N T C']) -> Float[Array, 'N T C']:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nnx.Module):
    """The stack of blocks, `layers`; towers walk it themselves, so that they can stop early."""

    def __init__(self, config: VisionConfig | TextConfig, *, causal: bool, rngs: nnx.Rngs):
        self.layers = nnx.List([Block(config, causal=causal, rngs=rngs) for _ in range(config.layers)])
