"""What the judge is trained on: pictures of the world, in and out of focus.

Blur is something to be told, never an augmentation: a judge that is shown blurred pictures under the name of sharp ones
goes blind to blur, and would take soft pictures for true ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage
from tqdm import tqdm

from eg3d_jax import PRESETS
from eg3d_jax.cameras import orbit_cameras
from eg3d_jax.files import replacing
from miniature import world
from miniature.judge import BLURRED, STYLES, TREATED
from miniature.world.latent import AMOUNTS

RENDER_BATCH = 16
YAW, PITCH = 0.4, 0.2  # standard deviations of the cameras, radians: a little wider than the generator's
DRAWN = world.STYLES[1:]
BLUR = (0.7, 2.5)  # standard deviations in pixels, drawn evenly
SHIFT = 4  # pixels that pictures are moved by at most, up and down and sideways
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SEPIA = np.array([1.08, 0.90, 0.66], np.float32)

# Shares of a batch: photos are what generators make first, and what attributes are read from.
PHOTOS = 0.5
BLURRED_SHARE, TREATED_SHARE = 0.3, 0.2

COLOURFUL = ('photo', 'cartoon', 'stained_glass')  # styles that show colours as they are
SHAPELESS = ('silhouette', 'thermal')  # styles that hide most of a face


class Pool(NamedTuple):
    """Sharp pictures of heads, and what is known of them.

    Attributes:
      photos: [H, R, R, 3], in 0 .. 255.
      drawn: [D, styles of DRAWN, R, R, 3], of the first D heads.
      classes: [H] indices by name.
      amounts: [H, A] in [0, 1].
    """

    photos: UInt8[np.ndarray, 'H R R 3']
    drawn: UInt8[np.ndarray, 'D S R R 3']
    classes: dict[str, np.ndarray]
    amounts: Float[np.ndarray, 'H A']


class Batch(NamedTuple):
    """Pictures in [-1, 1] with their labels; `colour` and `shape` are 1 where a picture shows these."""

    images: Any  # [N, R, R, 3]
    style: Any  # [N]
    classes: dict[str, Any]  # [N] each
    amounts: Any  # [N, A]
    colour: Any  # [N]
    shape: Any  # [N]


def shows_colour(class_name: str) -> bool:
    """Whether a class is about a colour."""
    return class_name == 'skin' or class_name.endswith('_colour')


def make_pool(directory: Path, heads: int, drawn: int, seed: int) -> Pool:
    """Renders the pool of a seed; what an earlier call rendered of it is found in `directory` and kept.

    Raises:
      ValueError: a number of heads is not a multiple of `RENDER_BATCH`, or there are fewer heads than drawn ones.
    """
    if heads % RENDER_BATCH or drawn % RENDER_BATCH or drawn > heads:
        raise ValueError(f'Numbers of heads must be multiples of {RENDER_BATCH}, drawn <= heads; got {heads}, {drawn}.')
    directory = directory / f'pictures_{seed}'
    directory.mkdir(parents=True, exist_ok=True)
    first = _pictures(seed, 0, drawn=False)['photo']
    batches = tqdm(range(heads // RENDER_BATCH), desc='pictures', unit='batch')
    made = [_stored(directory, seed, batch, batch * RENDER_BATCH < drawn, first) for batch in batches]
    people = [_people(seed, batch)[0] for batch in range(heads // RENDER_BATCH)]
    crowd = jax.tree.map(lambda *leaves: np.concatenate(leaves), *jax.device_get(people))
    return Pool(
        photos=np.concatenate([pictures['photo'] for pictures in made]),
        drawn=np.concatenate([_stacked(pictures) for pictures in made[: drawn // RENDER_BATCH]]),
        classes={name: np.asarray(index) for name, index in world.classes(crowd).items()},
        amounts=np.stack([crowd.amounts[name] for name in AMOUNTS], axis=-1),
    )


def _stored(directory: Path, seed: int, batch: int, drawn: bool, first: np.ndarray) -> dict[str, np.ndarray]:
    """A batch from its file; rendered anew if there is none, or if the first one shows another version of the world."""
    path = directory / f'{batch:04d}.npz'
    if path.is_file():
        with np.load(path) as file:
            pictures = dict(file)
        if np.array_equal(pictures.pop('first'), first) and (not drawn or DRAWN[0] in pictures):
            return pictures
    pictures = _pictures(seed, batch, drawn)
    arrays: dict[str, Any] = {'first': first, **pictures}
    with replacing(path) as unfinished, unfinished.open('wb') as file:
        np.savez(file, **arrays)
    return pictures


def _stacked(pictures: dict[str, np.ndarray]) -> UInt8[np.ndarray, 'N S R R 3']:
    return np.stack([pictures[style] for style in DRAWN], axis=1)


def _people(seed: int, batch: int) -> tuple[world.Heads, jax.Array]:
    """Heads and the cameras that look at them."""
    head_key, camera_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), batch))
    yaw, pitch = jnp.asarray([[YAW], [PITCH]]) * jax.random.normal(camera_key, (2, RENDER_BATCH))
    cameras = orbit_cameras(jnp.clip(yaw, -0.8, 0.8), jnp.clip(pitch, -0.4, 0.4), PRESETS['miniature'].camera)
    return world.sample(head_key, RENDER_BATCH), cameras


def _pictures(seed: int, batch: int, drawn: bool) -> dict[str, np.ndarray]:
    """One batch of photos, and the same heads in every other style if asked for; in 0 .. 255."""
    heads, cameras = _people(seed, batch)
    styles = world.STYLES if drawn else ('photo',)
    return {
        style: np.clip(np.asarray(image) * 127.5 + 128.0, 0, 255).astype(np.uint8)
        for style, image in world.render_styles(heads, cameras, styles=styles).items()
    }


def draw_batch(pool: Pool, size: int, rng: np.random.Generator) -> Batch:
    """Draws pictures, puts some of them out of focus or into grey or sepia, and moves all of them a little."""
    photos = rng.random(size) < PHOTOS
    heads = np.where(photos, rng.integers(len(pool.photos), size=size), rng.integers(len(pool.drawn), size=size))
    drawn = rng.integers(len(DRAWN), size=size)
    fate = rng.random(size)
    images, names = [], []
    for is_photo, head, style, lot in zip(photos, heads, drawn, fate, strict=True):
        name = 'photo' if is_photo else DRAWN[style]
        image = (pool.photos[head] if is_photo else pool.drawn[head, style]).astype(np.float32) / 255.0
        if lot < BLURRED_SHARE:
            name, image = BLURRED + name, blurred(image, rng)
        elif is_photo and lot < BLURRED_SHARE + TREATED_SHARE:
            name = TREATED[int(rng.integers(len(TREATED)))]
            image = tinted(image, name)
        images.append(moved(image, rng) * 2.0 - 1.0)
        names.append(name)
    return Batch(
        images=np.stack(images),
        style=np.asarray([STYLES.index(name) for name in names]),
        classes={name: index[heads] for name, index in pool.classes.items()},
        amounts=pool.amounts[heads],
        colour=np.asarray([name.removeprefix(BLURRED) in COLOURFUL for name in names], np.float32),
        shape=np.asarray([name.removeprefix(BLURRED) not in SHAPELESS for name in names], np.float32),
    )


def blurred(image: Float[np.ndarray, 'R R 3'], rng: np.random.Generator) -> Float[np.ndarray, 'R R 3']:
    """Out of focus, by a random amount."""
    sigma = rng.uniform(*BLUR)
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), truncate=3.0, mode='nearest')


def tinted(image: Float[np.ndarray, 'R R 3'], name: str) -> Float[np.ndarray, 'R R 3']:
    """Without colour, or in sepia."""
    grey = np.repeat((image @ LUMA)[..., None], 3, axis=-1)
    return grey if name == 'grey_photo' else np.minimum(grey * SEPIA, 1.0)


def moved(image: Float[np.ndarray, 'R R 3'], rng: np.random.Generator) -> Float[np.ndarray, 'R R 3']:
    """Shifted by whole pixels, the border repeated."""
    side = image.shape[0]
    down, right = rng.integers(0, 2 * SHIFT + 1, size=2)
    padded = np.pad(image, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode='edge')
    return padded[down : down + side, right : right + side]
