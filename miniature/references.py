"""Draw the reference pictures that the miniature's experiments point at.

    python -m miniature.references

One head for each style, rendered from the world in that style: latents from a seed that no training command uses, so
that no network has seen these heads. The benchmark draws others of the same seed.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from eg3d_jax import PRESETS, cameras
from miniature import world

DIRECTORY = Path(__file__).resolve().parent / 'references'
RESOLUTION = 256
SEED = 70_000
HEADS = {'sketch': (15, 2, 11), 'ukiyoe': (9, 3, 12), 'cartoon': (7, 4, 13)}  # of the seed; the first is shipped
VALIDATION_HEADS = {'sketch': (30, 31), 'ukiyoe': (30, 31), 'cartoon': (30, 31)}  # settings are chosen on these
YAW, PITCH = 0.12, 0.04  # radians: almost frontal, as portraits are


def latent(head: int) -> Float[Array, '1 64']:
    """z of a head of the seed."""
    return jax.random.normal(jax.random.fold_in(jax.random.key(SEED), head), (1, world.LATENT_SIZE))


def draw(style: str, head: int) -> np.ndarray:
    """The picture, [RESOLUTION, RESOLUTION, 3] in 0 .. 255."""
    camera = cameras.orbit_cameras(jnp.array([YAW]), jnp.array([PITCH]), PRESETS['miniature'].camera)
    image = world.render(world.from_latent(latent(head)), camera, style, RESOLUTION)[0]
    return np.clip(np.asarray(image) * 127.5 + 128.0, 0, 255).astype(np.uint8)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m miniature.references', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--output', type=Path, default=DIRECTORY)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for style, (head, *_) in HEADS.items():
        Image.fromarray(draw(style, head)).save(options.output / f'{style}.png', optimize=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
