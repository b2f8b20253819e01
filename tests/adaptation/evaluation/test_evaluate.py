"""Whole evaluations by the command, on tiny networks: what they write, how they stop and resume, what they refuse."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import eg3d_jax
from adaptation import evaluate as command
from adaptation import load_adapted
from adaptation.adapter import save_adapter
from adaptation.config import read_config
from adaptation.evaluation import runner
from adaptation.evaluation.batch_size import fit_batch, free_memory
from adaptation.evaluation.features import as_stored
from adaptation.evaluation.heads import HeadSampling, draw
from adaptation.evaluation.progress import SampleProgress
from adaptation.evaluation.targets import list_folder
from adaptation.inputs import load_inputs
from adaptation.leaves import fingerprint, named_leaves
from eg3d_jax.files import write_json

SAMPLES = 50
MakeWorkdir = Callable[[Path, float], Path]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StandIn:
    """A network of the interface: a matrix on the means of sixteen parts of a picture."""

    matrix: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        n, side = images.shape[:2]
        parts = images.reshape(n, 4, side // 4, 4, side // 4, 3).mean(axis=(2, 4)).reshape(n, -1)
        return parts @ self.matrix


def stand_in(name: str, directory: Path | None) -> StandIn | None:
    if directory is None:
        return None
    seed, dimension = {'inception': (0, 12), 'arcface': (1, 6)}[name]
    return StandIn(jnp.asarray(np.random.default_rng(seed).standard_normal((48, dimension)), jnp.float32))


@pytest.fixture
def make_workdir(tiny_values: dict[str, Any], tiny_generator: eg3d_jax.TriPlaneGenerator) -> MakeWorkdir:
    """Callable: (folder, size of a random change of Tri-D and G2) -> a finished working directory."""

    def make(root: Path, change: float) -> Path:
        config = read_config(tiny_values)
        hashes = load_inputs(config).hashes
        rng = np.random.default_rng(3)
        adapted = {
            name: leaf + change * rng.standard_normal(leaf.shape).astype(np.float32)
            for name, leaf in named_leaves(tiny_generator).items()
            if not name.startswith('backbone')
        }
        write_json(root / 'config.json', config.to_dict())
        write_json(root / 'inputs.json', hashes)
        save_adapter(root, tiny_generator, adapted, hashes['generator'], {'steps': 4, 'finished': True})
        return root

    return make


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(4)
    for index in range(SAMPLES):
        low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(low).resize((20, 20)).save(root / f'{index}.png')
    return root


@pytest.fixture(scope='module')
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tests of this module keep what they share."""
    return tmp_path_factory.mktemp('shared')


@pytest.fixture
def adapted(make_workdir: MakeWorkdir, shared: Path) -> Path:
    root = shared / 'adapted'
    return root if root.exists() else make_workdir(root, 0.1)


@pytest.fixture
def flags(adapted: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of an evaluation with everything, whose networks are stand-ins."""
    monkeypatch.setattr(runner, 'load_network', stand_in)
    return [
        f'--workdir={adapted}',
        f'--target={pictures}',
        f'--samples={SAMPLES}',
        '--seed=5',
        '--batch=16',
        '--inception=inception',
        '--arcface=arcface',
    ]


@pytest.fixture
def full(flags: list[str], adapted: Path) -> dict[str, Any]:
    """The result of that evaluation."""
    result = adapted / 'evaluation' / 'evaluation.json'
    if not result.exists():
        assert command.main(flags) == 0
    return json.loads(result.read_text())


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {metric['name']: metric for metric in result['metrics']}


class TestResult:
    def test_head(self, full: dict[str, Any], flags: list[str], adapted: Path):
        assert (full['format'], full['samples'], full['seed']) == (1, SAMPLES, 5)
        assert full['command'] == f'python -m adaptation.evaluate {" ".join(flags)}'
        assert full['seconds'] > 0
        assert full['machine'].startswith('CPU')
        assert [path.name for path in (adapted / 'evaluation').iterdir()] == ['evaluation.json']

    def test_metrics(self, full: dict[str, Any]):
        metrics = by_name(full)
        assert len(metrics) == len(full['metrics'])
        sides = ('', '_source')
        # The tiny generator's fog may have no cell that counts as occupied, and then there is no such metric.
        assert metrics.keys() | {'occupancy_iou'} == {
            *(f'{name}{side}' for name in ('fid_inception', 'kid_inception') for side in sides),
            *(f'{name}_patch{patch}{side}' for name in ('clip_fid', 'cmmd') for patch in (4, 8) for side in sides),
            'kid_inception_deviation',
            *('identity_arcface', 'identity_clip', 'depth_difference', 'occupancy_drift', 'occupancy_iou'),
            *(f'multiview_{what}_{side}' for what in ('error', 'compared') for side in ('adapted', 'source')),
            *(f'yaw_identity_{what}_{side}' for what in ('arcface', 'clip') for side in ('adapted', 'source')),
            *('diversity_clip', 'reference_copies', 'reference_copies_target'),
            *(f'reference_distance_clip{side}' for side in sides),
        }
        for metric in full['metrics']:
            assert metric.keys() == {'name', 'title', 'value', 'interval', 'better', 'samples', 'about'}
            assert np.isfinite(metric['value'])
            assert metric['better'] in ('lower', 'higher', None)
            masked = metric['name'].startswith(('depth', 'multiview_error', 'occupancy_iou'))
            assert 0 < metric['samples'] <= SAMPLES if masked else metric['samples'] == SAMPLES
            assert metric['about'].endswith('.') or metric['about'].endswith(')')
            if metric['interval'] is not None:
                low, high = metric['interval']
                assert low <= metric['value'] <= high

    def test_an_adapted_generator_is_not_its_source(self, full: dict[str, Any]):
        values = {name: metric['value'] for name, metric in by_name(full).items()}
        assert values['depth_difference'] > 0
        assert values['occupancy_drift'] > 0
        assert values['identity_clip'] < 0.999
        assert values['fid_inception'] != values['fid_inception_source']

    def test_means_are_taken_of_the_very_pictures(
        self, full: dict[str, Any], adapted: Path, tiny_generator: eg3d_jax.TriPlaneGenerator
    ):
        """Identity by the stand-in and depth difference, computed from the generators' own calls."""
        sampling = HeadSampling(5, 1.0, 'same', tiny_generator.config.camera)
        network = stand_in('arcface', Path())

        @jax.jit
        def made(generator: Any) -> Any:
            drawn = draw(jnp.arange(SAMPLES), sampling, 8)
            output = generator(drawn.z, drawn.camera)  # conditioned on the same
            return output, network(as_stored(output.image))

        (one, face), (other, other_face) = made(tiny_generator), made(load_adapted(tiny_generator, adapted))
        faces = [np.asarray(rows) for rows in (face, other_face)]
        faces = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in faces]
        metrics = by_name(full)
        # 8-bit images of two programs differ by a level here and there.
        assert metrics['identity_arcface']['value'] == pytest.approx(np.sum(faces[0] * faces[1], 1).mean(), abs=1e-3)
        seen = np.minimum(one.weights_sum, other.weights_sum) >= 0.5
        assert 0 < seen.mean() < 1
        gap = np.abs(np.asarray(one.depth) - np.asarray(other.depth))
        per_image = [gap[i][seen[i]].mean() for i in range(SAMPLES) if seen[i].any()]
        assert metrics['depth_difference']['value'] == pytest.approx(np.mean(per_image), rel=1e-3)


def test_stopped_and_resumed_gives_the_same(
    full: dict[str, Any],
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    advance, count = SampleProgress.advance, [0]

    def advance_and_stop(self: SampleProgress, samples: int) -> None:
        advance(self, samples)
        count[0] += 1
        if count[0] in (2, 6):  # in the target pictures, and in the samples
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SampleProgress, 'advance', advance_and_stop)
    here = [*flags, f'--output={tmp_path / "out"}']
    assert command.main(here) == 130
    assert 'Stopped after 0 of 50 samples' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['unfinished.npz']
    assert command.main([*here[:3], '--seed=6', *here[4:]]) == 2
    assert 'holds an unfinished evaluation with another --seed' in capsys.readouterr().err
    assert command.main(here) == 130
    output = capsys.readouterr()
    assert 'Stopped after 32 of 50 samples' in output.err
    assert 'The same command resumes:\n  python -m adaptation.evaluate --workdir=' in output.err
    assert command.main(here) == 0
    assert 'resumed after 32' in capsys.readouterr().out
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['evaluation.json']
    resumed = by_name(json.loads((tmp_path / 'out' / 'evaluation.json').read_text()))
    assert resumed.keys() == by_name(full).keys()
    for name, metric in by_name(full).items():
        # The same programs on the same batches: what differs is the order of nothing.
        assert resumed[name]['value'] == pytest.approx(metric['value'], rel=1e-6, abs=1e-9), name
        if metric['interval'] is None:
            assert resumed[name]['interval'] is None
        else:
            assert resumed[name]['interval'] == pytest.approx(metric['interval'], rel=1e-5, abs=1e-8), name


def test_source_against_itself(
    make_workdir: MakeWorkdir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(runner, 'AROUND_SAMPLES', 9)
    workdir = make_workdir(tmp_path / 'same', 0.0)
    assert command.main([f'--workdir={workdir}', '--samples=20']) == 0  # batches of 8, from the memory
    output = capsys.readouterr().out
    assert 'FID, KID, CLIP-FID and CMMD are left out' in output
    metrics = by_name(json.loads((workdir / 'evaluation' / 'evaluation.json').read_text()))
    assert not any('fid' in name or 'cmmd' in name or 'kid' in name for name in metrics)
    values = {name: metric['value'] for name, metric in metrics.items()}
    assert values['identity_clip'] == pytest.approx(1.0, abs=1e-5)
    assert values['depth_difference'] == pytest.approx(0.0, abs=1e-6)
    assert values['occupancy_drift'] == pytest.approx(0.0, abs=1e-6)
    assert values.get('occupancy_iou', 1.0) == pytest.approx(1.0, abs=1e-6)
    assert values['diversity_clip'] == pytest.approx(1.0, abs=1e-5)
    for name in ('multiview_error', 'multiview_compared', 'yaw_identity_clip'):
        assert values[f'{name}_adapted'] == pytest.approx(values[f'{name}_source'], abs=1e-4)
    assert metrics['identity_clip']['samples'] == 20
    assert metrics['occupancy_drift']['samples'] == 9


class TestRefused:
    """In one sentence, with the exit code, and without an output."""

    def refused(self, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
        assert command.main(list(flags)) == 2
        message = capsys.readouterr().err
        assert message.startswith('error: ')
        assert message.count('\n') == 1
        return message

    def test_flags(self, adapted: Path, capsys: pytest.CaptureFixture[str]):
        workdir = f'--workdir={adapted}'
        assert "unknown argument '--sample=5': did you mean --samples?" in self.refused(capsys, workdir, '--sample=5')
        assert '--workdir' in self.refused(capsys, '--samples=5')
        assert '--samples: invalid int value' in self.refused(capsys, workdir, '--samples=many')
        assert '--samples: 8 are too few' in self.refused(capsys, workdir, '--samples=8')
        assert '--batch: 0 is not positive' in self.refused(capsys, workdir, '--batch=0')
        assert '--seed: -1' in self.refused(capsys, workdir, '--seed=-1')
        assert 'give --target as well' in self.refused(capsys, workdir, '--inception=x')

    def test_no_target(self, adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        message = self.refused(capsys, f'--workdir={adapted}', f'--target={tmp_path / "none"}', '--samples=50')
        assert 'there is no such folder' in message
        message = self.refused(capsys, f'--workdir={adapted}', f'--target={tmp_path}', '--samples=20')
        assert '--samples: 20 are too few for a distance between distributions' in message

    def test_no_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert 'there is no folder' in self.refused(capsys, f'--workdir={tmp_path / "none"}')
        assert 'has no config.json, so it is no run' in self.refused(capsys, f'--workdir={tmp_path}')
        (tmp_path / 'config.json').write_text('{"seed"')
        assert 'config.json is damaged' in self.refused(capsys, f'--workdir={tmp_path}')

    def test_no_adapter(self, adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        copy = shutil.copytree(adapted, tmp_path / 'copy', ignore=shutil.ignore_patterns('evaluation'))
        (copy / 'adapter.safetensors').unlink()
        assert command.main([f'--workdir={copy}']) == 1
        assert f'error: {copy} has no adapter.safetensors yet' in capsys.readouterr().err
        assert not (copy / 'evaluation').exists()

    def test_adapter_of_another_source(self, adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        copy = shutil.copytree(adapted, tmp_path / 'copy', ignore=shutil.ignore_patterns('evaluation'))
        info = json.loads((copy / 'adapter.json').read_text())
        info['source']['hash'] = '0' * 64
        write_json(copy / 'adapter.json', info)
        assert command.main([f'--workdir={copy}']) == 1
        assert 'was adapted from another generator' in capsys.readouterr().err

    def test_inputs_that_changed(self, adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        copy = shutil.copytree(adapted, tmp_path / 'copy', ignore=shutil.ignore_patterns('evaluation'))
        inputs = json.loads((copy / 'inputs.json').read_text())
        write_json(copy / 'inputs.json', {**inputs, 'clip': 'another'})
        assert 'what config.clip names has changed' in self.refused(capsys, f'--workdir={copy}')
        config = json.loads((copy / 'config.json').read_text())
        write_json(copy / 'config.json', {**config, 'reference': {'image': 'gone.png', 'crop': None}})
        assert 'config.reference.image: there is no file gone.png' in self.refused(capsys, f'--workdir={copy}')

    def test_state_that_is_damaged(self, adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        (tmp_path / 'unfinished.npz').write_bytes(b'no archive')
        assert command.main([f'--workdir={adapted}', '--samples=20', f'--output={tmp_path}']) == 1
        assert 'unfinished.npz is damaged' in capsys.readouterr().err


def test_features_that_are_not_finite_stop_the_evaluation(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    broken = StandIn(jnp.full((48, 12), jnp.nan))
    monkeypatch.setattr(runner, 'load_network', lambda name, directory: broken if name == 'inception' else None)
    assert command.main([*flags, f'--output={tmp_path}']) == 1
    (target,) = (flag.removeprefix('--target=') for flag in flags if flag.startswith('--target='))
    first = list_folder(Path(target), 5, skip_unreadable=False).files[0]  # of the flags' seed
    assert f'error: {first}: the features of inception are not finite' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_samples_do_not_depend_on_the_batch():
    sampling = HeadSampling(5, 1.0, 'frontal', eg3d_jax.CameraConfig())
    drawing = jax.jit(lambda numbers: draw(numbers, sampling, 8))
    whole, part = (drawing(jnp.asarray(numbers)) for numbers in ([0, 1, 2, 3], [2, 3, 0, 0]))
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_allclose(one[2:], other[:2], atol=1e-6)
    assert not np.allclose(whole.z[0], whole.z[1])
    assert not np.allclose(whole.camera[0], whole.camera[1])


class TestBatchSize:
    def search(self, batch: int, budget: int, each: int, limit: int = 100) -> tuple[int, list[int]]:
        tried: list[int] = []

        def compile_for(size: int) -> tuple[str, int]:
            tried.append(size)
            if size > limit:
                raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')
            return f'programs for {size}', 10 + each * size

        programs, found = fit_batch(compile_for, batch, budget)
        assert programs == f'programs for {found}'
        return found, tried

    def test_the_first_that_fits(self):
        assert self.search(32, 1000, 10) == (32, [32])

    def test_smaller_where_it_does_not(self):
        found, tried = self.search(32, 200, 10)
        assert found == 19
        assert len(tried) == 2  # compiling is dear

    def test_one_where_nothing_fits(self):
        assert self.search(32, 1, 10)[0] == 1

    def test_what_a_compiler_refuses_is_halved(self):
        assert self.search(32, 1000, 10, limit=10) == (8, [32, 16, 8])

    def test_free_memory_is_some(self):
        assert free_memory() > 2**20


def test_fingerprint_of_the_source_is_the_adapters(adapted: Path, tiny_generator: eg3d_jax.TriPlaneGenerator):
    assert json.loads((adapted / 'adapter.json').read_text())['source']['hash'] == fingerprint(tiny_generator)
