"""The mapping network, constructed rather than trained: w is linear in all that the pictures show.

Every attribute of the world reads one coordinate of the normalised latent (`miniature.world.latent`): smoothly, or in
steps between values and colours. A hidden layer of leaky ReLUs with a knot to either side of each step, and a few for
what is smooth, holds all of them as linear functions, which least squares find; the second layer has them. What is
worn by some heads only has a colour times a choice, a product: a unit of the third layer is above its bend where the
choice is taken, and only there adds the colour (`GATES`). The last layer spreads attributes and worn colours over w,
again by least squares: in pairs of opposite sign, of which a leaky ReLU loses nothing.

Training alone left a tenth of some attributes' variance unexplained, of sharp steps above all. And where w had the
attributes alone, hats took the colours of other hats, and bands and patterns were left out.

Letters: Z channels of a latent, K knots, D channels of w, A attributes, C attributes and companion colours, T of these
and worn colours what w is linear in, I inputs and O outputs of a layer.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import norm

from eg3d_jax.layers import FullyConnected
from eg3d_jax.mapping import MappingNetwork
from miniature import world
from miniature.world import latent, palettes

LAYERS = 4
SMOOTH_KNOTS = (-1.6, -0.7, 0.7, 1.6)  # of what is the normal distribution of its coordinate
SKIN_KNOTS = (-1.6, *norm.ppf((0.25, 0.5, 0.75)), 1.6)  # of a curve through five colours
STEP = 0.02  # half the width of a step between two values
TINT_KNOTS = (-3.0,)  # of a lightness: nearly linear
LEAKY_SLOPE, LEAKY_GAIN = 0.2, np.sqrt(2.0)
SAMPLES = 65_536
RIDGE = 1e-3
SMALLEST_VARIANCE = 1e-2  # added to that which attributes are divided by
SHIFT = 0.5  # keeps what is carried on, in [0, 1], on the linear side of the ReLU
WORN_SCALE = 0.5  # of worn colours in w, which follow from the attributes and come on top of them
COMPANIONS = ('headwear', 'clothes')  # whose companion colours `world.paired_colours` gives
GATES: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (  # a colour; choices, of each one value is needed
    ('headwear_colour', (('headwear=beanie',),)),
    ('headwear_colour', (('headwear=cap',),)),
    ('headwear_colour', (('headwear=hat',),)),
    ('headwear_colour', (('headwear=headband',),)),
    ('headwear_companion', (('headwear=beanie', 'headwear=cap', 'headwear=hat'),)),
    ('hair_colour', (('headwear=none', 'headwear=headband'),)),
    ('clothes_colour', (('neckline=crew', 'neckline=turtleneck'),)),
    ('clothes_companion', (('neckline=crew', 'neckline=turtleneck'),)),
    ('clothes_colour', (('neckline=collar',),)),
    ('clothes_companion', (('neckline=scarf',), ('headwear=none',))),
    (
        'headwear_colour',
        (('neckline=scarf',), ('headwear=headband', 'headwear=beanie', 'headwear=cap', 'headwear=hat')),
    ),
    ('clothes_companion', (('pattern=striped',),)),
    ('clothes_companion', (('pattern=dotted',),)),
    ('glasses_colour', (('glasses=round', 'glasses=square'),)),
    ('earrings_colour', (('earrings=earrings',),)),
)
SEED = 1


def shown(heads: world.Heads) -> Float[Array, 'N T']:
    """All that w is linear in: the attributes, and the colours of what is worn."""
    return jnp.concatenate([world.attributes(heads), world.worn_colours(heads)], axis=-1)


def knots() -> list[tuple[int, float, float]]:
    """(coordinate of the latent, place, height) of each hidden unit; the narrower a step, the higher its units, so that
    the weights of both layers keep to the range of half precision."""
    found: list[tuple[int, float, float]] = []
    for name, index in latent.COORDINATES.items():
        if name in latent.CHOICES:
            borders = norm.ppf(np.cumsum(list(latent.CHOICES[name].values()))[:-1])
            steps = [(border - STEP, border + STEP) for border in borders]
        elif name.removesuffix('_colour') in latent.PALETTES and name.endswith('_colour'):
            colours = len(latent.PALETTES[name.removesuffix('_colour')])
            blend = np.asarray((-palettes.BLEND, palettes.BLEND))
            steps = [tuple(norm.ppf((border + blend) / colours)) for border in range(1, colours)]
        else:
            smooth = SKIN_KNOTS if name == 'skin_tone' else SMOOTH_KNOTS if name in latent.AMOUNTS else TINT_KNOTS
            found += [(index, float(place), 1.0) for place in smooth]
            continue
        for start, end in steps:
            found += [(index, float(place), float((end - start) ** -0.5)) for place in (start, end)]
    return found


def construct_mapping(mapping: MappingNetwork) -> None:
    """Sets the weights of a mapping network of four layers, which does not look at the camera.

    Raises:
        ValueError: w has fewer channels than there are knots, or twice what it is to be linear in, or there are other
            than four layers.
    """
    wanted = knots()
    z, heads = _some_heads()
    carried = np.concatenate([world.attributes(heads), world.paired_colours(heads)], axis=1).astype(np.float64)
    true = np.asarray(shown(heads), np.float64)
    layers = [getattr(mapping, f'fc{index}') for index in range(mapping.settings.num_layers)]
    size, count = layers[-1].weight.shape[1], true.shape[1]
    if len(layers) != LAYERS or size < max(len(wanted), 2 * count) or size % 2:
        raise ValueError(
            f'a mapping network is constructed with {LAYERS} layers and an even number of at least '
            f'{max(len(wanted), 2 * count)} channels; this one has {len(layers)} and {size}'
        )
    coordinates, places, heights = map(np.asarray, zip(*wanted, strict=True))
    first = np.zeros((latent.LATENT_SIZE, len(wanted)))
    first[coordinates, np.arange(len(wanted))] = heights
    hidden = _activated(z @ first - places * heights)
    read, offset = _fitted(hidden, carried)
    hidden = _activated(hidden @ read + offset + SHIFT)
    gate, bend = _gates()
    standard = (true - true.mean(axis=0)) / np.sqrt(true.var(axis=0) + SMALLEST_VARIANCE)
    told, level = _fitted(_activated(hidden @ gate + bend), standard)
    random = np.random.default_rng(SEED).standard_normal((size // 2, count))
    scales = np.where(np.arange(count) < len(world.ATTRIBUTES), 1.0, WORN_SCALE)
    half = np.linalg.qr(random)[0] * scales * np.sqrt(size / 2 / np.square(scales).sum())
    spread = np.concatenate([half, -half]).T  # [T, D]

    _put(layers[0], first, -places * heights)
    _put(layers[1], read, offset + SHIFT)
    _put(layers[2], gate, bend)
    _put(layers[3], told @ spread, level @ spread)


def _gates() -> tuple[Float[np.ndarray, 'C O'], Float[np.ndarray, 'O']]:
    """Weight and bias of the layer that carries on what it is given, with `SHIFT`, and adds the units of the gates."""
    names = [*world.ATTRIBUTES, *(f'{name}_companion.{channel}' for name in COMPANIONS for channel in 'rgb')]
    units = [(f'{colour}.{channel}', choices) for colour, choices in GATES for channel in 'rgb']
    added = np.zeros((len(names), len(units)))
    for unit, (colour, choices) in enumerate(units):
        for name in (colour, *(value for values in choices for value in values)):
            added[names.index(name), unit] = 1.0
    closed = -SHIFT * added.sum(axis=0) - np.asarray([len(choices) for _, choices in units])
    weight = np.concatenate([np.eye(len(names)), added], axis=1) / LEAKY_GAIN
    return weight, np.concatenate([np.zeros(len(names)), closed])


def _some_heads() -> tuple[Float[np.ndarray, 'N Z'], world.Heads]:
    """Normalised latents, and their heads."""
    z = np.random.default_rng(SEED).standard_normal((SAMPLES, latent.LATENT_SIZE)).astype(np.float32)
    z = z / np.sqrt(np.mean(np.square(z), axis=1, keepdims=True))
    return z, world.from_latent(jnp.asarray(z))


def _activated(x: Float[np.ndarray, 'N K']) -> Float[np.ndarray, 'N K']:
    return LEAKY_GAIN * np.where(x > 0, x, LEAKY_SLOPE * x)


def _fitted(
    hidden: Float[np.ndarray, 'N I'], wanted: Float[np.ndarray, 'N O']
) -> tuple[Float[np.ndarray, 'I O'], Float[np.ndarray, 'O']]:
    """Weight and bias of the linear function of a hidden layer that is nearest to what is wanted."""
    extended = np.append(hidden, np.ones((len(hidden), 1)), axis=1)
    products = extended.T @ extended
    solved = np.linalg.solve(products + RIDGE * np.eye(len(products)), extended.T @ wanted)
    return solved[:-1], solved[-1]


def _put(layer: FullyConnected, weight: Float[np.ndarray, 'I O'], bias: Float[np.ndarray, 'O']) -> None:
    """Lets the layer's first inputs and outputs do this, and the others nothing."""
    whole, offsets = np.zeros(layer.weight.shape), np.zeros(layer.bias.shape)
    whole[: weight.shape[0], : weight.shape[1]] = weight / layer.weight_gain
    offsets[: len(bias)] = bias / layer.bias_gain
    layer.weight[...], layer.bias[...] = jnp.asarray(whole, jnp.float32), jnp.asarray(offsets, jnp.float32)
