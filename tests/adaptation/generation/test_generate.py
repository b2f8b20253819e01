"""The command on a tiny generator: what it writes, how it stops, what it refuses."""

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import eg3d_jax
from adaptation.adapter import save_adapter
from adaptation.errors import AdaptationError
from adaptation.generate import main, parse
from adaptation.generation import defaults, jobs, subjects
from adaptation.generation.pictures import read_description, save_png
from adaptation.leaves import fingerprint, matching, named_leaves

Generator = eg3d_jax.TriPlaneGenerator
Command = Callable[..., int]


@pytest.fixture(scope='module')
def workdir(tiny_files: Path, tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that adapted the tiny generator's decoder."""
    directory = tmp_path_factory.mktemp('run')
    leaves = named_leaves(tiny_generator)
    adapted = {name: 1.2 * leaves[name] for name in matching(tuple(leaves), 'decoder')}
    save_adapter(directory, tiny_generator, adapted, fingerprint(tiny_generator), {'steps': 1, 'finished': True})
    config = {'generator': str(tiny_files / 'generator'), 'camera': {'radius': 2.8, 'pivot': [0.0, 0.0, 0.1]}}
    (directory / 'config.json').write_text(json.dumps({**config, 'reference': {'image': 'reference.png'}}))
    return directory


@pytest.fixture
def command(workdir: Path, tmp_path: Path) -> Command:
    """Callable: (*flags) -> exit code of the command for that run, which writes into `tmp_path / 'out'`."""
    return lambda *flags: main([f'--workdir={workdir}', f'--output={tmp_path / "out"}', *flags])


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob('*') if path.is_file())


def test_everything_at_once(command: Command, tmp_path: Path, tiny_generator: Generator):
    flags = ['--source', '--seeds=3,1', '--views=2', '--depth', '--batch=2', '--video=turntable', '--frames=2']
    mesh = ['--mesh', '--mesh-resolution=16', '--mesh-level=0.5', '--mesh-crop=0.8', '--mesh-texture=256']
    assert command(*flags, *mesh) == 0
    out = tmp_path / 'out'
    singles = [f'seed000{seed}_view{view}{what}.png' for seed in (1, 3) for view in (0, 1) for what in KINDS]
    each = [*singles, 'seed0001.glb', 'seed0001.ply', 'seed0003.glb', 'seed0003.ply']
    assert files(out) == sorted(
        ['grid_0003-0001.png', 'turntable_0001.mp4', 'turntable_0003.mp4']
        + [f'{name}/{file}' for name in ('adapted', 'source') for file in each]
    )
    with Image.open(out / 'grid_0003-0001.png') as grid:
        assert grid.size == (32, 4 * 16 + 4)
        assert json.loads(grid.text['rows']) == ['source', 'adapted']
        with Image.open(out / 'adapted/seed0003_view1.png') as single:
            np.testing.assert_array_equal(np.asarray(grid)[16:32, 16:], single)
    described = read_description(out / 'source/seed0001_view0.png')
    assert (described.seed, described.yaw, described.subject) == (1, pytest.approx(-0.4), 'source')
    assert described.generator == fingerprint(tiny_generator)
    assert np.linalg.norm(np.reshape(described.camera[:16], (4, 4))[:3, 3]) == pytest.approx(2.8)  # the run's
    assert trimesh.load(out / 'adapted/seed0003.ply').is_watertight


KINDS = ('', '_depth', '_depth_picture')


def test_a_raw_mesh(command: Command, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def mesh(*_: object, raw: bool, **__: object) -> None:
        asked.append(raw)
        raise AdaptationError('that is all')

    monkeypatch.setattr(jobs.meshes, 'mesh', mesh)
    for flags in ([], ['--mesh-raw']):
        assert command('--no-pictures', '--seeds=0', '--mesh=ply', *flags) == 1
    assert asked == [False, True]


def test_a_generator_alone(tiny_files: Path, tmp_path: Path):
    flags = [f'--generator={tiny_files / "generator"}', f'--output={tmp_path}', '--seeds=0', '--views=1']
    assert main(flags) == 0
    assert files(tmp_path) == ['grid_0000-0000.png', 'source/seed0000_view0.png']


def test_strength_moves_the_weights(workdir: Path, tiny_generator: Generator):
    prints = {}
    for strength in (0.0, 0.5, 1.0):
        (subject,) = subjects.load_subjects(workdir, None, strength)
        prints[strength] = fingerprint(subject.generator)
        assert subject.title == ('adapted' if strength == 1.0 else f'adapted, strength {strength:g}')
    assert prints[0.0] == fingerprint(tiny_generator)
    assert len(set(prints.values())) == 3


@pytest.mark.parametrize(
    ('flag', 'says'),
    [
        ('--seeds=5-2', "the range 5-2 ends before it begins: give seeds as '7', '0-15'"),
        ('--seeds=', "'' names no seeds"),
        ('--views=0', 'expected a whole number from 1 to 100'),
        ('--truncation=1.5', 'expected a number from 0 to 1'),
        ('--strength=2', 'expected a number from 0 to 1.5'),
        ('--fps=nan', 'expected a number from 1 to 240'),
        ('--mesh=obj', "'obj' is none of ply, glb"),
        ('--video=spin', "invalid choice: 'spin'"),
        ('--no-pictures', 'nothing is left to make'),
        ('--seed=1', 'unrecognized arguments: --seed=1'),
    ],
)
def test_refused_flags(flag: str, says: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command(flag) == 2
    told = capsys.readouterr().err
    assert told.count('\n') == 1
    assert told.startswith(f'error: {flag.partition("=")[0]}') or flag == '--seed=1'
    assert says in told
    assert not (tmp_path / 'out').exists()


def test_refused_places(workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / 'file').write_text('')
    assert main([f'--workdir={workdir}', f'--output={tmp_path / "file" / "below"}']) == 2
    assert f'--output: {tmp_path / "file"} is a file' in capsys.readouterr().err
    assert main([f'--workdir={tmp_path / "none"}']) == 2
    assert f'there is no directory {tmp_path / "none"}' in capsys.readouterr().err
    assert main(['--strength=1']) == 2
    assert '--strength: only an adapted generator has one' in capsys.readouterr().err


@pytest.mark.parametrize('flag', ['--depth', '--views=3'])
def test_flags_of_pictures_without_pictures(flag: str, command: Command, capsys: pytest.CaptureFixture[str]):
    assert command('--no-pictures', '--video=turntable', flag) == 2
    told = capsys.readouterr().err
    assert told == f'error: {flag.partition("=")[0]}: it is of pictures: leave out --no-pictures\n'


@pytest.mark.parametrize('flag', ['resolution=64', 'level=25', 'crop=0.88', 'texture=1024', 'raw'])
def test_flags_of_meshes_without_meshes(flag: str, command: Command, capsys: pytest.CaptureFixture[str]):
    assert command(f'--mesh-{flag}') == 2
    told = capsys.readouterr().err
    assert told == f'error: --mesh-{flag.partition("=")[0]}: it is of meshes: give --mesh as well\n'


@pytest.mark.parametrize('flag', ['--format=gif', '--frames=3', '--fps=12'])
def test_flags_of_films_without_films(flag: str, command: Command, capsys: pytest.CaptureFixture[str]):
    assert command(flag) == 2
    told = capsys.readouterr().err
    assert told == f'error: {flag.partition("=")[0]}: it is of films: give --video as well\n'


@pytest.mark.parametrize('flag', ['--yaw=0.2', '--pitch=0'])
def test_poses_of_meshes_alone(flag: str, command: Command, capsys: pytest.CaptureFixture[str]):
    assert command('--no-pictures', '--mesh', flag) == 2
    assert f'{flag.partition("=")[0]}: meshes have none: ask for --video' in capsys.readouterr().err
    assert parse(['--no-pictures', '--video=turntable', '--yaw=0.2']).yaw == 0.2


def test_a_texture_of_a_mesh_that_has_none(command: Command, capsys: pytest.CaptureFixture[str]):
    assert command('--mesh=ply', '--mesh-texture=512') == 2
    assert '--mesh-texture: a .ply has vertex colours: ask for --mesh=glb' in capsys.readouterr().err
    assert parse(['--mesh=ply', '--mesh-texture=0']).mesh_texture == 0
    assert parse(['--mesh', '--mesh-texture=512']).mesh_texture == 512


def test_flags_that_are_not_given_have_defaults():
    options = vars(parse(['--no-pictures', '--mesh']))
    expected = {'views': defaults.VIEWS, 'depth': False, 'mesh_resolution': None, 'mesh_level': defaults.LEVEL}
    expected |= {'format': defaults.MP4, 'frames': None, 'fps': defaults.FPS, 'yaw': defaults.YAW, 'pitch': 0.0}
    expected |= {'mesh_crop': defaults.CROP, 'mesh_texture': defaults.TEXTURE, 'mesh_raw': False}
    assert {name: options[name] for name in expected} == expected
    assert jobs.Options(**options).mesh == defaults.MESH_FORMATS


def test_no_adapter_yet(workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'config.json').write_text((workdir / 'config.json').read_text())
    assert main([f'--workdir={tmp_path / "run"}']) == 1
    assert f'{tmp_path / "run"} holds no adapter yet' in capsys.readouterr().err
    assert files(tmp_path) == ['run/config.json']


def test_a_workdir_of_another_generator(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command('--generator=miniature') == 1
    assert 'was adapted from another generator' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_missing_codec(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', str(tmp_path / 'none'))
    assert command('--video=turntable') == 1
    assert '--format=gif' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_an_empty_mesh(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command('--no-pictures', '--seeds=4', '--mesh', '--mesh-resolution=16', '--mesh-level=100000') == 1
    assert 'error: seed 4: nothing in the crop is denser than 100000' in capsys.readouterr().err
    assert files(tmp_path) == []


def fail_after(monkeypatch: pytest.MonkeyPatch, count: int, action: Callable[[], None]) -> None:
    """Does something when so many pictures are saved."""
    saved = []

    def save(*arguments: object) -> None:
        if len(saved) == count:
            action()
        save_png(*arguments)
        saved.append(arguments)

    monkeypatch.setattr(jobs, 'save_png', save)


def test_ctrl_c_leaves_finished_files(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    fail_after(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert command('--seeds=0-3', '--views=1') == 130
    assert 'Stopped: the files that were finished are whole' in capsys.readouterr().err
    assert files(tmp_path) == ['out/adapted/seed0000_view0.png', 'out/adapted/seed0001_view0.png']


def test_a_full_disk(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, 'No space left on device', 'out/picture.png')

    fail_after(monkeypatch, 1, full)
    assert command('--seeds=0-3', '--views=1') == 1
    assert 'error: out/picture.png: No space left on device' in capsys.readouterr().err
    assert files(tmp_path) == ['out/adapted/seed0000_view0.png']
