"""How true the miniature's generator is to its world, on heads that it has not seen.

python -m miniature.generator_quality [DIRECTORY]
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eg3d_jax import TriPlaneGenerator, cameras, load_generator
from eg3d_jax.config import GeneratorConfig
from miniature import views, weights_directory, world
from miniature.field_targets import FACE
from miniature.judge import Judge, load_judge

HELD_OUT_SEED = 90_000  # no training command uses it
HEADS = 512
BATCH = 16
CAMERA_SPREAD = 1.3  # training cameras are this much wider than the config's
SUPERSAMPLE = 2  # samples along a side of a pixel, as `world.render` takes them by default
FACE_CROP = 0.36  # side of the part of the picture around the face


def measure(directory: Path) -> dict[str, float]:
    """Quality of the weights in a directory, over 512 held-out heads seen by the config's cameras.

    Returns:
        psnr, face_psnr (36 % of the picture's side, around the face), background_psnr (where the ray of the rendering's
        pixel meets no head: outlines cross some of these pixels) and clear_background_psnr (pixels that show nothing of
        a head, nor do the eight around them), all dB, of the final image clipped to its range; foreground_depth_error
        (mean absolute, world units), attributes (share of the heads' classes that the judge reads right off the
        pictures) and attributes_of_truth (the same of true renderings).
    """
    generator, judge = load_generator(directory), load_judge()
    totals = np.zeros(5)
    weights = np.zeros(5)
    right = np.zeros(2)
    for batch in range(HEADS // BATCH):
        z, camera = _held_out(batch, generator.config)
        made, true, errors, counts = _pictures(generator, z, camera)
        classes = world.classes(world.from_latent(z))
        right += [_read_right(judge, images, classes) / HEADS for images in (made, true)]
        totals += np.asarray(errors, np.float64)
        weights += np.asarray(counts, np.float64)
    mean = totals / weights
    psnr, face, background, clear = (-10 * np.log10(mean[:4])).tolist()
    return {
        'psnr': round(psnr, 2),
        'face_psnr': round(face, 2),
        'background_psnr': round(background, 2),
        'clear_background_psnr': round(clear, 2),
        'foreground_depth_error': round(float(mean[4]), 4),
        'attributes': round(float(right[0]), 3),
        'attributes_of_truth': round(float(right[1]), 3),
        'heads': HEADS,
    }


def _held_out(batch: int, config: GeneratorConfig) -> tuple[Array, Array]:
    """Latents and cameras of one batch."""
    z_key, camera_key = jax.random.split(jax.random.fold_in(jax.random.key(HELD_OUT_SEED), batch))
    z = jax.random.normal(z_key, (BATCH, config.z_dim))
    return z, cameras.sample_poses(camera_key, BATCH, config.camera)


@jax.jit
def _read_right(judge: Judge, images: Array, classes: Mapping[str, Array]) -> Array:
    """Sum over the heads of the share of their classes that the judge reads right."""
    answers = judge.read(judge.embed(images))
    right = [answers[name].argmax(axis=-1) == index for name, index in classes.items()]
    return jnp.sum(jnp.mean(jnp.stack(right), axis=0))


@jax.jit
def _pictures(generator: TriPlaneGenerator, z: Array, camera: Array) -> tuple[Array, Array, Array, Array]:
    """Pictures made and true, [N, R, R, 3] in [-1, 1]; sums of squared colour errors (whole, face, background,
    clear background) and absolute depth errors, [5]; and what they sum over, [5]."""
    heads = world.from_latent(z)
    made = generator(z, camera)
    resolution = made.image.shape[1]
    true = world.render(heads, camera, 'photo', resolution)
    squared = jnp.mean(jnp.square(jnp.clip(made.image, -1, 1) - true), axis=-1) / 4  # colours in [0, 1]

    centres = (jnp.arange(resolution) + 0.5) / resolution
    u, v = jnp.meshgrid(centres, centres)
    face = views.project(camera, jnp.array(FACE))[:, :, None, None]
    in_face = (jnp.abs(u - face[:, 0]) < FACE_CROP / 2) & (jnp.abs(v - face[:, 1]) < FACE_CROP / 2)
    seen = world.buffers(heads, camera, made.depth.shape[1])
    background = ~jnp.repeat(
        jnp.repeat(seen.mask, resolution // seen.mask.shape[1], 1), resolution // seen.mask.shape[1], 2
    )
    depth_error = jnp.abs(made.depth[..., 0] - seen.depth)

    masks = (jnp.ones_like(squared), in_face, background, ~near_heads(heads, camera, resolution))
    sums = [jnp.sum(squared * mask) for mask in masks] + [jnp.sum(depth_error * seen.mask)]
    return made.image, true, jnp.stack(sums), jnp.stack([jnp.sum(mask) for mask in (*masks, seen.mask)])


def near_heads(heads: world.Heads, camera: Array, resolution: int) -> Array:
    """Which pixels show something of a head, or have one among the eight around them that does, [N, R, R]."""
    seen = world.buffers(heads, camera, resolution * SUPERSAMPLE).mask
    shown = seen.reshape(len(seen), resolution, SUPERSAMPLE, resolution, SUPERSAMPLE).any((2, 4))
    return jax.lax.reduce_window(shown, False, jax.lax.bitwise_or, (1, 3, 3), (1, 1, 1), 'SAME')


def main() -> int:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else weights_directory('generator')
    print(json.dumps(measure(directory), indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
