"""Pictures of the world for the documentation: `python -m miniature.contact_sheet [--output=docs/images]`.

Writes `world_styles.png` (rows of heads, columns of styles) and `world_heads.png` (heads seen from around).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from eg3d_jax import PRESETS
from eg3d_jax.cameras import orbit_cameras
from miniature import world

_SEED = 9
_STYLE_ROWS = 3
_HEAD_ROWS, _HEAD_COLUMNS = 4, 7
_KEPT_BITS = 0xFE  # the last bit of each channel is invisible and doubles the size of the files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=Path('docs/images'), help='directory of the pictures')
    output = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    _save(output / 'world_styles.png', style_rows(_STYLE_ROWS), len(world.STYLES))
    _save(output / 'world_heads.png', heads_around(_HEAD_ROWS * _HEAD_COLUMNS), _HEAD_COLUMNS)


def style_rows(rows: int) -> Float[np.ndarray, 'images 128 128 3']:
    """Returns `rows` heads in every style, row by row."""
    heads = world.sample(jax.random.key(_SEED), rows)
    yaw = jnp.linspace(-0.4, 0.4, rows)
    cameras = orbit_cameras(yaw, jnp.zeros(rows), PRESETS['miniature'].camera)
    drawn = [np.asarray(world.render(heads, cameras, style)) for style in world.STYLES]
    return np.stack(drawn, axis=1).reshape(-1, 128, 128, 3)  # [rows, styles, H, W, 3] -> [rows * styles, H, W, 3]


def heads_around(count: int) -> Float[np.ndarray, 'images 128 128 3']:
    """Returns photos of heads, each from a direction of its own."""
    rng = np.random.default_rng(_SEED)
    heads = world.sample(jax.random.key(_SEED + 1), count)
    yaw, pitch = jnp.asarray(rng.uniform(-0.6, 0.6, count)), jnp.asarray(rng.uniform(-0.25, 0.25, count))
    return np.asarray(world.render(heads, orbit_cameras(yaw, pitch, PRESETS['miniature'].camera)))


def _save(path: Path, images: np.ndarray, columns: int) -> None:
    n, height, width, channels = images.shape
    grid = images.reshape(n // columns, columns, height, width, channels).swapaxes(1, 2)  # [rows, H, columns, W, 3]
    pixels = np.clip((grid.reshape(-1, columns * width, channels) + 1.0) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(pixels & _KEPT_BITS).save(path, optimize=True)


if __name__ == '__main__':
    main()
