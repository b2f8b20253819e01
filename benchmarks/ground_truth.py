"""The miniature's test set: heads that no network has seen, as the source makes them and as a style truly draws them.

    python -m benchmarks.ground_truth --style=sketch --output=runs/true_sketches [--samples=256] [--seed=0]

writes the true renderings of one set as PNGs, such as `adaptation.evaluate --target` takes. Everything follows from the
seed: nothing is stored, and every machine draws the same heads.

Letters: N samples, R resolution, E embedding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from benchmarks.target_domain import BATCH, LATENT_SEED, Embeddings, Images, Samples, frechet, true_renderings
from eg3d_jax import PRESETS, TriPlaneGenerator
from eg3d_jax.cameras import orbit_cameras, sample_poses
from eg3d_jax.files import replacing
from miniature import world
from miniature.judge import Judge, embed_all
from miniature.world.latent import AMOUNTS

VALIDATION = 1_000_000  # added to a seed, it gives the heads that settings are chosen on, and none that are reported


class Poses(NamedTuple):
    """Latents and the cameras that look at their heads; the mapping is told the frontal camera."""

    z: Float[Array, 'N Z']
    camera: Float[Array, 'N 25']


class Painted(NamedTuple):
    """What a batch of heads is before it is looked at."""

    ws: Float[Array, 'N L D']
    planes: Float[Array, 'N 3 H W C']


class GroundTruth(NamedTuple):
    """What is known of a style's test set.

    images: the true rendering of each latent's head by its camera, in [-1, 1]. depth: its true depth, infinite where
    no head is. classes, amounts: the heads' attributes. embedded: the judge's view of `images`. domain: its view
    of the true renderings of other heads.
    """

    style: str
    poses: Poses
    images: Images
    depth: Float[np.ndarray, 'N R R']
    classes: dict[str, np.ndarray]
    amounts: Float[np.ndarray, 'N A']
    embedded: Embeddings
    domain: Embeddings

    @property
    def floor(self) -> float:
        """The distance of the true renderings to those of other heads."""
        return frechet(self.embedded, self.domain)


def poses(count: int, seed: int) -> Poses:
    """The test set's latents and cameras."""
    key, drawn = jax.random.key(LATENT_SEED + seed), []
    camera = PRESETS['miniature'].camera
    for batch in range(-(-count // BATCH)):
        z_key, camera_key = jax.random.split(jax.random.fold_in(key, batch))
        drawn.append(
            Poses(jax.random.normal(z_key, (BATCH, world.LATENT_SIZE)), sample_poses(camera_key, BATCH, camera))
        )
    return Poses(*(jnp.concatenate(parts)[:count] for parts in zip(*drawn, strict=True)))


def ground_truth(style: str, count: int, seed: int, judge: Judge, depth_resolution: int = 64) -> GroundTruth:
    """Renders a style's test set; `count` heads of each kind, a multiple of 16."""
    chosen = poses(count, seed)
    resolution = judge.config.resolution
    images, depth = [], []
    for batch in batches(chosen):
        heads = world.from_latent(batch.z)
        images.append(np.asarray(world.render(heads, batch.camera, style, resolution)))
        seen = world.buffers(heads, batch.camera, depth_resolution)
        depth.append(np.where(np.asarray(seen.mask), np.asarray(seen.depth), np.inf))
    heads = world.from_latent(chosen.z)
    others = true_renderings(style, count, PRESETS['miniature'].camera, seed, resolution)
    return GroundTruth(
        style=style,
        poses=chosen,
        images=np.concatenate(images),
        depth=np.concatenate(depth),
        classes={name: np.asarray(index) for name, index in world.classes(heads).items()},
        amounts=np.stack([np.asarray(heads.amounts[name]) for name in AMOUNTS], axis=-1),
        embedded=embed_all(judge, np.concatenate(images)),
        domain=embed_all(judge, others),
    )


def save_ground_truth(truth: GroundTruth, path: Path) -> None:
    """Writes it, for other processes of a benchmark, atomically."""
    apart = ('style', 'poses', 'classes')
    arrays: dict[str, Any] = {name: value for name, value in truth._asdict().items() if name not in apart}
    arrays |= {f'class:{name}': value for name, value in truth.classes.items()}
    with replacing(path) as unfinished, unfinished.open('wb') as file:
        np.savez(file, style=truth.style, z=truth.poses.z, camera=truth.poses.camera, **arrays)


def read_ground_truth(path: Path) -> GroundTruth:
    """What `save_ground_truth` wrote."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    classes = {name.removeprefix('class:'): arrays.pop(name) for name in list(arrays) if name.startswith('class:')}
    chosen = Poses(jnp.asarray(arrays.pop('z')), jnp.asarray(arrays.pop('camera')))
    return GroundTruth(style=str(arrays.pop('style')), poses=chosen, classes=classes, **arrays)


def batches(chosen: Poses) -> list[Poses]:
    """The test set in batches of 16.

    Raises:
        ValueError: it does not divide into them.
    """
    count = len(chosen.z)
    if count % BATCH:
        raise ValueError(f'the number of samples has to be a multiple of {BATCH}, got {count}')
    return [Poses(*(array[start : start + BATCH] for array in chosen)) for start in range(0, count, BATCH)]


def generate(generator: TriPlaneGenerator, chosen: Poses, painted: Sequence[Painted] | None = None) -> Samples:
    """What a generator makes of the test set, without jitter; `painted` spares it what it shares with its source."""
    if painted is None:
        painted = paint(generator, chosen)
    made = [_look(generator, head, batch.camera) for head, batch in zip(painted, batches(chosen), strict=True)]
    return Samples(*(np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*made, strict=True)))


def paint(generator: TriPlaneGenerator, chosen: Poses) -> list[Painted]:
    """The latents and planes of the test set's heads, in its batches; the mapping is told the frontal camera."""
    return [_paint(generator, batch.z) for batch in batches(chosen)]


@jax.jit
def _paint(generator: TriPlaneGenerator, z: Array) -> Painted:
    camera = generator.config.camera
    n = z.shape[0]
    frontal = orbit_cameras(jnp.full(n, camera.yaw_mean), jnp.full(n, camera.pitch_mean), camera)
    ws = generator.mapping(z, frontal)
    return Painted(ws, generator.planes(ws))


@jax.jit
def _look(generator: TriPlaneGenerator, painted: Painted, cameras: Array) -> tuple[Array, Array]:
    rendered = generator.render(painted.planes, cameras)
    image = generator.superresolve(rendered.feature_image, painted.ws, rendered.points)
    return jnp.clip(image, -1.0, 1.0), rendered.depth


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.ground_truth', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--style', choices=world.STYLES, required=True)
    parser.add_argument('--output', type=Path, required=True, help='directory of the PNGs')
    parser.add_argument('--samples', type=int, default=256)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args(arguments)
    images = true_renderings(options.style, options.samples, PRESETS['miniature'].camera, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        pixels = np.clip(image * 127.5 + 128.0, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(options.output / f'{options.style}_{index:05d}.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
