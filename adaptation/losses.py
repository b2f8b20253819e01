"""The four losses of 3D-Adapter (arXiv 2410.08824), pure functions of arrays.

Direction (DDR) and distribution (TDL) pull the adapted images towards the reference; the two structure losses (ISSM,
FSSM) hold on to the source. All compare by cosine, at full precision: the small `1 - cos` of near neighbours counts.

N batch, D channels of an embedding, T and M tokens (or image positions), C channels of a token, h and w the size of a
feature image.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

# An embedding that moved less than this has no settled direction: below it the direction loss is linear in the move.
# The plain cosine's gradient grows without bound there (adapted and source generator are equal when training starts),
# and one such gradient spoils Adam's second moment for hundreds of steps.
SHORTEST_MOVE = 0.1
SHORTEST_TOKEN = 1e-3  # tokens shorter than this count as of this length, so that a zero token has a finite gradient
SMALLEST_SUM = 1e-4  # of a column of distances; below it all tokens are alike to rounding, and their distances 0
LARGEST_STRUCTURE = 32  # side in positions to which feature images are pooled before they are compared


def direction_loss(
    adapted: Float[Array, 'N D'], source: Float[Array, 'N D'], domain_direction: Float[Array, 'D']
) -> Float[Array, '']:
    """Domain direction regularisation: images move in the embedding space as the domains do.

    L_dir = mean_n (1 - cos(E(I_t) - E(I_s), d_dom)), in [0, 2]. The cosine of a move shorter than `SHORTEST_MOVE`
    is scaled by its length over that: the loss is linear there, and 1 where nothing has moved yet.

    Args:
        adapted: unit-norm embeddings E(I_t) of the adapted generator's images.
        source: E(I_s), those of the source generator's images of the same latents and cameras.
        domain_direction: d_dom = E(R) - mean E(I_s).
    """
    moves = _unit(adapted - source, SHORTEST_MOVE)
    return 1 - jnp.mean(jnp.sum(moves * _unit(domain_direction, SHORTEST_TOKEN), axis=1))


def distribution_loss(tokens: Float[Array, 'N T C'], reference: Float[Array, 'M C']) -> Float[Array, '']:
    """Target distribution learning: the relaxed earth mover's distance between two token sets.

    C_ij = 1 - cos(T_i(I_t), T_j(R)); L_dis = mean_n max(mean_i min_j C_ij, mean_j min_i C_ij), in [0, 2].

    Args:
        tokens: patch tokens of the adapted generator's images.
        reference: patch tokens of the reference picture R.
    """
    cost = _cosine_distances(tokens, jnp.broadcast_to(reference, (tokens.shape[0], *reference.shape)))  # [N, T, M]
    return jnp.mean(jnp.maximum(cost.min(axis=2).mean(axis=1), cost.min(axis=1).mean(axis=1)))


def self_distances(tokens: Float[Array, 'N T C']) -> Float[Array, 'N T T']:
    """What is unlike what within an image: S_ij = (1 - cos(T_i, T_j)) / sum_i (1 - cos(T_i, T_j)); columns sum to 1."""
    distances = jnp.maximum(_cosine_distances(tokens, tokens), 0.0)  # rounding leaves -1e-7 between equal tokens
    return distances / jnp.maximum(distances.sum(axis=1, keepdims=True), SMALLEST_SUM)


def image_structure_loss(adapted: Float[Array, 'N T C'], source: Float[Array, 'N T C']) -> Float[Array, '']:
    """Image-level source structure maintenance: an image's self-distances stay the source's.

    L_istr = T mean |S(I_t) - S(I_s)|, in [0, 2]; the factor T, the number of tokens, undoes the columns' sum of 1.

    Args:
        adapted: patch tokens of the adapted generator's images.
        source: patch tokens of the source generator's images of the same latents and cameras.
    """
    return adapted.shape[1] * jnp.mean(jnp.abs(self_distances(adapted) - self_distances(source)))


def feature_structure_loss(adapted: Float[Array, 'N h w C'], source: Float[Array, 'N h w C']) -> Float[Array, '']:
    """Feature-level source structure maintenance: L_istr's equation on the volume-rendered feature images.

    The positions, average-pooled to at most 32 x 32, take the tokens' place.

    Args:
        adapted: all channels of the adapted generator's feature image.
        source: those of the source generator, for the same latents, cameras and ray samples.

    Raises:
        ValueError: a size that does not pool evenly.
    """
    return image_structure_loss(_positions(adapted), _positions(source))


def pooling_window(size: int) -> int:
    """Side of the window that pools a feature image of this size to at most 32 positions."""
    return -(-size // LARGEST_STRUCTURE)


def _positions(features: Float[Array, 'N h w C']) -> Float[Array, 'N T C']:
    n, height, width, channels = features.shape
    rows, columns = pooling_window(height), pooling_window(width)
    if height % rows or width % columns:
        raise ValueError(
            f'a feature image of {height} x {width} does not pool evenly to {LARGEST_STRUCTURE} positions.'
        )
    # [N, h, w, C] -> [N, h / rows, rows, w / columns, columns, C]
    windows = features.reshape(n, height // rows, rows, width // columns, columns, channels)
    return windows.mean(axis=(2, 4)).reshape(n, -1, channels)  # [N, T, C], row by row


def _cosine_distances(a: Float[Array, 'N T C'], b: Float[Array, 'N M C']) -> Float[Array, 'N T M']:
    a, b = _unit(a, SHORTEST_TOKEN), _unit(b, SHORTEST_TOKEN)
    return 1 - jnp.einsum('ntc,nmc->ntm', a, b, precision=lax.Precision.HIGHEST)


def _unit(x: Float[Array, '*B C'], shortest: float) -> Float[Array, '*B C']:
    """x / max(|x|, shortest), with the gradient that this has everywhere: at 0 too."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * lax.rsqrt(jnp.maximum(square, shortest**2))
