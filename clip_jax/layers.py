"""The few layers that CLIP is made of. Leaves are named as in PyTorch: `weight` and `bias`.

Initial values follow the CLIP paper (section 2.4): the deviation depends on width and depth, so
each layer is given its own.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

QUICK_GELU_SLOPE = 1.702  # OpenAI's models were trained with this sigmoid approximation of GELU


def activation(name: str) -> Callable[[Array], Array]:
    """The function that `hidden_act` names: 'quick_gelu', or 'gelu' (exact, with the error function).

    Raises:
      ValueError: another name.
    """
    if name == 'quick_gelu':
        return lambda x: x * jax.nn.sigmoid(QUICK_GELU_SLOPE * x)
    if name == 'gelu':
        return lambda x: jax.nn.gelu(x, approximate=False)
    raise ValueError(f"hidden_act must be 'quick_gelu' or 'gelu', got {name!r}.")


class Linear(nnx.Module):
    """x [..., inputs] -> x @ weight + bias [..., outputs]."""

    def __init__(self, inputs: int, outputs: int, *, std: float, use_bias: bool = True, rngs: nnx.Rngs):
        self.weight = nnx.Param(std * jax.random.normal(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if use_bias else None

    def __call__(self, x: Float[Array, '... I']) -> Float[Array, '... O']:
        weight = self.weight[...]
        # One product over all tokens: the weight's gradient takes XLA's CPU backend half as long as with a batched one.
        y = (x.reshape(-1, weight.shape[0]) @ weight).reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias[...]


class LayerNorm(nnx.Module):
    """Normalises the last axis, then scales and shifts it."""

    def __init__(self, width: int, eps: float):
        self.weight = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.eps = eps

    def __call__(self, x: Float[Array, '... C']) -> Float[Array, '... C']:
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + self.eps) * self.weight[...] + self.bias[...]


class Embedding(nnx.Module):
    """A table of vectors: ids [...] -> [..., width]."""

    def __init__(self, count: int, width: int, *, std: float, rngs: nnx.Rngs):
        self.weight = nnx.Param(std * jax.random.normal(rngs.params(), (count, width)))

    def __call__(self, ids: Int[Array, '...']) -> Float[Array, '... C']:
        return self.weight[...][ids]
