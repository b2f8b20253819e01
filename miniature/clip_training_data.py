"""Pictures of the world in every style, with captions: what the miniature's CLIP is trained and measured on.

The styles are the world's own, three treatments of its photo and one of its sketch, through which the photo's colours
shine. A treatment is a style with a name of its own, never an augmentation: a CLIP that is shown blurred pictures under
the words of sharp ones goes blind to blur, and one that has only seen grey sketches does not mind coloured ones.

Letters: N heads, S styles, R pixels along a side, K captions of a picture, L tokens of a caption, A attributes,
T patches of a picture, P parts of a head.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from scipy import ndimage
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from tqdm import tqdm

from clip_jax.tokenizer import Tokenizer as Tokenize
from eg3d_jax import PRESETS, cameras
from eg3d_jax.files import replacing
from miniature import world

RESOLUTION = 128  # of the pool, as the generator's pictures
PART_RESOLUTION = 96  # of the maps of parts; a multiple of both encoders' grids
RENDER_BATCH = 16
TEXTS = 4  # captions written for each picture
CAMERA_SPREAD = 1.3  # cameras are this much wider than those that pictures are generated with

TREATMENTS = ('blurred', 'grey', 'sepia')  # of the photo; beside them 'tinted', of the sketch
STYLES = tuple(world.STYLE_PHRASES)
COLOURS = ('hair_colour', 'clothes_colour', 'background_colour', 'eye_colour', 'skin')  # with prompts, of photos
BLUR = (0.8, 2.5)  # standard deviation in pixels of RESOLUTION, drawn evenly
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SEPIA = np.array([1.08, 0.90, 0.66], np.float32)  # a grey of 1 turns into this, clipped

TINT = (0.3, 1.0)  # share of the photo's colour in a tinted sketch, drawn evenly

ROUNDING = 2  # levels of 255
UNLIKE = 0.001  # share of the pixels

UNKNOWN, START, END = '<unk>', '<start>', '<end>'


class Pool(NamedTuple):
    """Pictures and what is known about them; `images` lies on disk and is read as needed."""

    images: UInt8[np.ndarray, 'N S R R 3']
    ids: np.ndarray  # [N, S, K, L] int32
    attributes: np.ndarray  # [N, A] float32
    classes: dict[str, np.ndarray]  # [N] indices into `world.CLASSES`


def make_tokenizer() -> Tokenizer:
    """One token for each word of the world; other words are unknown, case and punctuation are ignored.

    The end token has the largest id, as in CLIP's vocabulary.
    """
    words = [UNKNOWN, *world.vocabulary(), START, END]
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r'[^\w\s-]'), ' ')])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f'{START} $A {END}', special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return tokenizer


def make_pool(directory: Path, heads: int, seed: int, tokenize: Tokenize) -> Pool:
    """Renders the pool of a seed, or finds it in `directory`, where it is kept for the other encoder.

    A pool that was rendered from another version of the world is noticed by its first pictures, and made again.
    """
    key = jax.random.key(seed)
    images = _kept(directory / f'pictures_{seed}_{heads}.npy', heads, partial(_pictures, key), _alike)
    batches = heads // RENDER_BATCH
    people = jax.vmap(lambda batch: world.from_latent(_latents(key, batch)))(jnp.arange(batches))
    people = jax.tree.map(lambda leaf: leaf.reshape(heads, *leaf.shape[2:]), people)
    return Pool(
        images=images,
        ids=_captions(people, seed, tokenize),
        attributes=np.asarray(world.attributes(people), np.float32),
        classes={name: np.asarray(index) for name, index in world.classes(people).items()},
    )


def _kept(
    path: Path,
    heads: int,
    render: Callable[[int], UInt8[np.ndarray, 'n ...']],
    alike: Callable[[np.ndarray, np.ndarray], bool],
) -> UInt8[np.ndarray, 'N ...']:
    """What `render` makes of all batches of heads, from the file where it was kept, if the first batch is `alike`."""
    batches = heads // RENDER_BATCH
    if batches * RENDER_BATCH != heads:
        raise ValueError(f'The number of heads must be a multiple of {RENDER_BATCH}, got {heads}.')
    first = render(0)
    old = np.load(path, mmap_mode='r')[:RENDER_BATCH] if path.is_file() else None
    if old is None or old.shape != first.shape or not alike(old, first):
        with replacing(path) as unfinished:
            array = np.lib.format.open_memmap(unfinished, 'w+', np.uint8, (heads, *first.shape[1:]))
            for batch in tqdm(range(batches), desc=path.stem, unit='batch'):
                array[batch * RENDER_BATCH : (batch + 1) * RENDER_BATCH] = render(batch)
            array.flush()
    kept: np.ndarray = np.load(path, mmap_mode='r')
    return kept


def _alike(left: UInt8[np.ndarray, '...'], right: UInt8[np.ndarray, '...']) -> bool:
    """Whether pictures differ by no more than rounding, which depends on how the renderer was compiled."""
    return bool(np.abs(left.astype(np.int16) - right).max() <= ROUNDING)


def _alike_parts(left: UInt8[np.ndarray, '...'], right: UInt8[np.ndarray, '...']) -> bool:
    """Whether maps of parts differ by no more than a pixel here and there, for the same reason."""
    return bool(np.mean(left != right) <= UNLIKE)


def part_shares(directory: Path, heads: int, seed: int, grid: int) -> Float[np.ndarray, 'N T P']:
    """Which share of each patch every `world.Part` takes in the pool's pictures, patches row by row.

    The maps of parts are kept in `directory`, as the pool is.
    """
    key = jax.random.key(seed)
    maps = _kept(directory / f'parts_{seed}_{heads}.npy', heads, partial(_parts, key), _alike_parts)
    side = PART_RESOLUTION // grid
    patches = maps.reshape(heads, grid, side, grid, side)  # [N, R, R] -> [N, G, s, G, s]
    counts = np.stack([(patches == part).mean((2, 4), dtype=np.float32) for part in world.Part], axis=-1)
    return counts.reshape(heads, grid * grid, -1)


def treat(
    photos: Float[np.ndarray, 'N R R 3'], treatment: str, rng: np.random.Generator
) -> Float[np.ndarray, 'N R R 3']:
    """Photos in [0, 1], blurred (by a random amount), without colour, or in sepia."""
    if treatment == 'blurred':
        sigmas = rng.uniform(*BLUR, len(photos))
        blurred = [ndimage.gaussian_filter(photo, (s, s, 0)) for photo, s in zip(photos, sigmas, strict=True)]
        return np.stack(blurred)
    grey = np.repeat((photos @ LUMA)[..., None], 3, axis=-1)
    return grey if treatment == 'grey' else np.minimum(grey * SEPIA, 1)


def tint(
    sketches: Float[np.ndarray, 'N R R 3'], photos: Float[np.ndarray, 'N R R 3'], rng: np.random.Generator
) -> Float[np.ndarray, 'N R R 3']:
    """Sketches in [0, 1] with some of the colour of the photos of the same heads."""
    share = rng.uniform(*TINT, (len(photos), 1, 1, 1))
    colour = photos - (photos @ LUMA)[..., None]
    return np.clip(sketches + share * colour * (sketches @ LUMA)[..., None], 0, 1)


def _latents(key: PRNGKeyArray, batch: int | Array) -> Float[Array, 'N Z']:
    return jax.random.normal(jax.random.fold_in(key, 2 * batch), (RENDER_BATCH, world.LATENT_SIZE))


def _pictures(key: PRNGKeyArray, batch: int) -> UInt8[np.ndarray, 'N S R R 3']:
    """One batch of heads, each from a random side, in every style."""
    heads = world.from_latent(_latents(key, batch))
    drawn = jax.device_get(world.render_styles(heads, _cameras(jax.random.fold_in(key, 2 * batch + 1)), RESOLUTION))
    drawn = {style: (images + 1) / 2 for style, images in drawn.items()}
    rng = np.random.default_rng([int(jax.random.bits(key)), batch])
    drawn |= {name: treat(drawn['photo'], name, rng) for name in TREATMENTS}
    drawn['tinted'] = tint(drawn['sketch'], drawn['photo'], rng)
    images = np.stack([drawn[style] for style in STYLES], axis=1)
    return (np.clip(images, 0, 1) * 255 + 0.5).astype(np.uint8)


def _parts(key: PRNGKeyArray, batch: int) -> UInt8[np.ndarray, 'N R R']:
    """Which part of its head each pixel of one batch of pictures shows."""
    cameras = _cameras(jax.random.fold_in(key, 2 * batch + 1))
    return np.asarray(_find_parts(world.from_latent(_latents(key, batch)), cameras), np.uint8)


@jax.jit
def _find_parts(heads: world.Heads, cameras: Float[Array, 'N 25']) -> Array:
    return world.buffers(heads, cameras, PART_RESOLUTION).part


def _cameras(key: PRNGKeyArray) -> Float[Array, 'N 25']:
    config = PRESETS['miniature'].camera
    spread = dataclasses.replace(
        config, yaw_std=config.yaw_std * CAMERA_SPREAD, pitch_std=config.pitch_std * CAMERA_SPREAD
    )
    return cameras.sample_poses(key, RENDER_BATCH, spread)


def _captions(heads: world.Heads, seed: int, tokenize: Tokenize) -> np.ndarray:
    """Ids [N, S, K, L], L the longest caption's length."""
    rng = np.random.default_rng([seed, TEXTS])
    texts = [[world.captions(heads, style, rng) for _ in range(TEXTS)] for style in STYLES]  # [S][K][N]
    ids = tokenize([text for style in texts for take in style for text in take])
    ids = ids.reshape(len(STYLES), TEXTS, -1, ids.shape[-1]).transpose(2, 0, 1, 3)  # [S, K, N, L] -> [N, S, K, L]
    longest = int((ids == tokenize.eos_token_id).argmax(-1).max()) + 1
    return ids[..., :longest]
