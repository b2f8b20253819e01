"""Checks the shape annotations while these tests run, and makes a tiny generator, encoders, a reference and configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import install_import_hook
from PIL import Image

install_import_hook(['adaptation', 'clip_jax', 'eg3d_jax'], 'beartype.beartype')

import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

import clip_jax  # noqa: E402 (behind the hook)
import eg3d_jax  # noqa: E402
from adaptation.config import AdaptationConfig, read_config  # noqa: E402


@pytest.fixture(scope='session')
def tiny_generator() -> eg3d_jax.TriPlaneGenerator:
    # One plane block, one rendering pass and (below) one transformer block: little to compile, nothing missing.
    config = eg3d_jax.GeneratorConfig(
        z_dim=8,
        w_dim=12,
        backbone=eg3d_jax.BackboneConfig(resolution=4, plane_channels=5, channel_base=64, channel_max=8),
        decoder=eg3d_jax.DecoderConfig(hidden_channels=8, feature_channels=6),
        rendering=eg3d_jax.RenderingConfig(neural_resolution=8, depth_resolution=6, importance_resolution=0),
        superresolution=eg3d_jax.SuperresolutionConfig(input_resolution=8, first_block_doubles=False, channels=(6, 4)),
    )
    return randomised(eg3d_jax.TriPlaneGenerator, config, seed=0, scale=1.0)


@pytest.fixture(scope='session')
def tiny_clips() -> tuple[clip_jax.Clip, ...]:
    """Two encoders of different patch sizes."""
    text = clip_jax.TextConfig(
        vocab_size=16, context_length=4, width=8, layers=1, heads=1, mlp_width=8, eos_token_id=15
    )
    visions = [
        clip_jax.VisionConfig(image_size=16, patch_size=patch, width=16, layers=1, heads=2, mlp_width=16)
        for patch in (4, 8)
    ]
    configs = [clip_jax.ClipConfig(vision, text, embed_dim=8) for vision in visions]
    return tuple(randomised(clip_jax.Clip, config, seed=1 + i, scale=0.3) for i, config in enumerate(configs))


def randomised(module: type, config: Any, seed: int, scale: float) -> Any:
    """A module with normal random numbers in every leaf."""
    rng = np.random.default_rng(seed)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0))))
    flat = [
        (path, leaf.replace(jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


@pytest.fixture(scope='session')
def tiny_files(
    tiny_generator: eg3d_jax.TriPlaneGenerator,
    tiny_clips: tuple[clip_jax.Clip, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A directory with `generator`, `clip0`, `clip1` and `reference.png`."""
    directory = tmp_path_factory.mktemp('tiny')
    eg3d_jax.save_generator(tiny_generator, directory / 'generator')
    for index, clip in enumerate(tiny_clips):
        clip_jax.save_clip(clip, directory / f'clip{index}')
    pixels = np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(directory / 'reference.png')
    return directory


@pytest.fixture
def tiny_values(tiny_files: Path) -> dict[str, Any]:
    """The values of a config of two steps a phase, for a test to change."""
    return {
        'generator': str(tiny_files / 'generator'),
        'clip': f'{tiny_files / "clip0"},{tiny_files / "clip1"}',
        'clip_layers': (0,),
        'reference': {'image': str(tiny_files / 'reference.png')},
        'phases': {
            'phase1': {
                'steps': 2,
                'learning_rate': 0.01,
                'trained': ('decoder',),
                'weights': {'dir': 1.0, 'dis': 2.0, 'istr': 0.5, 'fstr': 3.0},
            },
            'phase2': {
                'steps': 2,
                'learning_rate': 0.02,
                'trained': ('superresolution',),
                'weights': {'dir': 1.0, 'dis': 2.0, 'istr': 0.5, 'fstr': 0.0},
            },
        },
        'batch_size': 2,
        'source_samples': 3,
        'sample_heads': 1,
        'intervals': {'log': 1, 'samples': 10, 'checkpoint': 10},
    }


@pytest.fixture
def tiny_config(tiny_values: dict[str, Any]) -> Callable[..., AdaptationConfig]:
    """Callable: changes by dotted field name -> the config."""

    def make(**changes: Any) -> AdaptationConfig:
        for path, value in changes.items():
            *groups, name = path.split('__')
            target = tiny_values
            for group in groups:
                target = target[group]
            target[name] = value
        return read_config(tiny_values)

    return make
