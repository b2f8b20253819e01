"""Heads for a report: at random, the best by a stated rule, and turning; each from the source and from the adapted
generator.

N heads, V views, Z channels of z, E channels of the embeddings of all encoders, S and R sides of an image in pixels.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

import clip_jax
from adaptation.errors import AdaptationError
from adaptation.inputs import Inputs
from adaptation.samples import LARGEST_TILE, Generate, equal_batches, tile
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator, cameras

HEADS_SEED = 70_000  # added to the report's seed: these heads are in no batch of the run's
CANDIDATES = 4  # heads that are drawn for each one in a grid
TURNING = 3  # heads that are shown turning, at most
VIEWS = 13  # of a turning head, from its one side to the other
SHORTEST_DIRECTION = 1e-8  # embeddings that moved less have no direction


@dataclass(frozen=True)
class Pair:
    """A head's picture from the source and from the adapted generator; `number` is its place in the sequence."""

    number: int
    source: UInt8[np.ndarray, 'R R 3']
    adapted: UInt8[np.ndarray, 'R R 3']


@dataclass(frozen=True)
class Turn:
    """A head's views from one side to the other."""

    number: int
    source: UInt8[np.ndarray, 'V R R 3']
    adapted: UInt8[np.ndarray, 'V R R 3']


@dataclass(frozen=True)
class Gallery:
    """What was drawn.

    Attributes:
        candidates: how many heads the curated ones were chosen from.
        random: the first heads of the sequence.
        curated: those that `curate` chose, in its order.
        turns: the first of the curated ones.
        reach: radians that the turning heads are seen from to either side.
    """

    candidates: int
    random: tuple[Pair, ...]
    curated: tuple[Pair, ...]
    turns: tuple[Turn, ...]
    reach: float


@dataclass(frozen=True)
class _Drawn:
    """Images of one generator: pictures, and embeddings of all encoders side by side."""

    pictures: UInt8[np.ndarray, 'N R R 3']
    embeddings: Float[np.ndarray, 'N E']


class Painter:
    """Draws heads from two generators."""

    def __init__(
        self,
        inputs: Inputs,
        adapted: TriPlaneGenerator,
        generate: Generate,
        *,
        batch_size: int,
        drawn: Callable[[int], object] = lambda images: None,
    ):
        """
        Args:
            inputs: the source generator, the encoders, the reference and the cameras.
            adapted: the adapted generator.
            generate: see `adaptation.samples.make_generate`.
            batch_size: images that are drawn at a time.
            drawn: told how many images have been drawn since it was told last.
        """
        self._inputs, self._adapted, self._generate = inputs, adapted, generate
        self._batch_size, self._told = batch_size, drawn
        self._source: dict[tuple[int, int], _Drawn] = {}  # by the number of heads and their seed

    def of(self, inputs: Inputs, adapted: TriPlaneGenerator) -> 'Painter':
        """The painter of another domain of the same source, which shares the source's heads and draws them once."""
        painter = copy.copy(self)
        painter._inputs, painter._adapted = inputs, adapted
        return painter

    def gallery(self, heads: int, seed: int) -> Gallery:
        """Draws everything; `images(heads)` images in all, or fewer where the source's heads are there already.

        Args:
            heads: in each grid.
            seed: of the heads and their poses. The nth head is the same for any number of heads.

        Raises:
            AdaptationError: a generator's images are not finite.
        """
        candidates = CANDIDATES * heads
        z, poses = _sample(seed, candidates, self._inputs.generator.config.z_dim, self._inputs.camera)
        if (heads, seed) not in self._source:
            self._source[heads, seed] = self._draw(self._inputs.generator, z, poses)
        source, adapted = self._source[heads, seed], self._draw(self._adapted, z, poses)
        target = self._target(source.embeddings)
        chosen = curate(closeness(source.embeddings, adapted.embeddings, target), source.embeddings, heads)
        pairs = [
            Pair(number, *pictures)
            for number, pictures in enumerate(zip(source.pictures, adapted.pictures, strict=True))
        ]
        reach = turning_reach(self._inputs.camera)
        return Gallery(
            candidates=candidates,
            random=tuple(pairs[:heads]),
            curated=tuple(pairs[number] for number in chosen),
            turns=tuple(self._turn(number, z[number], reach) for number in chosen[:TURNING]),
            reach=reach,
        )

    def _turn(self, number: int, z: Float[Array, 'Z'], reach: float) -> Turn:
        camera = self._inputs.camera
        yaws = camera.yaw_mean + jnp.linspace(-reach, reach, VIEWS)
        views = cameras.orbit_cameras(yaws, jnp.full(VIEWS, camera.pitch_mean), camera)
        latents = jnp.broadcast_to(z, (VIEWS, *z.shape))
        source, adapted = (
            np.concatenate(list(self._pictures(network, latents, views)))
            for network in (self._inputs.generator, self._adapted)
        )
        return Turn(number, source, adapted)

    def _draw(self, generator: TriPlaneGenerator, z: Float[Array, 'N Z'], poses: Float[Array, 'N 25']) -> _Drawn:
        embeddings: list[np.ndarray] = []

        def embed(images: Array, count: int) -> None:
            embeddings.append(self._embed(images)[:count])

        pictures = np.concatenate(list(self._pictures(generator, z, poses, embed)))
        return _Drawn(pictures, np.concatenate(embeddings))

    def _pictures(
        self,
        generator: TriPlaneGenerator,
        z: Float[Array, 'N Z'],
        views: Float[Array, 'N 25'],
        each: Callable[[Array, int], None] = lambda images, count: None,
    ) -> Iterator[np.ndarray]:
        """Bytes of the images, batch by batch; `each` sees a batch before it is reduced, and how many of it count."""
        frontal = frontal_cameras(self._batch_size, self._inputs.camera)
        left = len(z)
        for rows in equal_batches(len(z), self._batch_size):
            images, count = self._generate(generator, z[rows], views[rows], frontal), min(left, len(rows))
            left -= count
            each(images, count)
            yield _to_bytes(np.asarray(images)[:count])
            self._told(count)

    def _target(self, source: Float[np.ndarray, 'N E']) -> Float[np.ndarray, 'E']:
        """Where the heads should go in the embeddings: to the reference or, without one, as the texts say."""
        if self._inputs.reference is not None:
            return self._embed(jnp.asarray(self._inputs.reference)[None])[0]
        return source.mean(axis=0) + np.concatenate([np.asarray(d) for d in self._inputs.text_directions or ()])

    def _embed(self, images: Float[Array, 'N S S 3']) -> Float[np.ndarray, 'N E']:
        return np.concatenate([np.asarray(_embed(clip, images)) for clip in self._inputs.encoders], axis=1)


def images(heads: int, galleries: int = 1) -> int:
    """How many images galleries of this many heads in each grid take, if they share the source's heads."""
    return (1 + galleries) * CANDIDATES * heads + 2 * galleries * VIEWS * min(TURNING, heads)


def turning_reach(camera: CameraConfig) -> float:
    """Radians to either side of the mean that nearly all training cameras lie in."""
    widest = camera.yaw_std * (2.0 if camera.distribution == 'gaussian' else 1.0)
    return min(widest, math.pi)


def closeness(
    source: Float[np.ndarray, 'N E'], adapted: Float[np.ndarray, 'N E'], reference: Float[np.ndarray, 'E']
) -> Float[np.ndarray, 'N']:
    """How nearly each head changed in the direction of the reference: cos(E(I_t) - E(I_s), E(R) - mean E(I_s)).

    Args:
        source: embeddings E(I_s) of the source's images.
        adapted: E(I_t), of the adapted generator's images of the same heads.
        reference: E(R).
    """
    moves, direction = adapted - source, reference - source.mean(axis=0)
    lengths = np.linalg.norm(moves, axis=1) * np.linalg.norm(direction)
    return moves @ direction / np.maximum(lengths, SHORTEST_DIRECTION)


def curate(scores: Float[np.ndarray, 'N'], embeddings: Float[np.ndarray, 'N E'], count: int) -> list[int]:
    """Chooses heads that are good and unlike each other, by a rule and not by hand.

    Of the better half by score, the best one; then, again and again, the one whose nearest neighbour among those
    already chosen is the farthest.

    Args:
        scores: the higher, the better.
        embeddings: what tells heads apart.
        count: how many to choose, at most half of the heads unless all of them are wanted.
    """
    better = np.argsort(-scores, kind='stable')[: max(count, math.ceil(len(scores) / 2))]
    chosen, gaps = [int(better[0])], np.full(len(better), np.inf)
    while len(chosen) < min(count, len(better)):
        distances = np.linalg.norm(embeddings[better] - embeddings[chosen[-1]], axis=1)
        gaps = np.where(np.isin(better, chosen), -np.inf, np.minimum(gaps, distances))
        chosen.append(int(better[np.argmax(gaps)]))
    return chosen


def _sample(
    seed: int, count: int, z_dim: int, camera: CameraConfig
) -> tuple[Float[Array, 'N Z'], Float[Array, 'N 25']]:
    """Latents and poses of the first heads of a seed's sequence."""
    key = jax.random.key(HEADS_SEED + seed)
    keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number)))(jnp.arange(count))  # [N, 2]
    z = jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(keys[:, 0])
    return z, jax.vmap(lambda key: cameras.sample_poses(key, 1, camera)[0])(keys[:, 1])


def _to_bytes(images: Float[np.ndarray, 'N S S 3']) -> UInt8[np.ndarray, 'N R R 3']:
    if not np.isfinite(images).all():
        raise AdaptationError('A generator makes images that are not finite: check its weights, and adapt it again.')
    return np.stack([tile(image, min(image.shape[0], LARGEST_TILE)) for image in images])


@jax.jit
def _embed(encoder: clip_jax.Clip, images: Float[Array, 'N S S 3']) -> Float[Array, 'N D']:
    """Unit-norm embeddings of images in [-1, 1]."""
    pixels = clip_jax.preprocess(images, encoder.config.vision.image_size)
    embedding = encoder.encode_image(pixels, (), True).embedding
    assert embedding is not None  # it was asked for
    return embedding
