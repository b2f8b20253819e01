"""A run's directory, written without training, and the report of it."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import eg3d_jax
from adaptation.adapter import save_adapter
from adaptation.config import AdaptationConfig, read_config
from adaptation.inputs import load_inputs
from adaptation.leaves import matching, named_leaves
from adaptation.report import Options, write_report
from adaptation.workdir import Workdir

HEADS = 2
SCRIPT = '<script>document.title = "run"</script>'
EVALUATION: dict[str, Any] = {
    'format': 1,
    'samples': 5000,
    'seed': 3,
    'machine': f'a machine {SCRIPT}',
    'seconds': 81.5,
    'command': 'python -m adaptation.evaluate --workdir=run --note="<&>"',
    'metrics': [
        {
            'name': 'fid_inception',
            'title': 'FID (InceptionV3)',
            'value': 132.4567,
            'interval': [130.25, 134.75],
            'better': 'lower',
            'samples': 5000,
            'about': f'Distance to the target images {SCRIPT}.',
        },
        {
            'name': 'identity',
            'title': 'Identity <img src="x" onerror="document.title = 1">',
            'value': -0.000123456,
            'interval': None,
            'better': 'higher',
            'samples': 64,
            'about': 'Cosine.',
        },
        {
            'name': 'pairs',
            'title': 'Pairs',
            'value': 12497500,
            'interval': None,
            'better': None,
            'samples': 5000,
            'about': 'How many.',
        },
    ],
}


@pytest.fixture(scope='session')
def hostile_config(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> AdaptationConfig:
    """The config of 3 + 2 steps whose texts would be markup, were they not escaped."""
    image = tmp_path_factory.mktemp('hostile') / SCRIPT.replace('/', '|') / 'reference.png'
    image.parent.mkdir()
    pixels = np.random.default_rng(6).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    phase = {'steps': 3, 'learning_rate': 0.01, 'trained': ['decoder']}
    second = {'steps': 2, 'learning_rate': 0.02, 'trained': ['superresolution'], 'weights': {'fstr': 0.0}}
    return read_config(
        {
            'generator': str(tiny_files / 'generator'),
            'clip': f'{tiny_files / "clip0"},{tiny_files / "clip1"}',
            'clip_layers': [0],
            'reference': {'image': str(image)},
            'phases': {'phase1': phase, f'phase2{SCRIPT}': second},
            'batch_size': 3,
        }
    )


@pytest.fixture(scope='session')
def run_directory(
    hostile_config: AdaptationConfig,
    tiny_generator: eg3d_jax.TriPlaneGenerator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run, with an evaluation; for reading only."""
    workdir = Workdir(tmp_path_factory.mktemp('runs') / 'run')
    hashes = load_inputs(hostile_config).hashes
    workdir.claim(hostile_config, hashes)
    lines = [logged(step, name) for name, steps in phases(hostile_config).items() for step in steps]
    workdir.metrics.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    leaves = named_leaves(tiny_generator)
    names = [name for stage in ('decoder', 'superresolution') for name in matching(tuple(leaves), stage)]
    adapted = {
        name: leaves[name] + 0.3 * jnp.sin(jnp.arange(leaves[name].size)).reshape(leaves[name].shape) for name in names
    }
    save_adapter(workdir.root, tiny_generator, adapted, hashes['generator'], {'steps': 5, 'finished': True})
    (workdir.root / 'evaluation').mkdir()
    (workdir.root / 'evaluation' / 'evaluation.json').write_text(json.dumps(EVALUATION))
    return workdir.root


@pytest.fixture(scope='session')
def report(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's report."""
    output = tmp_path_factory.mktemp('report') / 'new' / 'report.html'
    return write_report(Options(run_directory, output=output, heads=HEADS), quiet=True)


def phases(config: AdaptationConfig) -> dict[str, range]:
    """The steps of each phase, counted from 1."""
    steps, done = {}, 0
    for name, phase in config.phases.items():
        steps[name] = range(done + 1, done + phase.steps + 1)
        done += phase.steps
    return steps


def logged(step: int, phase: str) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    feature_structure = {'fstr': 0.01 * 10**step} if phase == 'phase1' else {}
    time = {'first_step_time': 20.0} if step in (1, 4) else {'step_time': 0.25 * step}
    losses = {'loss': 3.0 / step, 'dir': 1.0 - 0.1 * step, 'dis': 0.5, 'istr': 0.1 * (step - 1), **feature_structure}
    return {'step': step, 'phase': phase, **losses, 'gradient_norm': 1.0, 'parameter_norm': 2.0, **time}
