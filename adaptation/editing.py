"""Directions in w along which heads change: by principal components, and by what CLIP says of the pictures.

A direction is a change of w, the same for every one of a head's w vectors. Its length is one standard deviation of w
along it, so that strengths compare: 1 is usual among the generator's heads, 3 rare. A source and what was adapted from
it have one mapping and one backbone (the method's own phases leave both alone), so a direction serves both.

Text. CLIP's opinion of a picture is s = E(I) . (E(text) - E(neutral)), the similarity to the text over that to a text
that says nothing, standardised over the samples and averaged over the encoders. The direction is the one along which s
rises most per standard deviation of w: with u the principal coordinates of w, each of deviation 1, least squares of s
on u is b = mean(s u), and w changes by sum_k (b_k / |b|) sigma_k v_k. Only the largest components take part, since
each adds noise of 1 / samples to |b|^2; |b|^2 is the share of the opinion's variance that the direction explains.

N samples, D channels of w, E channels of an embedding, K components.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import clip_jax
from adaptation.prompts import fill, text_embedding
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator

PCA_SAMPLES = 4096  # w vectors; the mapping alone is cheap
TEXT_SAMPLES = 512  # pictures
TEXT_COMPONENTS = 32  # of w, that a text's direction is made of
MAPPING_BATCH = 256
SMALLEST_DEVIATION = 1e-8  # of an opinion; below it all pictures are alike to an encoder


@dataclass(frozen=True)
class Direction:
    """A change of w.

    Attributes:
        vector: what strength 1 adds to each w vector: one standard deviation of w along the direction.
        explained: for a component, its share of the variance of w; for a text, the share of the variance of CLIP's
            opinion that it explains.
        chance: the share that would be explained if there were nothing to it; 0 for a component.
    """

    vector: Float[Array, 'D']
    explained: float
    chance: float = 0.0


class Reader(NamedTuple):
    """An encoder that reads: a CLIP with its text tower, and its tokenizer."""

    clip: clip_jax.Clip
    tokenize: clip_jax.Tokenizer


class _Components(NamedTuple):
    """Principal components of w, the largest first: unit vectors, deviations, and the samples' coordinates."""

    vectors: Float[np.ndarray, 'K D']
    deviations: Float[np.ndarray, 'K']
    coordinates: Float[np.ndarray, 'N K']  # of deviation 1, and uncorrelated
    variance: float  # of w over all components


def edit(
    ws: Float[Array, 'N L D'], direction: Direction, strength: float | Float[Array, 'N 1 1']
) -> Float[Array, 'N L D']:
    """w vectors moved along a direction by `strength` standard deviations; a negative strength leads the other way."""
    return ws + strength * direction.vector


def pca_directions(
    generator: TriPlaneGenerator,
    n: int,
    samples: int = PCA_SAMPLES,
    seed: int = 0,
    *,
    camera: CameraConfig | None = None,
) -> tuple[Direction, ...]:
    """The n directions along which w varies most, the largest first (GANSpace, arXiv 2004.02546).

    The sign is the one that makes the largest entry of the vector positive.

    Args:
        generator: source or adapted: their mapping networks are the same.
        n: how many, at most the channels of w, and fewer than the samples.
        samples: latents that are mapped.
        seed: of the latents.
        camera: the distribution of cameras; None: the generator's.

    Raises:
        ValueError: n is out of range.
    """
    largest = min(generator.config.w_dim, samples - 1)
    if not 1 <= n <= largest:
        raise ValueError(f'there are components 1 to {largest}, got {n}')
    found = _components(_sample_ws(generator, samples, seed, camera or generator.config.camera), n)
    return tuple(
        Direction(jnp.asarray(vector * deviation), float(deviation**2 / found.variance))
        for vector, deviation in zip(found.vectors, found.deviations, strict=True)
    )


def text_directions(
    generator: TriPlaneGenerator,
    readers: Sequence[Reader],
    texts: Iterable[str],
    neutral: str,
    *,
    template: str = '{}',
    samples: int = TEXT_SAMPLES,
    components: int = TEXT_COMPONENTS,
    seed: int = 0,
    batch_size: int = 4,
    camera: CameraConfig | None = None,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[Direction, ...]:
    """The directions along which the pictures become more like the texts; the module's docstring has the rule.

    Args:
        generator: the source, whose pictures CLIP knows best.
        readers: encoders; their opinions are averaged.
        texts: what each direction is to lead to, such as 'glasses'.
        neutral: a text of the same pictures that says nothing, such as 'a photo of a head'.
        template: what each text is written into, at `{}`.
        samples: pictures that are looked at, from the front.
        components: principal components of w that take part, at most as many as there are.
        seed: of the latents.
        batch_size: pictures at a time.
        camera: the distribution of cameras; None: the generator's.
        watch: wraps the numbers of the batches, for a progress bar.

    Raises:
        ValueError: fewer than two samples for each component, or a text that no picture is nearer to than any other.
    """
    components = min(components, generator.config.w_dim)
    if samples < 2 * components:
        raise ValueError(f'{components} components need at least {2 * components} samples, got {samples}')
    if not (texts := tuple(texts)):
        return ()
    camera = camera or generator.config.camera
    ws = _sample_ws(generator, samples, seed, camera)
    embeddings = _embed(generator, readers, ws, batch_size, camera, watch)
    found = _components(ws, components)
    return tuple(_text_direction(found, readers, embeddings, template, text, neutral) for text in texts)


def _text_direction(
    found: _Components,
    readers: Sequence[Reader],
    embeddings: Sequence[Float[np.ndarray, 'N E']],
    template: str,
    text: str,
    neutral: str,
) -> Direction:
    opinions = []
    for (clip, tokenize), embedding in zip(readers, embeddings, strict=True):
        wanted = text_embedding(clip, tokenize, fill((template,), text))
        opinion = embedding @ np.asarray(wanted - text_embedding(clip, tokenize, (neutral,)))
        deviation = opinion.std()
        if not deviation > SMALLEST_DEVIATION:
            raise ValueError(f'no picture is more like {text!r} than any other to an encoder')
        opinions.append((opinion - opinion.mean()) / deviation)
    opinion = np.mean(opinions, axis=0)
    slopes = found.coordinates.T @ (opinion / opinion.std()) / len(opinion)  # [K], correlations
    explained = float(slopes @ slopes)
    vector = (slopes / np.sqrt(explained) * found.deviations) @ found.vectors
    return Direction(jnp.asarray(vector, jnp.float32), explained, len(slopes) / len(opinion))


def _components(ws: Float[np.ndarray, 'N D'], count: int) -> _Components:
    centred = np.asarray(ws, np.float64) - ws.mean(axis=0)
    left, sizes, vectors = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1))  # [K, 1]
    deviations = sizes / np.sqrt(len(ws))
    kept = slice(0, count)
    coordinates = left * signs[:, 0] * np.sqrt(len(ws))
    variance = float(np.square(deviations).sum())
    return _Components((vectors * signs)[kept], deviations[kept], coordinates[:, kept], variance)


def _sample_ws(generator: TriPlaneGenerator, samples: int, seed: int, camera: CameraConfig) -> Float[np.ndarray, 'N D']:
    """w of random latents, the mapping told the frontal camera, without truncation."""
    z = jax.random.normal(jax.random.key(seed), (samples, generator.config.z_dim))
    conditioning = frontal_cameras(MAPPING_BATCH, camera)
    parts = []
    for start in range(0, samples, MAPPING_BATCH):
        rows = np.minimum(np.arange(start, start + MAPPING_BATCH), samples - 1)  # one program serves all
        parts.append(np.asarray(_map(generator, z[rows], conditioning)))
    return np.concatenate(parts)[:samples]


def _embed(
    generator: TriPlaneGenerator,
    readers: Sequence[Reader],
    ws: Float[np.ndarray, 'N D'],
    batch_size: int,
    camera: CameraConfig,
    watch: Callable[[Iterable[int]], Iterable[int]],
) -> list[Float[np.ndarray, 'N E']]:
    """What each encoder sees in the frontal pictures."""
    cameras = frontal_cameras(batch_size, camera)
    clips = tuple(reader.clip for reader in readers)
    parts = []
    for start in watch(range(0, len(ws), batch_size)):
        rows = np.minimum(np.arange(start, start + batch_size), len(ws) - 1)
        parts.append(jax.device_get(_look(generator, clips, jnp.asarray(ws[rows]), cameras)))
    return [np.concatenate(seen)[: len(ws)] for seen in zip(*parts, strict=True)]


@jax.jit
def _map(generator: TriPlaneGenerator, z: Array, conditioning: Array) -> Array:
    return generator.mapping(z, conditioning)[:, 0]


@jax.jit
def _look(generator: TriPlaneGenerator, clips: tuple[clip_jax.Clip, ...], ws: Array, cameras: Array) -> list[Array]:
    repeated = jnp.repeat(ws[:, None], generator.config.num_ws, axis=1)  # [N, D] -> [N, L, D]
    rendered = generator.render(generator.planes(repeated), cameras)
    images = generator.superresolve(rendered.feature_image, repeated, rendered.points)
    seen = []
    for clip in clips:
        embedding = clip.encode_image(clip_jax.preprocess(images, clip.config.vision.image_size)).embedding
        assert embedding is not None
        seen.append(embedding)
    return seen
