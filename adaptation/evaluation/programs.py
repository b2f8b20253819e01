"""The compiled programs of an evaluation: one that looks at a batch of heads once, and one that goes around them.

N batch.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int

from adaptation.evaluation import geometry, multiview
from adaptation.evaluation.features import ARCFACE, CLIP, Networks
from adaptation.evaluation.heads import Head, HeadSampling, draw, look, make_head
from adaptation.evaluation.identity import joint, similarity
from adaptation.evaluation.multiview import View
from eg3d_jax import TriPlaneGenerator

SIDES = ('source', 'adapted')

Values = dict[str, Float[Array, 'N']]
Features = dict[str, Float[Array, 'N _']]


class Pair(NamedTuple):
    """The source and the adapted generator, and all that looks at them."""

    source: TriPlaneGenerator
    adapted: TriPlaneGenerator
    networks: Networks

    def generators(self) -> dict[str, TriPlaneGenerator]:
        """Both by name."""
        return dict(zip(SIDES, (self.source, self.adapted), strict=True))


class Seen(NamedTuple):
    """A batch of heads seen once, each entry by 'source' and 'adapted'."""

    heads: dict[str, Head]
    views: dict[str, View]
    features: dict[str, Features]


First = Callable[[Pair, Int[Array, 'N']], tuple[Seen, Values]]
Around = Callable[[Pair, Seen], Values]


@cache
def make_first(sampling: HeadSampling, *, own_backbone: bool) -> jax.stages.Wrapped:
    """The compiled program `(pair, numbers of samples) -> (what was seen, values per sample)`.

    Args:
        sampling: what latents and cameras are drawn from.
        own_backbone: the adapted generator's backbone or mapping differs from the source's; elsewhere they share heads.
    """

    @jax.jit
    def first(pair: Pair, indices: Int[Array, 'N']) -> tuple[Seen, Values]:
        drawn = draw(indices, sampling, pair.source.config.z_dim)
        source_head = make_head(pair.source, drawn, sampling.truncation_psi)
        adapted_head = make_head(pair.adapted, drawn, sampling.truncation_psi) if own_backbone else source_head
        heads = dict(zip(SIDES, (source_head, adapted_head), strict=True))
        views = {side: look(generator, heads[side], drawn.camera) for side, generator in pair.generators().items()}
        features = {side: embed(pair.networks, view.image) for side, view in views.items()}
        source, adapted = (views[side] for side in SIDES)
        depth = geometry.depth_difference(source.depth, adapted.depth, source.weight, adapted.weight)
        values = {'depth_difference': depth}
        for kind, cosine in identities(features['source'], features['adapted']).items():
            values[f'identity_{kind}'] = cosine
        return Seen(heads, views, features), values

    return first


@cache
def make_around(sampling: HeadSampling) -> jax.stages.Wrapped:
    """The compiled program `(pair, what was seen) -> values per sample`: a second view of heads, and their density."""

    @jax.jit
    def around(pair: Pair, seen: Seen) -> Values:
        values: Values = {}
        telling = Networks(pair.networks.clip, arcface=pair.networks.arcface)  # who it is; Inception does not
        rendering = pair.source.config.rendering
        tolerance = multiview.DEPTH_TOLERANCE * (rendering.ray_end - rendering.ray_start)
        for side, generator in pair.generators().items():
            first = seen.views[side]
            second = look(generator, seen.heads[side], multiview.turned(first.camera, sampling.camera))
            carried = multiview.reprojection(first, second, tolerance)
            values |= {f'multiview_error_{side}': carried.error, f'multiview_compared_{side}': carried.compared}
            for kind, cosine in identities(seen.features[side], embed(telling, second.image)).items():
                values[f'yaw_identity_{kind}_{side}'] = cosine
        occupied = [
            geometry.occupancy(generator, seen.heads[side].planes) for side, generator in pair.generators().items()
        ]
        values['occupancy_drift'] = geometry.occupancy_drift(*occupied)
        values['occupancy_iou'] = geometry.occupancy_iou(*occupied)
        return values

    return around


@jax.jit
def embed(networks: Networks, images: Float[Array, 'N H W 3']) -> Features:
    """What each network finds in images, and under 'clip' the embeddings of all CLIP encoders as one."""
    features = networks.features(images)
    return {**features, CLIP: joint([features[name] for name in networks.clip])}


def identities(first: Features, second: Features) -> Values:
    """Similarity of the heads in two pictures by each kind of network that tells: 'clip' (all encoders), 'arcface'."""
    return {name: similarity(first[name], second[name]) for name in (CLIP, ARCFACE) if name in first}
