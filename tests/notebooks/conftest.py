"""Executes notebooks in kernels of their own, and makes an experiment of the tiny networks."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

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
            ignored = (f'ignore:Error {doing} persistent:UserWarning' for doing in ('reading', 'writing'))
            patch.setenv('PYTHONWARNINGS', ','.join(ignored))  # a slow disk: it is compiled anew
            execute(notebook, directory)
        return notebook, directory

    return run_one


@pytest.fixture(scope='module')
def tiny_experiment(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file of two steps a phase, on random networks of which a kernel compiles little."""
    file = tmp_path_factory.mktemp('tiny') / 'tiny.py'
    file.write_text(
        EXPERIMENT.format(
            generator=str(tiny_files / 'generator'),
            clips=f'{tiny_files / "clip0"},{tiny_files / "clip1"}',
            reference=str(tiny_files / 'reference.png'),
        )
    )
    return file
