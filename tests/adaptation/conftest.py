"""Checks the shape annotations while these tests run, makes configs of the tiny networks, and starts a browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

install_import_hook(['adaptation', 'clip_jax', 'eg3d_jax'], 'beartype.beartype')

from adaptation.config import AdaptationConfig, read_config  # noqa: E402


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


@pytest.fixture(scope='module')
def chromium() -> Iterator[Any]:
    """The browser, drawing without a GPU, for the tests of a module."""
    from playwright.sync_api import sync_playwright

    program = shutil.which('chromium')
    if program is None:
        pytest.skip('there is no chromium: install it, as .ci/run does')
    arguments = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
    arguments += ['--no-sandbox'] if hasattr(os, 'geteuid') and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """The same for one test: its pages are closed, or they would look for the next test's server."""
    yield chromium
    for context in chromium.contexts:
        context.close()
