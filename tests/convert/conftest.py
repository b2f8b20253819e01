"""Checks the shape annotations of the packages while the converters' tests run, and makes small source files."""

from __future__ import annotations

import pickle
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
