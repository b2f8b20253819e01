"""Checks the shape annotations of the packages while the converters' tests run, and makes small source files."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

install_import_hook(['clip_jax', 'convert', 'eg3d_jax'], 'beartype.beartype')

from convert.testing import eg3d_entries, eg3d_pickle  # noqa: E402 (behind the hook)


@pytest.fixture(scope='session')
def small_arguments() -> dict[str, Any]:
    """Constructor arguments of a generator that is small where the format lets it be."""
    return eg3d_entries.arguments(resolution=128, channel_base=1024, channel_max=8, width=16, samples=8)


@pytest.fixture(scope='session')
def small_pickle(small_arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole published file of that generator."""
    path = tmp_path_factory.mktemp('published') / 'small.pkl'
    eg3d_pickle.write_pickle(path, small_arguments, neural_resolution=64)
    return path


@pytest.fixture
def write_snapshot(small_arguments: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Callable: a function that may change a snapshot -> a pickle of it. The function gets the generator and the
    stand-ins of the reference's modules, and returns what is pickled as `G_ema`."""

    def write(change: Callable[[Any, eg3d_pickle.Reference], Any], protocol: int = 4) -> Path:
        arrays = eg3d_entries.random_arrays(eg3d_entries.generator_entries(small_arguments), 0)
        path = tmp_path / 'changed.pkl'
        with eg3d_pickle.reference_modules() as reference, path.open('wb') as file:
            generator = eg3d_pickle.generator(reference, small_arguments, arrays, 64)
            pickle.dump({'G_ema': change(generator, reference)}, file, protocol)
        return path

    return write


MEASURED = """
import pathlib, re, sys
import convert.clip, convert.eg3d, convert.export
{call}
print(re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1])
"""  # ru_maxrss would count the process that started this one as well


@pytest.fixture(scope='session')
def peak_memory() -> Callable[..., int]:
    """Callable: a call, with its arguments as `sys.argv[1:]` -> the bytes that a process of its own takes at most,
    imports and all."""

    if not Path('/proc/self/status').is_file():
        pytest.skip('peak memory is read from Linux /proc')

    def measure(call: str, *arguments: Path) -> int:
        command = [sys.executable, '-c', MEASURED.format(call=call), *arguments]
        return 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return measure
