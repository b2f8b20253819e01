"""Pictures of a run: the reference, and the same heads from the source and from the adapted generator.

N batch, Z channels of z, H heads, V views, S and R sides of an image in pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8
from PIL import Image

from adaptation.config import AdaptationConfig
from adaptation.inputs import Inputs
from adaptation.lettering import prompt_picture
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator, cameras
from eg3d_jax.files import replacing

VIEW_YAWS = (-0.4, 0.0, 0.4)  # radians from the frontal view
LARGEST_TILE = 256  # side in pixels; larger images are reduced to it
GAP = 4  # pixels between heads, and around the reference; views of a head touch
PAPER = 255

Generate = Callable[[TriPlaneGenerator, Array, Array, Array], Float[Array, 'N S S 3']]


@cache
def make_generate(truncation_psi: float) -> Generate:
    """The compiled `(generator, z, camera, conditioning) -> images`, without jitter."""

    @jax.jit
    def generate(generator: TriPlaneGenerator, z: Array, camera: Array, conditioning: Array) -> Array:
        return generator(z, camera, conditioning, truncation_psi).image

    return generate


def equal_batches(count: int, size: int) -> Iterator[Int[np.ndarray, 'B']]:
    """Indices 0 to `count` - 1 in batches of one size B, so that one compiled program serves all.

    The last batch is filled up with its last index.
    """
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1)


class SampleGrid:
    """Draws the same heads, each from three views, as training goes on.

    All views of a head share one latent and one conditioning camera, the frontal one.
    """

    def __init__(
        self,
        generate: Generate,
        source: TriPlaneGenerator,
        reference: Float[np.ndarray, 'R R 3'],
        camera: CameraConfig,
        key: PRNGKeyArray,
        *,
        heads: int,
        batch_size: int,
    ):
        views = len(VIEW_YAWS)
        z = jax.random.normal(key, (heads, source.config.z_dim))
        yaws = jnp.tile(camera.yaw_mean + jnp.asarray(VIEW_YAWS), heads)
        looking = cameras.orbit_cameras(yaws, jnp.full_like(yaws, camera.pitch_mean), camera)
        self._inputs = (jnp.repeat(z, views, axis=0), looking, frontal_cameras(heads * views, camera))
        self._generate = generate
        self._batch_size = batch_size
        self._reference = reference
        self._source_row = partial(self._row, source)
        self._drawn_source: Float[np.ndarray, 'H V S S 3'] | None = None

    def draw(
        self,
        adapted: TriPlaneGenerator,
        stopped: Callable[[], bool] = lambda: False,
        reference: Float[np.ndarray, 'R R 3'] | None = None,
    ) -> np.ndarray | None:
        """The picture [rows, columns, 3] uint8: the reference at the left, source heads above adapted ones.

        Args:
            adapted: the adapted generator.
            stopped: asked before each batch; where it says yes, nothing more is drawn and None is returned.
            reference: shown in place of the grid's own.
        """
        if self._drawn_source is None:
            self._drawn_source = self._source_row(stopped)
        if self._drawn_source is None:
            return None
        row = self._row(adapted, stopped)
        shown = self._reference if reference is None else reference
        return None if row is None else compose(shown, self._drawn_source, row)

    def _row(self, generator: TriPlaneGenerator, stopped: Callable[[], bool]) -> Float[np.ndarray, 'H V S S 3'] | None:
        drawn = []
        for batch in self._batches():
            if stopped():
                return None
            drawn.append(np.asarray(self._generate(generator, *batch)))
        images = np.concatenate(drawn)
        count = len(self._inputs[0])
        return images[:count].reshape(-1, len(VIEW_YAWS), *images.shape[1:])  # [H V, S, S, 3] -> [H, V, S, S, 3]

    def _batches(self) -> Iterator[tuple[Array, ...]]:
        for rows in equal_batches(len(self._inputs[0]), self._batch_size):
            yield tuple(array[rows] for array in self._inputs)


def compose(
    reference: Float[np.ndarray, 'R R 3'],
    source: Float[np.ndarray, 'H V S S 3'],
    adapted: Float[np.ndarray, 'H V S S 3'],
) -> np.ndarray:
    """Lays out images in [-1, 1]: the reference two rows high, to its right the source row above the adapted row."""
    side = min(source.shape[2], LARGEST_TILE)
    heads = []
    for source_views, adapted_views in zip(source, adapted, strict=True):
        above, below = (
            np.concatenate([tile(view, side) for view in views], axis=1) for views in (source_views, adapted_views)
        )
        between = np.full((GAP, above.shape[1], 3), PAPER, np.uint8)
        head = np.concatenate([above, between, below], axis=0)
        heads += [np.full((head.shape[0], GAP, 3), PAPER, np.uint8), head]
    return np.concatenate([tile(reference, reference_side(side)), *heads], axis=1)


def stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures [rows, columns, 3] uint8 of one width, one below the other."""
    gap = np.full((GAP, pictures[0].shape[1], 3), PAPER, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1])


def reference_side(image_side: int) -> int:
    """Side in pixels at which the reference is shown beside images of this side: two rows and the gap between."""
    return 2 * min(image_side, LARGEST_TILE) + GAP


def target_picture(inputs: Inputs, config: AdaptationConfig) -> Float[np.ndarray, 'S S 3']:
    """What shows the target of a run: the reference, the first of several, or else the texts."""
    if inputs.reference is not None:
        return inputs.reference
    if inputs.references:
        return next(iter(inputs.references.values()))
    side = reference_side(inputs.generator.config.image_resolution)
    return prompt_picture(config.target_text, config.source_text, side)


def tile(image: Float[np.ndarray, 'S S 3'], side: int) -> UInt8[np.ndarray, 'R R 3']:
    """An image in [-1, 1] (what lies outside is clipped) as R x R bytes, where R is `side`."""
    pixels = np.round((np.clip(image, -1, 1) + 1) * (PAPER / 2)).astype(np.uint8)
    if image.shape[0] == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a [rows, columns, 3] uint8 picture as PNG, atomically."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format='PNG')
