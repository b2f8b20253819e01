"""From a latent to a head's attributes: each attribute reads a coordinate of its own, so all are independent."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from miniature.world import palettes

LATENT_SIZE = 64
_RMS_EPSILON = 1e-8  # inside the root, as the generator's mapping network normalises

AMOUNTS = (  # continuous attributes, uniform in [0, 1]
    'head_width',
    'head_height',
    'jaw_width',
    'chin_length',
    'ear_size',
    'skin_tone',
    'blush',
    'hair_volume',
    'hair_waviness',
    'fringe_height',
    'eye_size',
    'eye_spacing',
    'eye_openness',
    'iris_size',
    'brow_thickness',
    'brow_tilt',
    'brow_height',
    'nose_length',
    'nose_width',
    'mouth_width',
    'lip_fullness',
    'smile',
    'shoulder_width',
    'background_gradient',
)
CHOICES: dict[str, dict[str, float]] = {  # attribute -> value -> probability
    'hair_style': {
        'buzzed': 0.08,
        'short': 0.22,
        'bob': 0.17,
        'long': 0.17,
        'bun': 0.10,
        'pigtails': 0.10,
        'curly': 0.10,
        'mohawk': 0.06,
    },
    'fringe': {'none': 0.3, 'straight': 0.25, 'swept': 0.25, 'parted': 0.2},
    'beard': {'none': 0.66, 'full': 0.2, 'goatee': 0.14},
    'moustache': {'none': 0.76, 'moustache': 0.24},
    'freckles': {'none': 0.72, 'freckles': 0.28},
    'age_lines': {'none': 0.72, 'lines': 0.28},
    'lashes': {'none': 0.6, 'lashes': 0.4},
    'glasses': {'none': 0.6, 'round': 0.22, 'square': 0.18},
    'headwear': {'none': 0.52, 'headband': 0.13, 'beanie': 0.13, 'cap': 0.11, 'hat': 0.11},
    'earrings': {'none': 0.64, 'earrings': 0.36},
    'neckline': {'crew': 0.28, 'turtleneck': 0.22, 'collar': 0.25, 'scarf': 0.25},
    'pattern': {'plain': 0.5, 'striped': 0.28, 'dotted': 0.22},
}
PALETTES = {  # coloured attribute -> its palette
    'hair': palettes.HAIR,
    'eyes': palettes.EYES,
    'glasses': palettes.GLASSES,
    'headwear': palettes.CLOTHES,
    'earrings': palettes.EARRINGS,
    'clothes': palettes.CLOTHES,
    'background': palettes.BACKGROUND,
}
_JITTERED = ('hair', 'clothes', 'background')  # palette colours that also vary in lightness
_JITTER = 0.06  # largest relative change of lightness

COORDINATES = {
    name: index
    for index, name in enumerate(
        [
            *AMOUNTS,
            *CHOICES,
            *(f'{name}_colour' for name in PALETTES),
            *(f'{name}_lightness' for name in _JITTERED),
        ]
    )
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Heads:
    """A batch of heads (every array has the leading axis N; inside the world's own vmaps it has none).

    Attributes:
      amounts: [N] of the continuous attributes of `AMOUNTS`, in [0, 1].
      choices: [N] int32, the index of the value taken, in the order of `CHOICES[name]`.
      colours: [N, 3] sRGB in [0, 1], of 'skin' and of everything in `PALETTES`.
      colour_index: [N] int32, which colour of `PALETTES[name]` (or of `palettes.SKIN`) is the nearest name.
    """

    amounts: dict[str, Any]
    choices: dict[str, Any]
    colours: dict[str, Any]
    colour_index: dict[str, Any]

    def amount(self, name: str) -> Array:
        return self.amounts[name]

    def has(self, name: str, *values: str) -> Array:
        """Whether the choice `name` takes one of `values`."""
        names = list(CHOICES[name])
        taken = self.choices[name]
        result = taken == names.index(values[0])
        for value in values[1:]:
            result |= taken == names.index(value)
        return result


@jax.jit
def from_latent(z: Float[Array, 'N 64']) -> Heads:
    """Returns the heads of latents, which are first normalised by their root mean square, like the generator's."""
    z = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + _RMS_EPSILON)
    u = {name: jax.scipy.stats.norm.cdf(z[..., index]) for name, index in COORDINATES.items()}
    colours = {name: palettes.pick(palette, u[f'{name}_colour']) for name, palette in PALETTES.items()}
    for name in _JITTERED:
        colours[name] = jnp.clip(
            colours[name] * (1.0 + _JITTER * (2.0 * u[f'{name}_lightness'] - 1.0))[..., None], 0, 1
        )
    colours['skin'] = palettes.curve(palettes.SKIN, u['skin_tone'])
    colour_index = {name: palettes.index(palette, u[f'{name}_colour']) for name, palette in PALETTES.items()}
    colour_index['skin'] = palettes.index(palettes.SKIN, u['skin_tone'])
    return Heads(
        amounts={name: u[name] for name in AMOUNTS},
        choices={name: _choose(values, u[name]) for name, values in CHOICES.items()},
        colours=colours,
        colour_index=colour_index,
    )


def sample(key: Key[Array, ''], n: int) -> Heads:
    """Returns n heads of Gaussian latents."""
    return from_latent(jax.random.normal(key, (n, LATENT_SIZE)))


def _choose(values: dict[str, float], u: Array) -> Array:
    borders = np.cumsum(list(values.values()))[:-1].astype(np.float32)
    return jnp.searchsorted(borders, u, side='right').astype(jnp.int32)


def _attribute_names() -> tuple[str, ...]:
    one_hot = [f'{name}={value}' for name, values in CHOICES.items() for value in values]
    channels = [f'{name}_colour.{channel}' for name in ('skin', *PALETTES) for channel in 'rgb']
    return (*AMOUNTS, *one_hot, *channels)


ATTRIBUTES = _attribute_names()


def attributes(heads: Heads) -> Float[Array, 'N A']:
    """Returns every attribute as numbers in [0, 1], named by `ATTRIBUTES`: amounts, one-hot choices, colours as rgb."""
    amounts = [heads.amounts[name][:, None] for name in AMOUNTS]
    one_hot = [jax.nn.one_hot(heads.choices[name], len(values)) for name, values in CHOICES.items()]
    colours = [heads.colours[name] for name in ('skin', *PALETTES)]
    return jnp.concatenate([*amounts, *one_hot, *colours], axis=-1)
