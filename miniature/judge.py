"""The judge: a small convolutional network that says what a picture of the miniature's world shows.

It measures what others make and guides nothing, so it shares nothing with the CLIPs: neither architecture, nor
training pictures, nor seed. It tells styles apart, sharp from blurred ones too, and reads the heads' attributes;
distances between sets of pictures are measured in its embedding.

Letters: N batch, R resolution, C channels, E embedding.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from safetensors.numpy import load_file, save_file

from eg3d_jax.files import replacing, write_json
from miniature import weights_directory, world
from miniature.world.latent import AMOUNTS

BLURRED = 'blurred_'  # prefix of a style that is seen out of focus
TREATED = ('grey_photo', 'sepia_photo')
STYLES = (*world.STYLES, *(f'{BLURRED}{style}' for style in world.STYLES), *TREATED)


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """The network's shape, and what it was taught to say."""

    resolution: int = 128  # pixels along a side of the pictures
    factors: tuple[int, ...] = (4, 2, 2, 2)  # by which the stages reduce the resolution
    channels: tuple[int, ...] = (32, 64, 96, 96)  # of the stages
    blocks: tuple[int, ...] = (1, 1, 1, 1)  # convolutions in each stage
    embedding: int = 64
    styles: tuple[str, ...] = STYLES
    classes: tuple[tuple[str, int], ...] = tuple((name, len(names)) for name, names in world.CLASSES.items())
    amounts: tuple[str, ...] = AMOUNTS

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> JudgeConfig:
        """Reads what `to_dict` wrote, from JSON too."""
        known: dict[str, Any] = {name: _tuples(value) for name, value in values.items()}
        return JudgeConfig(**known)


def _tuples(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


class Block(nnx.Module):
    """Adds what a 3 x 3 neighbourhood says."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(channels, rngs=rngs)
        self.look = nnx.Conv(channels, channels, (3, 3), rngs=rngs)

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N H W C']:
        return x + self.look(nnx.gelu(self.norm(x)))


class Stage(nnx.Module):
    """Reduces the resolution without dropping a pixel (squares of them become channels), then looks around."""

    def __init__(self, inputs: int, channels: int, factor: int, blocks: int, *, rngs: nnx.Rngs):
        self.reduce = nnx.Linear(factor * factor * inputs, channels, rngs=rngs)
        self.blocks = nnx.List([Block(channels, rngs=rngs) for _ in range(blocks)])
        self.norm = nnx.LayerNorm(channels, rngs=rngs)
        self.factor = factor

    def __call__(self, x: Float[Array, 'N H W C']) -> Float[Array, 'N h w D']:
        n, height, width, c = x.shape
        f, h, w = self.factor, height // self.factor, width // self.factor
        x = x.reshape(n, h, f, w, f, c).transpose(0, 1, 3, 2, 4, 5)  # [N, h, w, f, f, C]
        x = self.reduce(x.reshape(n, h, w, f * f * c))
        for block in self.blocks:
            x = block(x)
        return nnx.gelu(self.norm(x))


class Judge(nnx.Module):
    """Stages, an embedding of all that the last one holds, and linear readings of it.

    The embedding sees what is where, since a beard and a fringe differ by little else, and beside it the mean and the
    deviation over the picture, which tell styles.
    """

    def __init__(self, config: JudgeConfig, *, rngs: nnx.Rngs):
        shapes = zip((3, *config.channels[:-1]), config.channels, config.factors, config.blocks, strict=True)
        self.stages = nnx.List([Stage(*shape, rngs=rngs) for shape in shapes])
        side = config.resolution // math.prod(config.factors)
        self.embedding = nnx.Linear((2 + side * side) * config.channels[-1], config.embedding, rngs=rngs)
        outputs = len(config.styles) + sum(count for _, count in config.classes) + len(config.amounts)
        self.reading = nnx.Linear(config.embedding, outputs, rngs=rngs)
        self.config = config

    def embed(self, images: Float[Array, 'N R R 3']) -> Float[Array, 'N E']:
        """Embeds images in [-1, 1] of the config's resolution; values beyond the range are clipped, as when saved."""
        x = jnp.clip(images, -1.0, 1.0)
        for stage in self.stages:
            x = stage(x)
        mean = jnp.mean(x, axis=(1, 2))
        deviation = jnp.sqrt(jnp.mean(jnp.square(x - mean[:, None, None]), axis=(1, 2)) + 1e-6)
        everywhere = x.reshape(x.shape[0], -1)  # [N, H, W, C] -> [N, H * W * C]
        return self.embedding(jnp.concatenate([mean, deviation, everywhere], axis=-1))

    def read(self, embedding: Float[Array, 'N E']) -> dict[str, Array]:
        """Returns logits of 'style' and of every class by name, and 'amounts' [N, A] in about [0, 1]."""
        config = self.config
        sizes = {'style': len(config.styles), **dict(config.classes), 'amounts': len(config.amounts)}
        borders = np.cumsum(list(sizes.values()))[:-1].tolist()
        return dict(zip(sizes, jnp.split(self.reading(embedding), borders, axis=-1), strict=True))


@jax.jit
def _embed(judge: Judge, images: Array) -> Array:
    return judge.embed(images)


def embed_all(judge: Judge, images: Float[np.ndarray, 'N R R 3'], batch: int = 64) -> Float[np.ndarray, 'N E']:
    """Embeds any number of images in [-1, 1], in batches, in double precision for statistics."""
    padding = -len(images) % batch
    padded = np.concatenate([images, np.zeros((padding, *images.shape[1:]), images.dtype)])
    parts = [_embed(judge, jnp.asarray(padded[start : start + batch])) for start in range(0, len(padded), batch)]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])[: len(images)]


def save_judge(judge: Judge, directory: Path) -> None:
    """Writes config.json and weights.safetensors (float16), each under a temporary name until it is whole."""
    arrays = {name: np.asarray(value[...], np.float16) for name, value in _weights(judge).items()}
    write_json(directory / 'config.json', judge.config.to_dict())
    with replacing(directory / 'weights.safetensors') as unfinished:
        save_file(arrays, unfinished)


def load_judge(directory: Path | None = None) -> Judge:
    """Reads a judge; None: the shipped one.

    Raises:
      FileNotFoundError: there is none.
      ValueError: its weights do not fit its config.
    """
    directory = weights_directory('judge') if directory is None else directory
    config = JudgeConfig.from_dict(json.loads((directory / 'config.json').read_text()))
    judge = Judge(config, rngs=nnx.Rngs(0))
    stored, wanted = load_file(directory / 'weights.safetensors'), _weights(judge)
    misfits = sorted(stored.keys() ^ wanted.keys())
    misfits += [name for name in sorted(stored.keys() & wanted.keys()) if stored[name].shape != wanted[name].shape]
    if misfits:
        raise ValueError(f'{directory}: these weights do not fit config.json: {", ".join(misfits)}.')
    for name, variable in wanted.items():
        variable[...] = jnp.asarray(stored[name], jnp.float32)
    return judge


def _weights(judge: Judge) -> dict[str, nnx.Variable]:
    """Every stored array by its dotted path."""
    return {'.'.join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(judge))}
