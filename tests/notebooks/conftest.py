"""Executes notebooks in kernels of their own, and makes an experiment of a tiny generator and tiny encoders."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import nbformat
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import clip_jax
import eg3d_jax
from notebooks.execute import PROJECT, execute, read, with_parameters

EXPERIMENT = """
from adaptation.config import default_config

def get_config():
    config = default_config()
    config.generator = {generator!r}
    config.clip = {clips!r}
    config.clip_layers = (0,)
    config.reference.image = {reference!r}
    config.intervals.samples = 10
    for phase in config.phases.values():
        phase.steps = 2
    return config
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Mapping[str, Any]], tuple[Any, Path]]:
    """Callable: a notebook's name, changes of its parameters -> (the executed notebook, the directory it ran in)."""

    def run_one(name: str, parameters: Mapping[str, Any]) -> tuple[nbformat.NotebookNode, Path]:
        directory = tmp_path_factory.mktemp(name)
        notebook = with_parameters(read(name), parameters)
        with pytest.MonkeyPatch.context() as patch:
            paths = [str(PROJECT), os.environ.get('PYTHONPATH', '')]
            patch.setenv('PYTHONPATH', os.pathsep.join(filter(None, paths)))
            patch.setenv('PATH', os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
            # A few steps: compiling is nearly all of the time. JAX_COMPILATION_CACHE_DIR is passed on where it is set.
            patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
            execute(notebook, directory)
        return notebook, directory

    return run_one


@pytest.fixture(scope='module')
def tiny_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file of two steps a phase, on random networks of which a kernel compiles little."""
    directory = tmp_path_factory.mktemp('tiny')
    generator = eg3d_jax.GeneratorConfig(
        z_dim=8,
        w_dim=12,
        backbone=eg3d_jax.BackboneConfig(resolution=4, plane_channels=5, channel_base=64, channel_max=8),
        decoder=eg3d_jax.DecoderConfig(hidden_channels=8, feature_channels=6),
        rendering=eg3d_jax.RenderingConfig(neural_resolution=8, depth_resolution=6, importance_resolution=0),
        superresolution=eg3d_jax.SuperresolutionConfig(input_resolution=8, first_block_doubles=False, channels=(6, 4)),
    )
    eg3d_jax.save_generator(_random(eg3d_jax.TriPlaneGenerator, generator, 1.0), directory / 'generator')
    text = clip_jax.TextConfig(
        vocab_size=16, context_length=4, width=8, layers=1, heads=1, mlp_width=8, eos_token_id=15
    )
    for patch in (4, 8):
        vision = clip_jax.VisionConfig(image_size=16, patch_size=patch, width=16, layers=1, heads=2, mlp_width=16)
        clip = _random(clip_jax.Clip, clip_jax.ClipConfig(vision, text, embed_dim=8), 0.3)
        clip_jax.save_clip(clip, directory / f'clip{patch}')
    pixels = np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(directory / 'reference.png')
    file = directory / 'tiny.py'
    file.write_text(
        EXPERIMENT.format(
            generator=str(directory / 'generator'),
            clips=f'{directory / "clip4"},{directory / "clip8"}',
            reference=str(directory / 'reference.png'),
        )
    )
    return file


def _random(module: type, config: Any, scale: float) -> Any:
    """A module with normal random numbers in every leaf."""
    rng = np.random.default_rng(0)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0))))
    flat = [
        (path, leaf.replace(jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))
