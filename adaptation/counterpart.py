"""Finds the reference's counterpart: the source generator's head that the reference could be a drawing of.

The fit of `adaptation.inversion` compares colours and tokens, which a drawing and a photograph of one head do not
share. Here a head and a camera are looked for by what they do:

- content: how the head's embedding differs from the mean of source images, and the reference's in the same way, along
  the axes that source images differ on among themselves. What is left out is the way from one domain to the other, as
  `guidance.whitened` tells it.
- structure: the self-distances of the tokens, as in ISSM: which parts of the picture are unlike which.
- colours: of blocks of pixels, after an affine map of colours, the one that brings the head's nearest to the
  reference's without leaving the identity far: pencil may be grey where hair is red, but a hat ends where it ends.

The camera follows by Gauss-Newton steps (`inversion.poses`) of the head in the reference's colours.

N source images, D channels of an embedding or of w, T patch tokens, C channels of a token, K coordinates of w, S side
of an image, h side of a small rendering, V colours.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import clip_jax
from adaptation import losses
from adaptation.errors import AdaptationError
from adaptation.fine_detail import resized
from adaptation.guidance import encode_images, whitening_matrix
from adaptation.inversion import poses
from adaptation.inversion.fitting import ADAM, small_target
from adaptation.inversion.latents import Basis, w_basis
from adaptation.pair import Counterpart, pool
from eg3d_jax import CameraConfig, TriPlaneGenerator
from eg3d_jax.files import replacing

STEPS = 50
RATE = 0.15  # Adam's, in deviations of w; it falls to nothing along half a cosine
FIRST_POSE, POSE_EVERY = 16, 8  # steps: of the mean head there is no pose to find
COLOURS, STRUCTURE, CONTENT = 4.0, 0.25, 1.5  # factors of the parts
PRIOR = 2e-2  # and of the mean square of the coordinates
CROPPED = 0.2  # share of `inversion`'s deviations of roll, shift and zoom: a reference is cropped with care
NEAR_IDENTITY = 0.1  # variance of colours to which the map of colours weighs the identity
KNOWN = 3.0  # strength of the whitening whose complement is the content
SMALLEST_VARIANCE = 1e-6  # of colours; a reference of one colour tells nothing
SHORTEST_CONTENT = 1e-3
KEY = 'key'  # of a file's metadata

Tokens = tuple[Float[Array, '1 _ _'], ...]


class Content(NamedTuple):
    """What an encoder sees of an embedding beside the domain.

    mean: of the embeddings of source images.
    known: the matrix that keeps the axes on which source images differ.
    """

    mean: Float[Array, 'D']
    known: Float[Array, 'D D']

    def of(self, embedding: Float[Array, 'D']) -> Float[Array, 'D']:
        """At length 1."""
        content = self.known @ (embedding - self.mean)
        return content * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(content)), SHORTEST_CONTENT**2))


class Sought(NamedTuple):
    """What does not change while a head is looked for: the arguments of every step."""

    generator: TriPlaneGenerator
    basis: Basis
    encoders: tuple[clip_jax.Clip, ...]
    contents: tuple[Content, ...]
    embedded: tuple[Float[Array, 'D'], ...]  # the reference's content
    tokens: Tokens  # and tokens
    reference: Float[Array, '1 S S 3']


def find_counterpart(
    generator: TriPlaneGenerator,
    encoders: Sequence[clip_jax.Clip],
    layers: Sequence[int],
    embeddings: Sequence[Float[Array, 'N D']],
    reference: Float[Array, 'S S 3'],
    camera: CameraConfig,
    stepped: Callable[[int], None] = lambda done: None,
) -> Counterpart:
    """The head, in w, and the camera that sees it as the reference does.

    Args:
        generator: a source generator.
        encoders, layers: CLIP models, and for each the block whose tokens are compared.
        embeddings: of source images by each encoder (`guidance.embed_source`); without any, content is not compared.
        reference: the picture in [-1, 1], at the side of the generator's images or at a smaller one.
        camera: the distribution of cameras; its middle is where the search begins.
        stepped: called after each of `STEPS` steps with their number; what it raises ends the search.

    Raises:
        AdaptationError: a number is not finite.
    """
    sought = seek(generator, tuple(encoders), tuple(layers), embeddings, reference, camera)
    middle, deviation = poses.middle(camera), poses.deviations(camera)
    deviation[poses.VIEWS :] *= CROPPED
    pose, expected = middle, poses.Expected(middle, deviation)
    coordinates = jnp.zeros(len(sought.basis.axes))
    state = _adam().init(coordinates)
    for index in range(STEPS):
        if index >= FIRST_POSE and index % POSE_EVERY == 0:
            pose = refined(sought, coordinates, pose, expected, camera)
        looking = poses.cameras_of(jnp.asarray(pose[None], jnp.float32), camera)
        coordinates, state, loss = _step(tuple(layers), coordinates, state, sought, looking, jnp.float32(index / STEPS))
        if not np.isfinite(float(loss)):
            raise AdaptationError(
                f"Looking for the reference's own head, the loss is {float(loss)}: check the checkpoints and the "
                'picture, or set weights.pair of all phases to 0.'
            )
        stepped(index + 1)
    looking = poses.cameras_of(jnp.asarray(pose[None], jnp.float32), camera)
    return Counterpart(_ws(sought, coordinates), looking)


@jax.jit
def draw_counterpart(generator: TriPlaneGenerator, counterpart: Counterpart) -> Float[Array, '1 S S 3']:
    """Its image by a generator, source or adapted."""
    return _image(generator, counterpart.ws, counterpart.camera)


def save_counterparts(path: Path, found: Mapping[str, Counterpart], key: str) -> None:
    """Writes what was found for each domain, atomically; `key`: of all that the search depends on.

    Raises:
        AdaptationError: the disk is full, or the like.
    """
    arrays = {f'{name}.{part}': np.asarray(array) for name, one in found.items() for part, array in _parts(one)}
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, {KEY: key})
        except SafetensorError as error:
            raise AdaptationError(f'cannot write {path}: {error}. Is the disk full?') from None


def load_counterparts(path: Path, names: Sequence[str], key: str) -> dict[str, Counterpart] | None:
    """What `save_counterparts` wrote; None where that is missing, damaged or of something else: it is found again."""
    try:
        with safe_open(path, 'numpy') as file:
            if (file.metadata() or {}).get(KEY) != key:
                return None
            read = {name: [file.get_tensor(f'{name}.{part}') for part in Counterpart._fields] for name in names}
    except (SafetensorError, OSError):
        return None
    return {name: Counterpart(*map(jnp.asarray, parts)) for name, parts in read.items()}


def _parts(counterpart: Counterpart) -> list[tuple[str, Array]]:
    return list(zip(Counterpart._fields, counterpart, strict=True))


def map_colours(
    colours: Float[Array, 'V 3'], wanted: Float[Array, 'V 3'], applied: Float[ArrayLike, '*B 3'] | None = None
) -> Float[Array, '*B 3']:
    """The affine map of colours that brings them nearest to those that are wanted, near the identity, applied.

    applied: what it is applied to; None: to the colours.
    """
    middle = colours.mean(axis=0)
    centred, aim = colours - middle, wanted - wanted.mean(axis=0)
    held = NEAR_IDENTITY * jnp.eye(3)
    highest = jax.lax.Precision.HIGHEST
    within = jnp.matmul(centred.T, centred, precision=highest) / len(colours) + held
    across = jnp.matmul(centred.T, aim, precision=highest) / len(colours) + held
    mapped = jnp.asarray(colours if applied is None else applied) - middle
    return jnp.matmul(mapped, jnp.linalg.solve(within, across), precision=highest) + wanted.mean(axis=0)


def seek(
    generator: TriPlaneGenerator,
    encoders: tuple[clip_jax.Clip, ...],
    layers: tuple[int, ...],
    embeddings: Sequence[Float[Array, 'N D']],
    reference: Float[Array, 'S S 3'],
    camera: CameraConfig,
) -> Sought:
    """What a search compares with; the arguments are those of `find_counterpart`."""
    contents, embedded, tokens = [], [], []
    for encoder, layer, known in zip(encoders, layers, embeddings, strict=True):
        embedding, seen = _encode(encoder, layer, reference[None])
        content = content_of(known, encoder.config.embed_dim)
        contents.append(content)
        embedded.append(content.of(embedding))
        tokens.append(seen)
    return Sought(
        generator,
        w_basis(generator, camera),
        encoders,
        tuple(contents),
        tuple(embedded),
        tuple(tokens),
        reference[None],
    )


def content_of(embeddings: Float[Array, 'N D'], size: int) -> Content:
    """Of embeddings of this size, from those of source images; without any, nothing is content."""
    if not len(embeddings):
        return Content(jnp.zeros(size), jnp.zeros((size, size)))
    known = np.eye(size) - np.linalg.inv(whitening_matrix(embeddings, KNOWN))
    return Content(jnp.asarray(embeddings).mean(axis=0), jnp.asarray(known, jnp.float32))


def refined(
    sought: Sought, coordinates: Float[Array, 'K'], pose: poses.Pose, expected: poses.Expected, camera: CameraConfig
) -> poses.Pose:
    """The pose one step nearer to that of the reference, of the head in the reference's colours."""
    target = small_target(np.asarray(sought.reference[0]), sought.generator)

    def recolour(seen: Float[np.ndarray, 'N h h 3']) -> Float[np.ndarray, 'N h h 3']:
        mapped = map_colours(jnp.asarray(seen[0].reshape(-1, 3)), jnp.asarray(target.reshape(-1, 3)), seen)
        return np.asarray(mapped)

    planes = _planes(sought.generator, _ws(sought, coordinates))
    return poses.refine(sought.generator, planes, target, pose, expected, camera, recolour)


def _ws(sought: Sought, coordinates: Float[Array, 'K']) -> Float[Array, '1 L D']:
    layers = sought.generator.config.num_ws
    return sought.basis.ws(coordinates, jnp.zeros((layers, len(coordinates))))


def _image(generator: TriPlaneGenerator, ws: Array, camera: Array) -> Array:
    rendered = generator.render(generator.planes(ws), camera)
    return generator.superresolve(rendered.feature_image, ws, rendered.points)


@jax.jit
def _planes(generator: TriPlaneGenerator, ws: Array) -> Array:
    return generator.planes(ws)


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(**ADAM)


@partial(jax.jit, static_argnums=0)
def _step(
    layers: tuple[int, ...],
    coordinates: Float[Array, 'K'],
    state: optax.OptState,
    sought: Sought,
    looking: Float[Array, '1 25'],
    progress: Float[Array, ''],
) -> tuple[Float[Array, 'K'], optax.OptState, Float[Array, '']]:
    loss, gradient = jax.value_and_grad(_objective)(coordinates, sought, looking, layers)
    move, state = _adam().update(gradient, state)
    return coordinates - RATE * 0.5 * (1 + jnp.cos(jnp.pi * progress)) * move, state, loss


def _objective(
    coordinates: Float[Array, 'K'], sought: Sought, looking: Float[Array, '1 25'], layers: tuple[int, ...]
) -> Float[Array, '']:
    image = _image(sought.generator, _ws(sought, coordinates), looking)
    return unlikeness(image, sought, layers) + PRIOR * jnp.mean(jnp.square(coordinates))


def unlikeness(image: Float[Array, '1 S S 3'], sought: Sought, layers: tuple[int, ...]) -> Float[Array, '']:
    """How far a source image is from the reference in colours, structure and content, weighted."""
    total = COLOURS * unlike_colours(image, sought.reference)
    parts = zip(sought.encoders, layers, sought.contents, sought.embedded, sought.tokens, strict=True)
    for encoder, layer, content, embedded, tokens in parts:
        embedding, seen = _encode(encoder, layer, image)
        total += STRUCTURE * losses.image_structure_loss(seen, tokens)
        total += CONTENT * (1 - content.of(embedding) @ embedded)
    return total


def _encode(
    encoder: clip_jax.Clip, layer: int, image: Float[Array, '1 S S 3']
) -> tuple[Float[Array, 'D'], Float[Array, '1 T C']]:
    """Embedding and tokens."""
    encoding = encode_images(encoder, image, (layer,), True)
    assert encoding.embedding is not None
    return encoding.embedding[0], encoding.tokens[0]


def unlike_colours(image: Float[Array, '1 S S 3'], reference: Float[Array, '1 R R 3']) -> Float[Array, '']:
    """The share of the variance of the reference's colours, in blocks, that the image's do not explain by one map."""
    side = reference.shape[1]
    ours, wanted = (pool(images).reshape(-1, 3) for images in (resized(image, side), reference))
    spread = jnp.mean(jnp.square(wanted - wanted.mean(axis=0)))
    return jnp.mean(jnp.square(wanted - map_colours(ours, wanted))) / jnp.maximum(spread, SMALLEST_VARIANCE)
