"""The mapping network, constructed rather than trained: w is linear in the head's attributes.

Every attribute of the world reads one coordinate of the normalised latent (`miniature.world.latent`): smoothly, or in
steps between values and colours. A hidden layer of leaky ReLUs with a knot to either side of each step, and a few for
what is smooth, holds all of them as linear functions, which least squares find. The next layers carry the attributes
on, and the last one spreads them over w: in pairs of opposite sign, of which a leaky ReLU loses nothing.

Training alone left a tenth of some attributes' variance unexplained, of sharp steps above all.

Letters: Z channels of a latent, K knots, D channels of w, A attributes, I inputs and O outputs of a layer.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
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
SHIFT = 4.0  # deviations, which keep carried attributes on the linear side of the ReLU
SEED = 1


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
        ValueError: w has fewer channels than there are knots, or twice the attributes, or there are other than four
            layers.
    """
    wanted = knots()
    layers = [getattr(mapping, f'fc{index}') for index in range(mapping.settings.num_layers)]
    size, count = layers[-1].weight.shape[1], len(world.ATTRIBUTES)
    if len(layers) != LAYERS or size < max(len(wanted), 2 * count) or size % 2:
        raise ValueError(
            f'a mapping network is constructed with {LAYERS} layers and an even number of at least '
            f'{max(len(wanted), 2 * count)} channels; this one has {len(layers)} and {size}'
        )
    coordinates, places, heights = map(np.asarray, zip(*wanted, strict=True))
    first = np.zeros((latent.LATENT_SIZE, len(wanted)))
    first[coordinates, np.arange(len(wanted))] = heights
    read, offset = _fitted(first, -places * heights)

    _put(layers[0], first, -places * heights)
    _put(layers[1], read, offset + SHIFT)
    _put(layers[2], np.eye(count) / LEAKY_GAIN, np.zeros(count))
    random = np.random.default_rng(SEED).standard_normal((size // 2, count))
    half = np.linalg.qr(random)[0] * np.sqrt(size / 2 / count)
    spread = np.concatenate([half, -half]).T  # [A, D]
    _put(layers[3], spread / LEAKY_GAIN, -SHIFT * spread.sum(axis=0))


def _fitted(
    weight: Float[np.ndarray, 'Z K'], bias: Float[np.ndarray, 'K']
) -> tuple[Float[np.ndarray, 'K A'], Float[np.ndarray, 'A']]:
    """Weight and bias of the linear function of the hidden layer that is nearest to the attributes in deviations."""
    z = np.random.default_rng(SEED).standard_normal((SAMPLES, latent.LATENT_SIZE)).astype(np.float32)
    z = z / np.sqrt(np.mean(np.square(z), axis=1, keepdims=True))
    true = np.asarray(world.attributes(world.from_latent(jnp.asarray(z))), np.float64)
    standard = (true - true.mean(axis=0)) / np.sqrt(true.var(axis=0) + SMALLEST_VARIANCE)
    x = z @ weight + bias
    hidden = np.append(LEAKY_GAIN * np.where(x > 0, x, LEAKY_SLOPE * x), np.ones((SAMPLES, 1)), axis=1)
    products = hidden.T @ hidden
    solved = np.linalg.solve(products + RIDGE * np.eye(len(products)), hidden.T @ standard)
    return solved[:-1], solved[-1]


def _put(layer: FullyConnected, weight: Float[np.ndarray, 'I O'], bias: Float[np.ndarray, 'O']) -> None:
    """Lets the layer's first inputs and outputs do this, and the others nothing."""
    whole, offsets = np.zeros(layer.weight.shape), np.zeros(layer.bias.shape)
    whole[: weight.shape[0], : weight.shape[1]] = weight / layer.weight_gain
    offsets[: len(bias)] = bias / layer.bias_gain
    layer.weight[...], layer.bias[...] = jnp.asarray(whole, jnp.float32), jnp.asarray(offsets, jnp.float32)
