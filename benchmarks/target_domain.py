"""How close adapted heads come to the true target domain, measured by the miniature's judge.

    python -m benchmarks.target_domain --workdir=runs/sketch --style=sketch [--samples=512] [--seed=0] [--output=FILE]

Several --workdir, of adaptations with other seeds or to other references of the same style, give the medians as well.

Because the miniature's world can draw any head in any style, the target domain is known: Frechet distances are taken
between samples and true renderings of other heads in the style, in the embedding of a network that guidance never sees.
Beside the adapted generator stand its source, two answers that need no training (the reference itself in place of every
sample; the source's samples with the reference's colour statistics), and the floor: true renderings against those of
other heads.

Letters: N samples, R resolution, E embedding.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from PIL import Image
from skimage import color

import clip_jax
from adaptation import load_adapted
from adaptation.adapter import load_source
from adaptation.config import read_config
from adaptation.inputs import find_file
from eg3d_jax import CameraConfig, TriPlaneGenerator
from eg3d_jax.cameras import orbit_cameras, sample_poses
from miniature import world
from miniature.judge import Judge, embed_all, load_judge

SAMPLES = 512
BATCH = 16
LATENT_SEED, TRUE_SEED = 50_000, 60_000  # samples' latents and the true renderings' heads: in no training set
SPREAD_FLOOR = 1e-3  # smallest deviation that a colour channel is divided by (a reference may have no colour)

Embeddings = Float[np.ndarray, 'N E']
Images = Float[np.ndarray, 'N R R 3']


class Samples(NamedTuple):
    """Images in [-1, 1] and depth maps in world units, of the same latents and cameras for every generator."""

    images: Images
    depth: Float[np.ndarray, 'N h w 1']


def frechet(first: Embeddings, second: Embeddings) -> float:
    """The squared Frechet distance between Gaussians fitted to two sets of embeddings."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    gap = first.mean(axis=0) - second.mean(axis=0)
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = _root(one)
    cross = np.trace(_root(root @ other @ root))  # equals the trace of (one @ other)^(1/2)
    return float(gap @ gap + np.trace(one) + np.trace(other) - 2.0 * cross)


def _root(matrix: Float[np.ndarray, 'E E']) -> Float[np.ndarray, 'E E']:
    """The square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = scipy.linalg.eigh((matrix + matrix.T) / 2.0)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def diversity(embeddings: Embeddings) -> float:
    """The mean distance between two different samples."""
    squares = np.sum(np.square(embeddings), axis=1)
    squared = np.maximum(squares[:, None] + squares - 2.0 * embeddings @ embeddings.T, 0.0)
    pairs = ~np.eye(len(embeddings), dtype=bool)
    return float(np.mean(np.sqrt(squared[pairs])))


def reinhard(images: Images, reference: Float[np.ndarray, 'R R 3']) -> Images:
    """Gives each image the mean and the deviation of the reference's colours in CIELAB (Reinhard et al. 2001)."""
    target = color.rgb2lab(np.clip((reference + 1.0) / 2.0, 0.0, 1.0)).reshape(-1, 3)
    result = []
    for image in images:
        lab = color.rgb2lab(np.clip((image + 1.0) / 2.0, 0.0, 1.0))
        mean, spread = lab.mean(axis=(0, 1)), np.maximum(lab.std(axis=(0, 1)), SPREAD_FLOOR)
        moved = (lab - mean) / spread * target.std(axis=0) + target.mean(axis=0)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='.*negative Z values')  # colours that no screen shows: clipped
            result.append(np.clip(color.lab2rgb(moved), 0.0, 1.0) * 2.0 - 1.0)
    return np.stack(result).astype(np.float32)


def true_renderings(style: str, count: int, camera: CameraConfig, seed: int, resolution: int = 128) -> Images:
    """Renders heads that no network has seen, in a style, by cameras of the generator's distribution."""
    key, batches = jax.random.key(TRUE_SEED + seed), []
    for batch in range(-(-count // BATCH)):
        head_key, camera_key = jax.random.split(jax.random.fold_in(key, batch))
        heads, cameras = world.sample(head_key, BATCH), sample_poses(camera_key, BATCH, camera)
        batches.append(np.asarray(world.render(heads, cameras, style, resolution)))
    return np.concatenate(batches)[:count]


def generate(generator: TriPlaneGenerator, count: int, seed: int) -> Samples:
    """Samples a generator without jitter, the mapping conditioned on the frontal camera."""
    key, images, depth = jax.random.key(LATENT_SEED + seed), [], []
    config = generator.config
    frontal = orbit_cameras(
        jnp.full(BATCH, config.camera.yaw_mean), jnp.full(BATCH, config.camera.pitch_mean), config.camera
    )
    for batch in range(-(-count // BATCH)):
        z_key, camera_key = jax.random.split(jax.random.fold_in(key, batch))
        z = jax.random.normal(z_key, (BATCH, config.z_dim))
        image, far = _generate(generator, z, sample_poses(camera_key, BATCH, config.camera), frontal)
        images.append(np.asarray(image))
        depth.append(np.asarray(far))
    return Samples(np.concatenate(images)[:count], np.concatenate(depth)[:count])


@jax.jit
def _generate(generator: TriPlaneGenerator, z: Array, cameras: Array, conditioning: Array) -> tuple[Array, Array]:
    made = generator(z, cameras, conditioning)
    return jnp.clip(made.image, -1.0, 1.0), made.depth


def depth_change(source: Samples, adapted: Samples, depth_range: float) -> float:
    """The mean absolute difference of two sets of depth maps, as a share of the range that rays are sampled over."""
    return float(np.mean(np.abs(source.depth - adapted.depth)) / depth_range)


class TargetDomain(NamedTuple):
    """A style's true renderings as the judge sees them: two sets of other heads."""

    judge: Judge
    style: str
    true: Embeddings
    other_true: Embeddings

    @staticmethod
    def of(style: str, samples: int, camera: CameraConfig, seed: int = 0, judge: Judge | None = None) -> TargetDomain:
        """Renders and embeds both sets (the shipped judge, if no other is given)."""
        judge = load_judge() if judge is None else judge
        images = true_renderings(style, 2 * samples, camera, seed, judge.config.resolution)
        embedded = embed_all(judge, images)
        return TargetDomain(judge, style, embedded[:samples], embedded[samples:])

    def distance(self, images: Images) -> float:
        """The Frechet distance of samples to the true renderings."""
        return frechet(embed_all(self.judge, images), self.true)


def measure(
    domain: TargetDomain,
    source: TriPlaneGenerator,
    adapted: TriPlaneGenerator,
    reference: Float[np.ndarray, 'R R 3'] | None,
    seed: int = 0,
) -> dict[str, object]:
    """Compares an adapted generator with the target domain.

    Args:
      domain: the style's true renderings; as many samples are drawn.
      source: the generator before the adaptation.
      adapted: and after it.
      reference: the picture it was adapted to, in [-1, 1], of the judge's resolution; None: texts alone guided.
      seed: of the samples' latents and cameras.

    Returns:
      `frechet`: distances to the true renderings of the source's samples, the adapted ones, the reference pasted
      everywhere and the source's samples with the reference's colours (where there is one), and other true renderings.
      `fall`: the share of the source's distance that the adaptation took away. `diversity`: mean pairwise distances,
      and the adapted one's share of the truth's. `depth_change`: see there.
    """
    count = len(domain.true)
    before, after = generate(source, count, seed), generate(adapted, count, seed)
    embedded = embed_all(domain.judge, after.images)
    distances = {
        'source': domain.distance(before.images),
        'adapted': frechet(embedded, domain.true),
    }
    if reference is not None:
        distances['pasted_reference'] = domain.distance(np.broadcast_to(reference, (count, *reference.shape)))
        distances['colour_transfer'] = domain.distance(reinhard(before.images, reference))
    distances['floor'] = frechet(domain.other_true, domain.true)
    spread = {'adapted': diversity(embedded), 'true': diversity(domain.true)}
    rendering = source.config.rendering
    return {
        'style': domain.style,
        'samples': count,
        'seed': seed,
        'frechet': distances,
        'fall': 1.0 - distances['adapted'] / distances['source'],
        'diversity': {**spread, 'share': spread['adapted'] / spread['true']},
        'depth_change': depth_change(before, after, rendering.ray_end - rendering.ray_start),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.target_domain', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument(
        '--workdir', type=Path, required=True, action='append', help='of a finished adaptation; may be repeated'
    )
    parser.add_argument('--style', choices=world.STYLES, required=True, help='which the reference was drawn in')
    parser.add_argument('--samples', type=int, default=SAMPLES)
    parser.add_argument('--seed', type=int, default=0, help='of samples and true renderings')
    parser.add_argument('--output', type=Path, help='JSON file (default: target_domain.json in the first workdir)')
    options = parser.parse_args(arguments)
    domain, reports = None, []
    for workdir in options.workdir:
        config = read_config(json.loads((workdir / 'config.json').read_text()))
        source = load_source(config.generator)
        domain = domain or TargetDomain.of(options.style, options.samples, source.config.camera, options.seed)
        reference = None
        if config.has_image:
            picture = clip_jax.load_image(find_file(config.reference.image), config.reference.crop)
            reference = _resize(picture, domain.judge.config.resolution)
        report = measure(domain, source, load_adapted(source, workdir), reference, options.seed)
        guide = config.reference.image or config.target_text
        reports.append({**report, 'reference': guide, 'training_seed': config.seed})
    result = reports[0] if len(reports) == 1 else {'runs': reports, 'median': medians(reports)}
    text = json.dumps(result, indent=2)
    (options.output or options.workdir[0] / 'target_domain.json').write_text(text + '\n')
    print(text)
    return 0


def medians(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median over runs of every measured number; words, counts and seeds are left out."""
    result: dict[str, Any] = {}
    for name, value in reports[0].items():
        values = [report[name] for report in reports]
        if isinstance(value, Mapping):
            result[name] = medians(values)
        elif isinstance(value, float):
            result[name] = float(np.median(values))
    return result


def _resize(image: Float[np.ndarray, 'R R 3'], resolution: int) -> Float[np.ndarray, 'S S 3']:
    """Antialiased, in 8 bits, as the picture would be stored."""
    pixels = Image.fromarray(np.clip(image * 127.5 + 128.0, 0, 255).astype(np.uint8))
    resized = pixels.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.float32) / 127.5 - 1.0


if __name__ == '__main__':
    sys.exit(main())
