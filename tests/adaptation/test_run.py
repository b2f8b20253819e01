"""Whole runs of the command on tiny networks: what they write, how they stop and resume, what they refuse."""

import errno
import io
import json
import os
import pprint
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from PIL import Image

import eg3d_jax
from adaptation import constants, load_adapted, train
from adaptation.checkpoints import Checkpoints
from adaptation.config import AdaptationConfig, PhaseConfig
from adaptation.errors import AdaptationError, ConfigError
from adaptation.leaves import matching, named_leaves
from adaptation.logs import FIRST_STEP_TIME, STEP_TIME, RunLog, TrainingProgress
from adaptation.main import main
from adaptation.phases import Phase
from adaptation.progress import ProgressBar
from adaptation.samples import Generate
from adaptation.step import Constants, Metrics, Sampling, Step, TrainState, init_state
from adaptation.workdir import GENERATOR_SETTINGS, Workdir
from eg3d_jax.interrupts import StopRequest

Command = Callable[..., int]


@pytest.fixture
def config_file(tiny_values: dict[str, Any], tmp_path: Path) -> Path:
    file = tmp_path / 'tiny.py'
    start = 'from adaptation.config import default_config\n\ndef get_config():\n    config = default_config()\n'
    file.write_text(f'{start}    config.update({pprint.pformat(tiny_values)})\n    return config\n')
    return file


@pytest.fixture
def command_line(config_file: Path) -> list[str]:
    """The command as a process of its own, to which a working directory is added."""
    return [sys.executable, '-m', 'adaptation.main', f'--config={config_file}']


@pytest.fixture
def command(config_file: Path) -> Command:
    """Callable: (workdir, *flags) -> exit code of the command."""

    def call(workdir: Path, *flags: str) -> int:
        return main([f'--config={config_file}', f'--workdir={workdir}', *flags])

    return call


@pytest.fixture(scope='module')
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of an uninterrupted run, which the first test that asks for it makes."""
    return tmp_path_factory.mktemp('finished') / 'run'


@pytest.fixture
def run(finished: Path, command: Command) -> Path:
    if not (finished / 'adapter.safetensors').exists():
        assert command(finished, '--config.intervals.checkpoint=1') == 0
    return finished


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """The logged lines without the time, which differs from run to run."""
    return [
        {name: value for name, value in line.items() if name not in (STEP_TIME, FIRST_STEP_TIME)}
        for line in logged(workdir)
    ]


def logged(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def interrupt(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], None]) -> None:
    """Does something as soon as this step of a run is done."""
    stepped, count = TrainingProgress.stepped, [0]

    def stepped_then(self: TrainingProgress, values: dict[str, float]) -> None:
        stepped(self, values)
        count[0] += 1
        if count[0] == step:
            action()

    monkeypatch.setattr(TrainingProgress, 'stepped', stepped_then)


def restored(workdir: Path, step: int, source: eg3d_jax.TriPlaneGenerator) -> TrainState:
    """A checkpoint of the second phase, or (4) of the end."""
    leaves = named_leaves(source, nnx.Param)
    with Checkpoints(workdir / 'checkpoints') as checkpoints:
        trained = [matching(tuple(leaves), stage) for stage in ('decoder', 'superresolution')]
        changed = {name: leaves[name] for names in trained for name in names}
        settings = PhaseConfig(steps=2, learning_rate=0.02, trained=('superresolution',))
        phase = None if step == 4 else Phase('phase2', settings, 2, trained[1], tuple(changed))
        return checkpoints.restore(step, init_state(step, changed, phase), jax.random.key(0))[0]


class TestFinished:
    def test_files(self, run: Path):
        names = {path.name for path in run.iterdir()}
        assert names == {
            'adapter.json',
            'adapter.safetensors',
            'checkpoints',
            'config.json',
            'inputs.json',
            'metrics.jsonl',
            'samples',
            'tensorboard',
        }
        assert {path.name for path in (run / 'checkpoints').iterdir()} == {'3', '4'}
        assert [path.stat().st_size > 0 for path in (run / 'tensorboard').iterdir()] == [True]
        assert json.loads((run / 'adapter.json').read_text())['finished'] is True

    def test_config_is_the_resolved_one(self, run: Path, tiny_values: dict[str, Any]):
        stored = json.loads((run / 'config.json').read_text())
        assert stored['batch_size'] == tiny_values['batch_size']
        assert stored['truncation_psi'] == 1.0  # a default
        assert stored['intervals']['checkpoint'] == 1  # from the command line

    def test_metrics(self, run: Path):
        lines = metrics(run)
        assert [(line['step'], line['phase']) for line in lines] == [
            (1, 'phase1'),
            (2, 'phase1'),
            (3, 'phase2'),
            (4, 'phase2'),
        ]
        common = {'step', 'phase', 'loss', 'dir', 'dis', 'istr', 'gradient_norm', 'parameter_norm'}
        assert [line.keys() for line in lines] == [common | {'fstr'}] * 2 + [common] * 2
        assert [lines[0][name] for name in ('istr', 'fstr')] == pytest.approx([0, 0], abs=1e-2)
        for line in lines:
            weights = {'dir': 1.0, 'dis': 2.0, 'istr': 0.5, 'fstr': 3.0}
            assert line['loss'] == pytest.approx(sum(weights[name] * line.get(name, 0) for name in weights), rel=1e-5)

    @pytest.mark.parametrize(
        ('ours', 'least'), [('fine', 0.01), ('crisp', 0.01), ('palette', 0.01), ('edges', 0.0), ('pair', 0.01)]
    )
    def test_our_losses_are_logged_and_count_where_they_are_asked_for(
        self, ours: str, least: float, command: Command, tmp_path: Path
    ):
        asked = f'--config.phases.phase2.weights.{ours}=4.0'
        assert command(tmp_path / 'run', '--config.phases.phase1.steps=0', asked) == 0
        for line in metrics(tmp_path / 'run'):
            assert line[ours] >= least  # the reference is noise, the images are smooth, and hardly moved
            weights = {'dir': 1.0, 'dis': 2.0, 'istr': 0.5, ours: 4.0}
            assert line['loss'] == pytest.approx(sum(weights[name] * line[name] for name in weights), rel=1e-5)

    def test_the_time_of_a_step_that_is_compiled_has_a_name_of_its_own(self, run: Path):
        times = [{STEP_TIME, FIRST_STEP_TIME} & line.keys() for line in logged(run)]
        assert times == [{FIRST_STEP_TIME}, {STEP_TIME}, {FIRST_STEP_TIME}, {STEP_TIME}]

    def test_pictures_at_start_and_end(self, run: Path):
        paths = sorted((run / 'samples').iterdir())
        assert [path.name for path in paths] == ['000000.png', '000004.png']
        start, end = (np.asarray(Image.open(path)) for path in paths)
        side = 16  # the tiny generator's images; two rows of them
        heads = start[:, -3 * side :]
        np.testing.assert_array_equal(heads[:side], heads[-side:])  # the adapted row is still the source's
        np.testing.assert_array_equal(start[:side], end[:side])
        assert (start[-side:] != end[-side:]).any()

    def test_what_is_frozen_stays_bit_for_bit(self, run: Path, tiny_generator: eg3d_jax.TriPlaneGenerator):
        source = named_leaves(tiny_generator)
        adapted = named_leaves(load_adapted(tiny_generator, run))
        changed = {name for name in source if not np.array_equal(source[name], adapted[name])}
        trained = {*matching(tuple(source), 'decoder'), *matching(tuple(source), 'superresolution')}
        unused = {name for name in trained if 'noise' in name}  # G2's noise is off
        assert changed == trained - unused

    def test_the_second_phase_keeps_the_adapted_decoder(self, run: Path, tiny_generator: eg3d_jax.TriPlaneGenerator):
        source = named_leaves(tiny_generator)
        third, fourth = (restored(run, step, tiny_generator).adapted for step in (3, 4))
        for name in matching(tuple(source), 'decoder'):
            np.testing.assert_array_equal(third[name], fourth[name])
            assert (third[name] != source[name]).any()

    def test_says_so_when_called_again(self, run: Path, command: Command, capsys: pytest.CaptureFixture[str]):
        before = (run / 'metrics.jsonl').read_bytes()
        assert command(run, '--config.intervals.checkpoint=1') == 0
        assert 'This run is finished: all 4 steps are done.' in capsys.readouterr().out
        assert (run / 'metrics.jsonl').read_bytes() == before


def test_a_lost_adapter_is_made_again_from_the_checkpoint(run: Path, command: Command, tmp_path: Path):
    copy = shutil.copytree(run, tmp_path / 'copy')
    (copy / 'adapter.safetensors').unlink()
    assert command(copy) == 0
    assert (copy / 'adapter.safetensors').read_bytes() == (run / 'adapter.safetensors').read_bytes()


def test_a_phase_that_trains_nothing_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    silent = 'superresolution.block1.conv1.noise_strength'  # G2's noise is off
    assert command(tmp_path / 'run', f'--config.phases.phase2.trained={silent}') == 2
    assert f'error: config.phases.phase2: its losses have no gradient in {silent}' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_a_phase_without_a_gradient_is_refused_in_its_first_step(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    flags = ('--config.phases.phase1.trained=backbone.mapping', '--config.truncation_psi=0.0')  # all w are the mean
    assert command(tmp_path / 'run', *flags) == 2
    error = capsys.readouterr().err
    assert 'error: config.phases.phase1: its losses have no gradient in backbone.mapping' in error
    assert not list((tmp_path / 'run' / 'checkpoints').iterdir())


def test_a_stopped_run_resumes_to_the_same_numbers(
    run: Path,
    command: Command,
    tiny_generator: eg3d_jax.TriPlaneGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Stopped by Ctrl-C in the first phase, killed in the second one after its checkpoint, then finished."""
    workdir = tmp_path / 'stopped'
    with monkeypatch.context() as patch:
        interrupt(patch, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert command(workdir) == 130
    error = capsys.readouterr().err
    assert 'Stopped after step 1 of 4' in error
    assert f'python -m adaptation.main --config={tmp_path / "tiny.py"} --workdir={workdir}' in error
    source, adapted = named_leaves(tiny_generator), named_leaves(load_adapted(tiny_generator, workdir))
    changed = {name for name in source if not np.array_equal(source[name], adapted[name])}
    assert changed == set(matching(tuple(source), 'decoder'))

    def killed() -> None:
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        interrupt(patch, 3, killed)
        command(workdir, '--config.intervals.checkpoint=3', '--config.intervals.samples=2')
    with (workdir / 'metrics.jsonl').open('a') as file:
        file.write('{"step": 4, "pha')  # cut short
    assert command(workdir) == 0
    assert 'resumed after step 3 of 4' in capsys.readouterr().out

    assert metrics(workdir) == metrics(run)
    for name in ('adapter.safetensors', 'samples/000000.png', 'samples/000004.png'):
        assert (workdir / name).read_bytes() == (run / name).read_bytes(), name


def test_ctrl_c_is_heard_while_the_source_domain_is_measured(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    drawn = []
    real = constants._source_images

    def source_images(*arguments: Any) -> Iterator[Any]:
        for batch in real(*arguments):
            drawn.append(batch)
            signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr(constants, '_source_images', source_images)
    assert command(tmp_path / 'run') == 130
    assert len(drawn) == 1, 'no batch after the first'
    assert 'Stopped before the next step' in capsys.readouterr().err


def test_ctrl_c_is_heard_while_samples_are_drawn(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """No batch is drawn after the signal, and the picture that is missing is drawn when the run goes on."""
    workdir, flags = tmp_path / 'run', ('--config.intervals.samples=2', '--config.sample_heads=2')
    real, due, drawn = train.make_generate, [True], []

    def make_generate(truncation_psi: float) -> Generate:
        def generate(*arguments: Any) -> jax.Array:
            if due.pop() if due else False:
                signal.raise_signal(signal.SIGINT)
            drawn.append(arguments)
            return real(truncation_psi)(*arguments)

        return generate

    with monkeypatch.context() as patch:
        patch.setattr(train, 'make_generate', make_generate)
        assert command(workdir, *flags) == 130
        assert len(drawn) == 1
        assert 'Stopped before the next step' in capsys.readouterr().err
        assert not (workdir / 'samples').exists()

        interrupt(patch, 2, lambda: due.append(True))
        drawn.clear()
        assert command(workdir, *flags) == 130
        assert len(drawn) == 3 + 3 + 2 + 1, 'both rows, the source domain, and a batch of the adapted row'
        assert 'Stopped after step 2 of 4' in capsys.readouterr().err
    assert command(workdir, *flags) == 0
    assert sorted(path.name for path in (workdir / 'samples').iterdir()) == ['000000.png', '000002.png', '000004.png']


def test_a_second_process_is_kept_out(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    workdir = Workdir(tmp_path / 'run')
    with workdir.lock():
        code = 'import sys, pathlib, adaptation.workdir as w\nwith w.Workdir(pathlib.Path(sys.argv[1])).lock(): pass'
        other = subprocess.run([sys.executable, '-c', code, workdir.root], check=False, capture_output=True, text=True)
        assert other.returncode == 1
        assert command(workdir.root) == 1
    message = f'another process is running in {workdir.root}: wait until it ends, or give another --workdir.'
    assert f'AdaptationError: {message}' in other.stderr
    assert capsys.readouterr().err == f'error: {message}\n'
    assert not list(workdir.root.iterdir())
    with workdir.lock():
        pass


def test_a_drive_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, 'Operation not supported')

    monkeypatch.setattr('adaptation.workdir.fcntl.flock', flock)
    with Workdir(tmp_path).lock():
        pass
    monkeypatch.setattr('adaptation.workdir.fcntl', None)
    with Workdir(tmp_path).lock():
        pass


def test_each_phase_says_how_many_parameters_it_trains(
    command: Command,
    tiny_generator: eg3d_jax.TriPlaneGenerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    leaves = named_leaves(tiny_generator, nnx.Param)
    interrupt(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert command(tmp_path / 'run') == 130
    told = capsys.readouterr().out
    for name, stage in (('phase1', 'decoder'), ('phase2', 'superresolution')):
        count = sum(leaves[leaf].size for leaf in matching(tuple(leaves), stage))
        assert f'{name}     2 steps train {count:,} parameters ({stage})' in told


@pytest.mark.parametrize(
    ('flag', 'problem'),
    [
        ('--config.batch_size=3', 'config.batch_size: 2 when the run began, 3 now'),
        ('--config.phases.phase2.weights.dis=1', 'config.phases.phase2.weights.dis: 2.0 when the run began, 1.0 now'),
        ('--config.reference.crop=(0, 0, 16, 16)', 'config.reference.image: what it names has changed'),
    ],
)
def test_a_workdir_of_another_run_is_refused(
    flag: str, problem: str, run: Path, command: Command, capsys: pytest.CaptureFixture[str]
):
    assert command(run, flag) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert 'give another --workdir' in error


def test_moved_inputs_are_the_same_inputs(run: Path, command: Command, tiny_files: Path, tmp_path: Path):
    moved = shutil.copytree(tiny_files / 'generator', tmp_path / 'moved')
    intervals = ('--config.intervals.samples=1', '--config.intervals.checkpoint=1')  # `run`'s, which others ask for
    assert command(run, f'--config.generator={moved}', *intervals) == 0


def test_a_generator_that_draws_otherwise_now_is_refused(
    run: Path, command: Command, tiny_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    moved = shutil.copytree(tiny_files / 'generator', tmp_path / 'moved')
    settings = json.loads((moved / 'config.json').read_text())
    settings['rendering']['depth_resolution'] += 1
    (moved / 'config.json').write_text(json.dumps(settings))
    assert command(run, f'--config.generator={moved}') == 2
    problem = 'error: config.generator: the config.json of what it names has changed since the run began'
    assert capsys.readouterr().err.startswith(problem)


def test_a_run_from_before_settings_were_compared_goes_on(tiny_config: Callable[..., AdaptationConfig], tmp_path: Path):
    workdir, config = Workdir(tmp_path), tiny_config()
    workdir.claim(config, {'generator': 'weights'})
    workdir.claim(config, {'generator': 'weights', GENERATOR_SETTINGS: 'settings'})
    with pytest.raises(ConfigError, match=r'config\.generator: the config\.json of what it names has changed'):
        workdir.claim(config, {'generator': 'weights', GENERATOR_SETTINGS: 'others'})


@pytest.mark.parametrize(
    ('flag', 'field'),
    [
        ('--config.generator=nowhere', 'config.generator'),
        ('--config.clip=nowhere,nowhere', 'config.clip'),
        ('--config.clip_layers=(0, 1)', 'config.clip_layers'),
        ('--config.reference.image=nowhere.png', 'config.reference.image'),
        ('--config.reference.image=FILES/generator/config.json', 'config.reference'),
        ('--config.reference.crop=(0, 0, 50, 50)', 'config.reference'),
        ('--config.reference.crop=(0, 0, 20, 15)', 'config.reference'),
        ('--config.phases.phase1.trained=decoder.nett', 'config.phases.phase1.trained'),
        ('--config.camera.radius=10.0', 'config.camera.radius'),
        ('--config.camera.pivot=(0.0, 0.0, 2.7)', 'config.camera.pivot'),
    ],
)
def test_inputs_that_cannot_be_used_are_named(
    flag: str, field: str, command: Command, tiny_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command(tmp_path / 'run', flag.replace('FILES', str(tiny_files))) == 2
    assert f'error: {field}: ' in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_nan_stops_the_run_and_the_last_checkpoint_remains(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = train.make_step

    def make_step(phase: Phase, sampling: Sampling) -> Step:
        step = real(phase, sampling)

        def broken(state: TrainState, constants: Constants, key: jax.Array) -> tuple[TrainState, Metrics]:
            state, values = step(state, constants, key)
            return state, {**values, **({'dis': jnp.nan, 'loss': jnp.nan} if int(state.step) == 2 else {})}

        return broken

    monkeypatch.setattr(train, 'make_step', make_step)
    assert command(tmp_path / 'run', '--config.intervals.checkpoint=1') == 1
    error = capsys.readouterr().err
    assert "In step 2 (phase1) the loss 'dis' is nan; the checkpoint of step 1 remains." in error
    assert [path.name for path in (tmp_path / 'run' / 'checkpoints').iterdir()] == ['1']
    assert json.loads((tmp_path / 'run' / 'adapter.json').read_text())['steps'] == 1


@pytest.mark.parametrize(
    ('step', 'advice'),
    [
        (1, 'To go on, check the checkpoints and the reference picture, or lower config.phases.phase1.learning_rate'),
        (2, 'To go on, lower config.phases.phase1.learning_rate'),
    ],
)
def test_what_to_do_about_nan(step: int, advice: str, tmp_path: Path):
    settings = PhaseConfig(steps=2, learning_rate=0.02, trained=('decoder',))
    phase = Phase('phase1', settings, 0, ('decoder',), ('decoder',))
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(AdaptationError) as raised:
        train._refuse_nan({'dir': float('nan')}, phase, step, checkpoints)
    assert advice in str(raised.value)


def test_the_rate_leaves_out_the_step_that_is_compiled(capsys: pytest.CaptureFixture[str]):
    with TrainingProgress(0, 4, shown=True) as progress:
        counted = []
        for name in (FIRST_STEP_TIME, STEP_TIME):
            progress.stepped({'loss': 1.0, name: 1.0})
            counted.append((progress._bar.n, progress._bar.n - progress._bar.initial))
    assert counted == [(1, 0), (2, 1)]


def test_a_checkpoint_that_cannot_be_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(ocp.CheckpointManager, 'save', full)
    assert command(tmp_path / 'run', '--config.intervals.checkpoint=1') == 1
    error = capsys.readouterr().err
    assert 'the checkpoint of step 1 cannot be written' in error
    assert 'No space left on device' in error


def test_a_damaged_checkpoint_is_named(run: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    workdir = shutil.copytree(run, tmp_path / 'run')
    shutil.rmtree(workdir / 'checkpoints' / '4')
    for file in (workdir / 'checkpoints' / '3' / 'default').rglob('*'):
        if file.is_file():
            file.write_bytes(b'')
    assert command(workdir) == 1
    assert f'{workdir / "checkpoints" / "3"} is damaged' in capsys.readouterr().err


def test_a_workdir_that_cannot_be_made(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / 'file').touch()
    assert command(tmp_path / 'file' / 'run') == 1
    assert f'error: {tmp_path / "file" / "run"}: Not a directory' in capsys.readouterr().err


def test_a_directory_of_something_else_is_left_alone(
    command: Command, tiny_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    (foreign / 'config.json').write_text('mine')
    (foreign / 'weights.safetensors').write_text('mine too')
    assert command(foreign) == 2
    assert "holds 'config.json' but no inputs.json, so it is no run" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in foreign.iterdir()} == {
        'config.json': 'mine',
        'weights.safetensors': 'mine too',
    }


@pytest.mark.parametrize('name', ['config.json', 'inputs.json'])
@pytest.mark.parametrize('content', [b'[1, 2]', b'{', b'\xff\xfe\x00'])
def test_a_damaged_file_of_the_run_is_named(
    name: str, content: bytes, tmp_path: Path, tiny_config: Callable[..., AdaptationConfig]
):
    workdir = Workdir(tmp_path)
    workdir.claim(tiny_config(), {})
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf'{name} is damaged.*: give another --workdir\.'):
        workdir.claim(tiny_config(), {})
    assert (tmp_path / name).read_bytes() == content


class TestARunThatBeganBeforeAFieldExisted:
    @pytest.fixture
    def workdir(self, tmp_path: Path, tiny_config: Callable[..., AdaptationConfig]) -> Workdir:
        workdir = Workdir(tmp_path)
        workdir.claim(tiny_config(), {})
        stored = json.loads(workdir.config.read_text())
        del stored['encoder_crop']
        for phase in stored['phases'].values():
            del phase['weights']['palette']
        workdir.config.write_text(json.dumps(stored))
        return workdir

    def test_had_what_is_its_default_now(self, workdir: Workdir, tiny_config: Callable[..., AdaptationConfig]):
        workdir.claim(tiny_config(), {})
        assert json.loads(workdir.config.read_text())['phases']['phase1']['weights']['palette'] == 0

    def test_is_another_one_where_the_field_is_asked_for(
        self, workdir: Workdir, tiny_config: Callable[..., AdaptationConfig]
    ):
        with pytest.raises(ConfigError, match=r'phase2\.weights\.palette: 0\.0 when the run began, 2\.0 now'):
            workdir.claim(tiny_config(phases__phase2__weights__palette=2.0), {})

    def test_is_another_one_where_a_field_is_gone(self, workdir: Workdir, tiny_config: Callable[..., AdaptationConfig]):
        stored = json.loads(workdir.config.read_text())
        workdir.config.write_text(json.dumps({**stored, 'hatching': 3}))
        with pytest.raises(ConfigError, match=r'config\.hatching: 3 when the run began, None now'):
            workdir.claim(tiny_config(), {})


def test_metrics_that_are_no_text_are_named(tmp_path: Path):
    workdir = Workdir(tmp_path)
    workdir.metrics.write_bytes(b'\x00\xff\xfe')
    with pytest.raises(AdaptationError, match=r'metrics\.jsonl is damaged .*: move it away to resume'):
        RunLog(workdir, 3)
    assert workdir.metrics.read_bytes() == b'\x00\xff\xfe'


def test_a_workdir_with_a_nul_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert command(Path(f'{tmp_path}/a\0b')) == 2
    assert 'error: --workdir: ' in capsys.readouterr().err


def test_a_second_signal_ends_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        _interrupt_twice()
    finally:
        signal.signal(signal.SIGINT, before)


class Unread(io.StringIO):
    """Standard error whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_is_gone_costs_no_work(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C ends the `tee` of a pipe as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'stderr', Unread())
        with StopRequest() as stop, ProgressBar(3, 'step') as progress:
            signal.raise_signal(signal.SIGINT)
            progress.advance(3)
    assert stop.requested
    signal.signal(signal.SIGINT, before)


def _interrupt_twice() -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)  # to this thread: `os.kill` may reach it later
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(run: Path, command_line: list[str], tmp_path: Path):
    """Ctrl-C in the first phase, then the same command again."""
    parts = tmp_path / 'parts'
    with subprocess.Popen([*command_line, f'--workdir={parts}'], stderr=subprocess.PIPE) as first:
        while first.poll() is None and not ((parts / 'metrics.jsonl').exists() and logged(parts)):
            time.sleep(0.01)
        first.send_signal(signal.SIGINT)
        assert b'The same command resumes' in first.communicate()[1]
    assert first.returncode == 130
    subprocess.run([*command_line, f'--workdir={parts}'], check=True, capture_output=True)
    assert (parts / 'adapter.safetensors').read_bytes() == (run / 'adapter.safetensors').read_bytes()
    assert metrics(parts) == metrics(run)


def test_settings_are_read_without_waiting_for_jax():
    code = "import sys, adaptation.main; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
