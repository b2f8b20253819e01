"""The command that takes a style out of several domains and draws strips, and the flags of other commands."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import adaptation
import eg3d_jax
from adaptation.adapter import load_leaves, save_adapter
from adaptation.config import read_config
from adaptation.domain import main
from adaptation.domains import first_leaves
from adaptation.errors import ConfigError
from adaptation.generate import parse
from adaptation.generation.subjects import load_subjects
from adaptation.leaves import fingerprint, matching, named_leaves
from adaptation.samples import GAP
from adaptation.strips import HEADING, MARGIN
from eg3d_jax.files import write_json

Generator = eg3d_jax.TriPlaneGenerator
SIDE = 16  # of the tiny generator's images


@pytest.fixture(scope='module')
def two_styles(tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of Tri-D in two domains: biases plus 1 in one, minus 1 in the other."""
    directory = tmp_path_factory.mktemp('domains')
    leaves = first_leaves(named_leaves(tiny_generator, nnx.Param), 2, 2, jax.random.key(0))
    leaves = {name: leaves[name] for name in matching(tuple(leaves), 'decoder')}
    for name in leaves:
        if name.endswith('.bias.own'):
            leaves[name] = leaves[name].at[0].add(1.0).at[1].add(-1.0)
    save_adapter(directory, tiny_generator, leaves, fingerprint(tiny_generator), {}, ('ink', 'oil'))
    return directory


def flags(two_styles: Path, tiny_files: Path, *more: str) -> list[str]:
    return [f'--workdir={two_styles}', f'--source={tiny_files / "generator"}', *more]


def test_a_style_is_taken_out_as_an_ordinary_adapter(
    two_styles: Path, tiny_files: Path, tiny_generator: Generator, tmp_path: Path
) -> None:
    asked = flags(two_styles, tiny_files, '--domain=ink:0.75,oil:0.25', f'--output={tmp_path / "taken"}')
    assert main(asked) == 0
    source = named_leaves(tiny_generator)
    taken = load_leaves(tiny_generator, tmp_path / 'taken')
    moved = taken['decoder.net.0.bias'] - source['decoder.net.0.bias']
    np.testing.assert_allclose(moved, 0.5, atol=1e-5)  # 0.75 - 0.25; rounding of numbers of order 1
    assert adaptation.load_adapted(tiny_generator, tmp_path / 'taken') is not tiny_generator
    assert main(asked) == 2  # the directory is not empty any more


def test_a_style_that_is_taken_out_keeps_the_cameras_of_its_run(
    two_styles: Path, tiny_files: Path, tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    run = shutil.copytree(two_styles, tmp_path / 'run')
    tiny_values['references'] = dict.fromkeys(('ink', 'oil'), tiny_values.pop('reference'))
    write_json(run / 'config.json', read_config({**tiny_values, 'camera': {'radius': 3.0}}).to_dict())
    assert main(flags(run, tiny_files, '--domain=ink', f'--output={tmp_path / "taken"}')) == 0
    (_, adapted) = load_subjects(tmp_path / 'taken', str(tiny_files / 'generator'), with_source=True)
    assert adapted.camera.radius == 3.0


def test_a_strip_goes_from_one_domain_to_the_other(two_styles: Path, tiny_files: Path, tmp_path: Path) -> None:
    asked = ('--strip=ink,oil', '--seeds=0-1', '--columns=3', f'--output={tmp_path / "strip"}')
    assert main(flags(two_styles, tiny_files, *asked)) == 0
    with Image.open(tmp_path / 'strip' / 'strip.png') as picture:
        pixels = np.asarray(picture.convert('RGB'), np.int32)
    top, left = HEADING + GAP, MARGIN + GAP
    source, ink, middle, oil = (
        pixels[top : top + SIDE, start : start + SIDE] for start in range(left, left + 4 * (SIDE + GAP), SIDE + GAP)
    )
    assert np.abs(middle - source).max() <= 1  # the biases cancel
    assert np.abs(ink - source).max() > 1
    assert np.abs(ink - oil).max() > 1


def test_generate_draws_a_domain(two_styles: Path, tiny_files: Path) -> None:
    asked = parse([f'--workdir={two_styles}', '--domain=ink:0.5,oil:0.5'])
    (subject,) = load_subjects(two_styles, str(tiny_files / 'generator'), domain=asked.domain)
    assert subject.title == 'adapted, domain 0.5 ink 0.5 oil'
    with pytest.raises(ConfigError, match='--domain: only an adapted generator has one'):
        parse(['--domain=ink'])
    with pytest.raises(ConfigError, match=r'--domain: .*names no domain'):
        parse([f'--workdir={two_styles}', '--domain=ink:x'])


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        ((), 'give either it'),
        (('--domain=wax',), "no domain 'wax'"),
        (('--strip=ink',), 'no pair of domains'),
        (('--strip=ink,wax',), "no domain 'wax'"),
        (('--strip=ink,oil', '--columns=1'), '--columns'),
        (('--domain=ink', '--seeds=3'), '--seeds: a style that is taken out is of no head'),
        (('--film=ink,oil', '--seeds=x'), '--seeds'),
        (('--strip=ink,oil', '--frames=3'), '--frames: it is of films: give --film'),
        (('--domain=ink', '--truncation=1'), '--truncation: it is of films: give --film'),
        (('--film=ink,oil', '--framse=3'), 'did you mean --frames?'),
        (('--film=ink,oil', '--columns=7'), '--columns: only a strip has them: give --strip, or leave them out'),
    ],
)
def test_what_makes_no_sense_is_refused(
    more: tuple[str, ...],
    said: str,
    two_styles: Path,
    tiny_files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(flags(two_styles, tiny_files, *more, f'--output={tmp_path / "new"}')) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()
