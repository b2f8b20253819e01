"""A generator with more channels that paints the same pictures: training goes on from what a narrower one has learnt.

Letters: k side of a kernel, I inputs and O outputs of a layer.
"""

import jax.numpy as jnp
from flax import nnx

from eg3d_jax import TriPlaneGenerator
from eg3d_jax.config import GeneratorConfig


def widened(generator: TriPlaneGenerator, config: GeneratorConfig, seed: int) -> TriPlaneGenerator:
    """The generator with the channels of another config, which are told apart by its weights' shapes alone.

    Channels that are new begin as those of an untrained generator do, and no channel that was there reads them: its
    kernel is zero for them, so that pictures do not change.

    Args:
        generator: left as it is.
        config: of the same blocks, planes and decoder.
        seed: of the new channels' weights.

    Raises:
        ValueError: the config is not as wide as the generator somewhere, has other weights, or another w or decoder;
            the weight is named.
    """
    wide = TriPlaneGenerator(config, rngs=nnx.Rngs(seed))
    old = {path: value[...] for path, value in nnx.to_flat_state(nnx.state(generator))}
    state = nnx.state(wide)
    flat = nnx.to_flat_state(state)
    if other := {path for path, _ in flat} ^ set(old):
        raise ValueError(
            f'a generator is widened to other channels, not to other layers: {_name(min(other, key=_name))}'
        )
    for path, variable in flat:
        value, before = variable[...], old[path]
        if value.ndim != before.ndim or any(new < n for new, n in zip(value.shape, before.shape, strict=True)):
            raise ValueError(
                f'a generator is widened, not narrowed: {_name(path)} is of shape {before.shape}, and would be of '
                f'{value.shape}'
            )
        if value.ndim == 2 and value.shape[0] != before.shape[0]:  # [I, O]
            raise ValueError(f'blocks are widened, not what {_name(path)} reads: {before.shape[0]} to {value.shape[0]}')
        there = tuple(slice(n) for n in before.shape)
        if value.ndim == 4:  # a kernel [k, k, I, O]
            value = value.at[..., : before.shape[-1]].set(0.0)
            before = before * (value.shape[2] / before.shape[2]) ** 0.5  # layers divide by the root of their inputs
        variable.set_value(jnp.asarray(value).at[there].set(before))
    nnx.update(wide, state)
    return wide


def _name(path: tuple) -> str:
    return '.'.join(map(str, path))
