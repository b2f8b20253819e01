"""Mixed adapters: their leaves, what they say of themselves, where they may be used, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import adaptation
import eg3d_jax
from adaptation.adapter import AdapterError, load_leaves, save_adapter
from adaptation.config import AdaptationConfig
from adaptation.leaves import fingerprint, matching, named_leaves, with_leaves
from adaptation.mix import main
from adaptation.mixing import mixed_leaves
from adaptation.provenance import camera_overrides
from adaptation.samples import GAP
from adaptation.strips import HEADING, MARGIN, compose
from convert.export import export
from eg3d_jax.files import write_json

Generator = eg3d_jax.TriPlaneGenerator
DECODER, G2 = 'decoder.net.0.bias', 'superresolution.block1.conv0.bias'


def write(directory: Path, generator: Generator, stages: tuple[str, ...], shift: float) -> Path:
    leaves = named_leaves(generator)
    names = [name for stage in stages for name in matching(tuple(leaves), stage)]
    changed = {name: leaves[name] + shift for name in names}
    save_adapter(directory, generator, changed, fingerprint(generator), {'steps': 1, 'finished': True})
    return directory


@pytest.fixture
def one(tiny_generator: Generator, tiny_config: Callable[..., AdaptationConfig], tmp_path: Path) -> Path:
    """A run's directory, whose adapter is Tri-D and G2 plus 1."""
    directory = write(tmp_path / 'one', tiny_generator, ('decoder', 'superresolution'), 1.0)
    write_json(directory / 'config.json', tiny_config().to_dict())
    return directory


@pytest.fixture
def other(tiny_generator: Generator, tmp_path: Path) -> Path:
    """An adapter alone: Tri-D plus 4."""
    return write(tmp_path / 'other', tiny_generator, ('decoder',), 4.0)


def command(*adapters: Path, weights: str, output: Path, more: tuple[str, ...] = ()) -> int:
    return main([f'--adapters={",".join(map(str, adapters))}', f'--weights={weights}', f'--output={output}', *more])


def shifts(generator: Generator, adapter: Path) -> dict[str, float]:
    """By how much a leaf of Tri-D and one of G2 are shifted, which is the same in all of the leaf."""
    source, leaves = named_leaves(generator), load_leaves(generator, adapter)
    found = {name: np.asarray(leaves[name] - source[name]) for name in (DECODER, G2) if name in leaves}
    assert all(np.ptp(shift) < 1e-5 for shift in found.values())  # rounding of float32 numbers of order 1
    return {name: float(shift.mean()) for name, shift in found.items()}


@pytest.mark.parametrize(
    ('weights', 'decoder', 'g2'),
    [('0.5,0.5', 2.5, 0.5), ('1,1', 5.0, 1.0), ('2,-0.25', 1.0, 2.0), ('0,1', 4.0, 0.0), ('1,0', 1.0, 1.0)],
)
def test_mix_is_the_source_plus_weighted_differences(
    weights: str, decoder: float, g2: float, one: Path, other: Path, tiny_generator: Generator, tmp_path: Path
):
    """What only the first adapter has counts as unchanged in the second one."""
    assert command(one, other, weights=weights, output=tmp_path / 'mix') == 0
    assert shifts(tiny_generator, tmp_path / 'mix') == pytest.approx({DECODER: decoder, G2: g2}, abs=1e-5)


def test_it_serves_wherever_an_adapter_does(one: Path, other: Path, tiny_generator: Generator, tiny_files: Path):
    mix = one.parent / 'mix'
    assert (
        adaptation.mix_adapters([one, other / 'adapter.safetensors'], [0.5, 0.25], mix) == mix / 'adapter.safetensors'
    )
    adapted = named_leaves(adaptation.load_adapted(tiny_files / 'generator', mix))
    np.testing.assert_allclose(adapted[DECODER], named_leaves(tiny_generator)[DECODER] + 1.5, atol=1e-5)
    exported = export(mix, tiny_files / 'generator', one.parent / 'adapted.safetensors')
    assert DECODER in exported.written
    # and in a mix of its own, whose source the mix names
    adaptation.mix_adapters([mix], [2.0], one.parent / 'again')
    assert shifts(tiny_generator, one.parent / 'again')[DECODER] == pytest.approx(3.0, abs=1e-5)


def test_it_says_what_it_was_mixed_from(one: Path, other: Path, tiny_files: Path, tmp_path: Path):
    assert command(one, other, weights='0.5,-1', output=tmp_path / 'mix') == 0
    info = json.loads((tmp_path / 'mix' / 'adapter.json').read_text())
    assert [(part['adapter'], part['weight']) for part in info['mixed_from']] == [(str(one), 0.5), (str(other), -1.0)]
    assert len({part['sha256'] for part in info['mixed_from']}) == 2
    assert info['generator'] == str(tiny_files / 'generator')
    assert {path.name for path in (tmp_path / 'mix').iterdir()} == {'adapter.json', 'adapter.safetensors'}


def test_an_earlier_mix_is_replaced_with_its_preview(one: Path, other: Path, tiny_generator: Generator, tmp_path: Path):
    mix = tmp_path / 'mix'
    assert command(one, other, weights='1,1', output=mix, more=('--preview',)) == 0
    side = tiny_generator.config.image_resolution
    picture = np.asarray(Image.open(mix / 'preview.png'))
    assert picture.shape == (HEADING + GAP + 4 * (side + GAP), MARGIN + GAP + 4 * (side + GAP), 3)
    columns = [picture[HEADING + GAP :, MARGIN + GAP + n * (side + GAP) :][:, :side] for n in range(4)]
    assert all((columns[0] != column).any() for column in columns[1:])
    assert command(one, other, weights='0,0', output=mix) == 0
    assert not (mix / 'preview.png').exists()
    assert shifts(tiny_generator, mix) == {DECODER: 0.0, G2: 0.0}


def test_the_preview_has_the_cameras_of_the_first_run(one: Path, tmp_path: Path):
    drawn = []
    for camera in ({}, {'fov_degrees': 25.0}):
        change(one / 'config.json', camera=camera)
        assert command(one, weights='1', output=tmp_path / 'mix', more=('--preview',)) == 0
        drawn.append(np.asarray(Image.open(tmp_path / 'mix' / 'preview.png'))[HEADING:, MARGIN:])
    assert (drawn[0] != drawn[1]).any()


def change(path: Path, **fields: Any) -> None:
    write_json(path, json.loads(path.read_text()) | fields)


class TestRefusals:
    @pytest.mark.parametrize(
        ('weights', 'problem'),
        [
            ('0.5', '--weights: there are 1 for 2 adapters; give one for each'),
            ('0.5,nan', "--weights: '0.5,nan' is no list of finite numbers"),
            ('0.5,inf', "--weights: '0.5,inf' is no list of finite numbers"),
            ('half,half', "--weights: 'half,half' is no list of finite numbers"),
        ],
    )
    def test_weights(
        self, weights: str, problem: str, one: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert command(one, other, weights=weights, output=tmp_path / 'mix') == 2
        assert f'error: {problem}' in capsys.readouterr().err
        assert not (tmp_path / 'mix').exists()

    def test_a_mix_that_is_not_finite(self, one: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert command(one, other, weights='1e300,1e10', output=tmp_path / 'mix') == 1
        assert 'error: the mix is not finite in decoder' in capsys.readouterr().err
        assert not (tmp_path / 'mix').exists()

    def test_adapters_of_different_sources(
        self, one: Path, tiny_generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        moved = with_leaves(tiny_generator, {DECODER: named_leaves(tiny_generator)[DECODER] + 1})
        foreign = write(tmp_path / 'foreign', moved, ('decoder',), 1.0)
        assert command(one, foreign, weights='1,1', output=tmp_path / 'mix') == 1
        error = capsys.readouterr().err
        assert error == (
            f'error: {one} and {foreign} were adapted from different generators: only adapters of one source mix.\n'
        )

    @pytest.mark.parametrize('output', ['one', 'other', 'file', 'foreign', 'adapter'])
    def test_outputs(self, output: str, one: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        (tmp_path / 'file').write_text('mine')
        (tmp_path / 'foreign').mkdir()
        (tmp_path / 'foreign' / 'notes.txt').write_text('mine')
        shutil.copytree(other, tmp_path / 'adapter')  # somebody's result, and no mix
        before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
        assert command(one, other, weights='1,1', output=tmp_path / 'x' / '..' / output) == 2
        error = capsys.readouterr().err
        assert error.startswith('error: --output: ')
        assert error.count('\n') == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()} == before

    def test_a_source_that_nothing_names(self, other: Path, tiny_files: Path, capsys: pytest.CaptureFixture[str]):
        mix = other.parent / 'mix'
        assert command(other, weights='1', output=mix) == 1
        assert 'does not say which generator it was made from: name it with --source' in capsys.readouterr().err
        assert command(other, weights='1', output=mix, more=(f'--source={tiny_files / "generator"}',)) == 0
        assert command(other, weights='1', output=mix, more=('--source=nowhere',)) == 1
        assert 'error: the source cannot be loaded: ' in capsys.readouterr().err

    def test_files_that_are_missing_or_damaged(self, one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert command(one, tmp_path / 'nowhere', weights='1,1', output=tmp_path / 'mix') == 1
        assert f'error: cannot read {tmp_path / "nowhere" / "adapter.json"}' in capsys.readouterr().err
        change(one / 'config.json', generator=3)
        assert command(one, weights='1', output=tmp_path / 'mix') == 1
        assert f'error: {one / "config.json"} is damaged' in capsys.readouterr().err
        assert not (tmp_path / 'mix').exists()

    def test_flags(self, capsys: pytest.CaptureFixture[str]):
        assert main(['--adapter=a', '--adapters=a', '--weights=1', '--output=b']) == 2
        assert "error: unknown argument '--adapter=a': did you mean --adapters?" in capsys.readouterr().err
        assert main(['--adapters=a,,b', '--weights=1,1', '--output=c']) == 2
        assert "error: --adapters: 'a,,b' names an empty one" in capsys.readouterr().err
        assert main(['--adapters=a']) == 2


def test_leaves_are_mixed_in_double_precision():
    """Weights of 1 give back the adapter bit for bit, though source and adapter are of different sizes."""
    source, adapted = jnp.asarray([1e4, 3.0]), jnp.asarray([1.2345678e-3, 0.1])
    mixed = mixed_leaves({'a': source}, [{'a': adapted}], [1.0])
    np.testing.assert_array_equal(mixed['a'], adapted)


def test_strips_have_a_heading_and_names_beside():
    rows = [[np.full((16, 16, 3), shade, np.float32) for shade in (-1.0, 1.0)] for _ in range(3)]
    picture = compose(rows, ['left', 'right'], ['one', 'two', 'three'])
    assert picture.shape == (HEADING + GAP + 3 * (16 + GAP), MARGIN + GAP + 2 * (16 + GAP), 3)
    first = MARGIN + GAP
    assert (picture[HEADING + GAP : HEADING + GAP + 16, first : first + 16] == 0).all()
    assert (picture[HEADING + GAP : HEADING + GAP + 16, first + 16 + GAP :] == 255).all()
    assert picture[:HEADING, first:].min() < 128
    assert picture[HEADING + GAP :, :MARGIN].min() < 128


def test_it_keeps_the_cameras_of_its_first_adapter(
    one: Path, other: Path, tiny_files: Path, tiny_config: Callable[..., AdaptationConfig]
):
    write_json(one / 'config.json', tiny_config(camera={'fov_degrees': 25.0, 'pivot': (0.0, 0.1, 0.0)}).to_dict())
    mix, again, reverse = (one.parent / name for name in ('mix', 'again', 'reverse'))
    adaptation.mix_adapters([one, other], [0.5, 0.5], mix)
    adaptation.mix_adapters([mix, other], [0.5, 0.5], again)
    adaptation.mix_adapters([other, one], [0.5, 0.5], reverse, source=tiny_files / 'generator')
    for directory, fov in ((one, 25.0), (mix, 25.0), (again, 25.0), (reverse, None)):
        overrides = camera_overrides(directory)
        assert (overrides.fov_degrees, overrides.pivot) == (fov, fov and (0.0, 0.1, 0.0))
        assert overrides.radius is None


def test_cameras_that_are_damaged_are_refused(other: Path):
    info = json.loads((other / 'adapter.json').read_text())
    write_json(other / 'adapter.json', {**info, 'camera': {'fov_degrees': 'wide'}})
    with pytest.raises(AdapterError, match=r'adapter\.json is damaged \(config\.camera\.fov_degrees: .*copy it again'):
        camera_overrides(other)
