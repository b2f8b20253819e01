"""Images of a generator of several domains, each sample with a code of its own.

N samples, K domains, Z channels of z, S side of an image in pixels.
"""

from collections.abc import Mapping
from functools import partial

import jax
from jaxtyping import Array, Float

from adaptation.domains import domain_leaves
from adaptation.leaves import with_leaves
from eg3d_jax import TriPlaneGenerator


@partial(jax.jit, static_argnames='truncation_psi')
def images_of_codes(
    source: TriPlaneGenerator,
    leaves: Mapping[str, Array],
    codes: Float[Array, 'N K'],
    z: Float[Array, 'N Z'],
    camera: Float[Array, 'N 25'],
    conditioning: Float[Array, 'N 25'],
    truncation_psi: float = 1.0,
) -> Float[Array, 'N S S 3']:
    """Images in [-1, 1], without jitter, made one after the other: a batch may mix domains in any way.

    Args:
        source: the generator that was adapted.
        leaves: what `adaptation.load_domains` gives.
        codes: of each sample, its weights of the domains; see `adaptation.domain_codes.code_of`.
        z, camera, conditioning, truncation_psi: as the generator takes them.
    """

    def one(sample: tuple[Array, Array, Array, Array]) -> Array:
        code, latent, looking, told = sample
        generator = with_leaves(source, domain_leaves(leaves, code))
        return generator(latent[None], looking[None], told[None], truncation_psi).image[0]

    return jax.lax.map(one, (codes, z, camera, conditioning))
