"""Strokes: when the strengths of G2's noise are trained, and that an adapter carries them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import eg3d_jax
from adaptation import load_adapted
from adaptation.config import AdaptationConfig, read_config
from adaptation.errors import ConfigError
from adaptation.leaves import named_leaves
from adaptation.phases import plan
from adaptation.strokes import FIRST_STRENGTH, with_first_strokes
from adaptation.train import run

STRENGTHS = {f'superresolution.block{block}.conv{layer}.noise_strength' for block in (0, 1) for layer in (0, 1)}
BEGINNINGS = (0.0, float(np.float32(FIRST_STRENGTH)))  # of strengths that were never trained


@pytest.fixture(scope='module')
def with_noise(tiny_generator: eg3d_jax.TriPlaneGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny generator with the noise of its G2 on surfaces, as yet of strength 0."""
    settings = dataclasses.replace(tiny_generator.config.superresolution, noise_mode='hatching')
    config = dataclasses.replace(tiny_generator.config, superresolution=settings)
    generator = eg3d_jax.TriPlaneGenerator(config, rngs=nnx.Rngs(0))
    nnx.update(generator, nnx.state(tiny_generator))
    for block in (generator.superresolution.block0, generator.superresolution.block1):
        for layer in (block.conv0, block.conv1):
            layer.noise_strength[...] = 0.0 * layer.noise_strength[...]
    directory = tmp_path_factory.mktemp('with_noise')
    eg3d_jax.save_generator(generator, directory)
    return directory


def strengths(directory: Path, adapter: Path, domain: str | None = None) -> list[float]:
    leaves = named_leaves(load_adapted(directory, adapter, domain=domain))
    return [float(leaves[name]) for name in sorted(STRENGTHS)]


def ask_of_ink_alone(values: dict[str, Any]) -> None:
    """Makes a config's reference that of two domains, of which one has strokes."""
    image = values.pop('reference')['image']
    values['references'] = {'ink': {'image': image}, 'oil': {'image': image, 'strokes': False}}


@pytest.mark.parametrize('asked_for', [False, True])
def test_an_adapter_carries_them(asked_for: bool, with_noise: Path, tiny_values: dict[str, Any], tmp_path: Path):
    tiny_values['generator'] = str(with_noise)
    tiny_values['phases']['phase2']['strokes'] = asked_for
    run(read_config(tiny_values), tmp_path / 'run', quiet=True)
    found = strengths(with_noise, tmp_path / 'run')
    assert [strength not in BEGINNINGS for strength in found] == [asked_for] * 4


@pytest.mark.parametrize('domains', [False, True])
def test_they_begin_above_0_where_their_phase_begins(
    domains: bool, with_noise: Path, tiny_values: dict[str, Any], tmp_path: Path
):
    tiny_values['generator'] = str(with_noise)
    if domains:
        ask_of_ink_alone(tiny_values)
    tiny_values['phases']['phase2'] |= {'strokes': True, 'learning_rate': 1e-9}
    run(read_config(tiny_values), tmp_path / 'run', quiet=True)
    for domain, begins in (('ink', True), ('oil', False)) if domains else ((None, True),):
        found = strengths(with_noise, tmp_path / 'run', domain)
        assert found == pytest.approx([FIRST_STRENGTH * begins] * 4, abs=1e-6)


def test_strengths_that_are_there_already_stay(with_noise: Path, tiny_values: dict[str, Any]):
    tiny_values['phases']['phase2']['strokes'] = True
    leaves = named_leaves(eg3d_jax.load_generator(with_noise), nnx.Param)
    first, second = plan(read_config(tiny_values), leaves, resolution=8)
    _, *others = sorted(STRENGTHS)
    leaves |= {name: leaves[name] - 0.3 for name in others}
    assert with_first_strokes(leaves, first) is leaves
    begun = with_first_strokes(leaves, second)
    assert [round(float(begun[name]), 6) for name in sorted(STRENGTHS)] == [FIRST_STRENGTH, *(-0.3,) * 3]
    assert all(begun[name] is leaves[name] for name in leaves.keys() - STRENGTHS)


def test_a_strength_that_is_named_itself_is_trained(with_noise: Path, tiny_values: dict[str, Any], tmp_path: Path):
    tiny_values['generator'] = str(with_noise)
    tiny_values['phases']['phase2']['trained'] = (sorted(STRENGTHS)[0],)
    run(read_config(tiny_values), tmp_path / 'run', quiet=True)
    assert [strength != 0 for strength in strengths(with_noise, tmp_path / 'run')] == [True, False, False, False]


def test_a_strength_that_is_named_itself_is_trained_in_several_domains(
    with_noise: Path, tiny_values: dict[str, Any], tmp_path: Path
):
    tiny_values['generator'] = str(with_noise)
    tiny_values['references'] = dict.fromkeys(('ink', 'oil'), tiny_values.pop('reference'))
    tiny_values['phases']['phase2']['trained'] = (sorted(STRENGTHS)[0],)
    run(read_config(tiny_values), tmp_path / 'run', quiet=True)
    for domain in ('ink', 'oil'):
        found = strengths(with_noise, tmp_path / 'run', domain)
        assert [strength != 0 for strength in found] == [True, False, False, False]


def test_of_several_domains_those_have_them_that_they_are_for(
    with_noise: Path, tiny_values: dict[str, Any], tmp_path: Path
):
    tiny_values['generator'] = str(with_noise)
    ask_of_ink_alone(tiny_values)
    tiny_values['phases']['phase2']['strokes'] = True
    run(read_config(tiny_values), tmp_path / 'run', quiet=True)
    for domain, has_them in (('ink', True), ('oil', False)):
        found = strengths(with_noise, tmp_path / 'run', domain)
        assert [strength not in BEGINNINGS for strength in found] == [has_them] * 4


@pytest.mark.parametrize('domains', [False, True])
def test_they_are_refused_where_no_strength_is_trained(
    domains: bool, with_noise: Path, tiny_values: dict[str, Any], tmp_path: Path
):
    tiny_values['generator'] = str(with_noise)
    if domains:
        tiny_values['references'] = dict.fromkeys(('ink', 'oil'), tiny_values.pop('reference'))
    tiny_values['phases']['phase1']['strokes'] = tiny_values['phases']['phase2']['strokes'] = True
    problem = r"config\.phases\.phase1\.strokes: decoder holds no strength of G2's noise: train superresolution, or .*"
    with pytest.raises(ConfigError, match=f'^{problem}$'):
        run(read_config(tiny_values), tmp_path / 'run', quiet=True)
    assert not (tmp_path / 'run').exists()


def test_they_are_refused_where_the_noise_is_off(tiny_config: Callable[..., AdaptationConfig], tmp_path: Path):
    with pytest.raises(ConfigError, match=r'config\.phases\.phase2\.strokes: this generator.*"noise_mode": "hatching"'):
        run(tiny_config(phases__phase2__strokes=True), tmp_path / 'run', quiet=True)
    assert not (tmp_path / 'run').exists()


def test_they_are_refused_where_no_domain_has_them(tiny_values: dict[str, Any]):
    domain = tiny_values.pop('reference') | {'strokes': False}
    tiny_values['references'] = dict.fromkeys(('ink', 'oil'), domain)
    read_config(tiny_values)
    tiny_values['phases']['phase2']['strokes'] = True
    with pytest.raises(ConfigError, match=r'^config\.phases\.phase2\.strokes: asks for strokes, which no domain has'):
        read_config(tiny_values)
    tiny_values['references']['ink'] = domain | {'strokes': True}
    read_config(tiny_values)
