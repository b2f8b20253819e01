"""How well a CLIP of the miniature names what it sees, on heads that no training command uses.

python -m miniature.clip_training_quality miniature/weights/clip_patch8
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from clip_jax import Clip, load_clip, load_tokenizer, preprocess
from miniature import world
from miniature.clip_training_data import COLOURS, STYLES, Pool, make_pool

HELD_OUT_SEED = 90_001
HEADS = 256
CANDIDATES = 64  # of a retrieval
BATCH = 64


def measure(directory: Path, workdir: Path) -> dict[str, float]:
    """Quality of the weights in a directory on held-out heads, whose pictures are kept in `workdir`.

    Returns:
      Shares in [0, 1]: zero-shot accuracy of the style over all styles, and of colours over photos, by one prompt for
      each class; and how often the right one of 64 is found, captions by pictures and pictures by captions, among
      pictures of all styles (`retrieval`) and among photos (`photo_retrieval`).
    """
    tokenize = load_tokenizer(directory)
    clip = load_clip(directory)
    pool = make_pool(workdir, HEADS, HELD_OUT_SEED, tokenize)
    images = encode_pool(clip, pool)  # [N, S, D]
    texts = np.asarray(_encode_texts(clip, pool.ids[:, :, 0]))  # [N, S, D]

    def zero_shot(name: str, seen: Float[np.ndarray, '... D']) -> np.ndarray:
        prompts = np.asarray(clip.encode_text(jnp.asarray(tokenize(world.class_prompts(name)))))
        return np.argmax(seen @ prompts.T, axis=-1)

    photos = images[:, STYLES.index('photo')]
    quality = {'style': np.mean(zero_shot('style', images) == np.arange(len(STYLES)))}
    quality |= {name: np.mean(zero_shot(name, photos) == pool.classes[name]) for name in COLOURS}
    rng = np.random.default_rng(HELD_OUT_SEED)
    order = rng.permutation(HEADS * len(STYLES))
    quality['retrieval'] = _retrieval(*(x.reshape(-1, x.shape[-1])[order] for x in (images, texts)))
    quality['photo_retrieval'] = _retrieval(photos, texts[:, STYLES.index('photo')])
    return {name: round(float(value), 4) for name, value in quality.items()} | {'heads': HEADS}


def encode_pool(clip: Clip, pool: Pool) -> Float[np.ndarray, 'N S D']:
    """Embeddings of all pictures of a pool."""
    graphdef, state = nnx.split(clip)

    @jax.jit
    def encode(state: nnx.State, images: jax.Array) -> jax.Array:
        clip = nnx.merge(graphdef, state)
        pixels = preprocess(images.astype(jnp.float32) / 127.5 - 1, clip.config.vision.image_size)
        embedding = clip.encode_image(pixels).embedding
        assert embedding is not None
        return embedding

    flat = pool.images.reshape(-1, *pool.images.shape[2:])
    parts = [encode(state, jnp.asarray(flat[start : start + BATCH])) for start in range(0, len(flat), BATCH)]
    return np.concatenate(parts).reshape(*pool.images.shape[:2], -1)


def _encode_texts(clip: Clip, ids: np.ndarray) -> np.ndarray:
    flat = jnp.asarray(ids.reshape(-1, ids.shape[-1]))
    parts = [clip.encode_text(flat[start : start + BATCH]) for start in range(0, len(flat), BATCH)]
    return np.concatenate(parts).reshape(*ids.shape[:-1], -1)


def _retrieval(images: Float[np.ndarray, 'M D'], texts: Float[np.ndarray, 'M D']) -> float:
    """How often the pair has the largest similarity of its group, in either direction; groups of `CANDIDATES`."""
    groups = len(images) // CANDIDATES
    similarity = np.einsum(
        'gid,gjd->gij',
        *(x[: groups * CANDIDATES].reshape(groups, CANDIDATES, -1) for x in (images, texts)),
    )
    right = np.arange(CANDIDATES)
    return float(np.mean([similarity.argmax(axis) == right for axis in (1, 2)]))


def main() -> int:
    print(json.dumps(measure(Path(sys.argv[1]), Path('runs/miniature_clip')), indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
