"""The report command: what it writes, what it refuses, and that an earlier report stays."""

import errno
import json
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adaptation.config import read_config
from adaptation.inputs import load_inputs
from adaptation.report import Options, main, parse
from adaptation.workdir import Workdir


@pytest.fixture
def run(tiny_values: dict[str, Any], tmp_path: Path) -> Path:
    """The directory of a run that has drawn its source and was stopped before its first checkpoint."""
    config = read_config(tiny_values)
    workdir = Workdir(tmp_path / 'run')
    workdir.claim(config, load_inputs(config).hashes)
    workdir.metrics.write_text(json.dumps({'step': 1, 'phase': 'phase1', 'loss': 3.0, 'dir': 1.0}) + '\n')
    workdir.sample(0).parent.mkdir()
    Image.new('RGB', (60, 40), 'red').save(workdir.sample(0))
    return workdir.root


def test_a_run_without_an_adapter(run: Path, capsys: pytest.CaptureFixture[str]):
    """What there is: the reference, the sample picture, the loss, the settings, and how to measure."""
    assert main([f'--workdir={run}']) == 0
    assert f'report  {run / "report.html"}' in capsys.readouterr().out
    page = (run / 'report.html').read_text()
    assert 'This run is not finished: there is no adapter yet' in page
    assert 'The last sample picture of the run' in page
    assert page.count('<img') == 2
    for lines in (('evaluate', f'--workdir={run}'), ('report', f'--workdir={run}', '--seed=0', '--heads=12')):
        assert ' \\\n    '.join([f'python -m adaptation.{lines[0]}', *lines[1:]]) in page
    assert {path.name for path in run.iterdir()} == {
        'config.json',
        'inputs.json',
        'metrics.jsonl',
        'samples',
        'report.html',
    }


def test_a_run_that_has_drawn_and_logged_nothing(run: Path):
    shutil.rmtree(run / 'samples')
    (run / 'metrics.jsonl').unlink()
    assert main([f'--workdir={run}', f'--output={run / "new" / "page.html"}']) == 0
    page = (run / 'new' / 'page.html').read_text()
    assert 'no losses are logged' in page
    assert page.count('<img') == 1
    assert '<polyline' not in page


@pytest.mark.parametrize(
    ('arguments', 'problem'),
    [
        ([], 'the following arguments are required: --workdir'),
        (['--workdir=nowhere'], '--workdir: there is no directory nowhere'),
        (['--workdir='], "'' is no path"),
        (['--workdir=a\0b'], 'is no path'),
        (['--workdir=RUN', '--seed=-1'], '--seed: expected a number from 0 to 2147483647, got -1'),
        (['--workdir=RUN', '--seed=x'], "argument --seed: invalid int value: 'x'"),
        (['--workdir=RUN', '--heads=0'], '--heads: expected a number from 1 to 64, got 0'),
        (['--workdir=RUN', '--head=3'], 'unrecognized arguments: --head=3'),
        (['--workdir=RUN', '--output=RUN'], 'is a directory: name a file in it'),
        (['--workdir=RUN', '--evaluation=RUN'], '--evaluation: there is no RUN/evaluation.json'),
        (['--workdir=RUN/samples'], 'holds no config.json, so it is no run'),
    ],
)
def test_arguments_that_are_refused(arguments: list[str], problem: str, run: Path, capsys: pytest.CaptureFixture[str]):
    assert main([argument.replace('RUN', str(run)) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert problem.replace('RUN', str(run)) in error
    assert error.count('\n') == 1
    assert not (run / 'report.html').exists()


def test_help(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        main(['--help'])
    assert stopped.value.code == 0
    assert '--evaluation' in capsys.readouterr().out


def test_options():
    options = parse(['--workdir=runs/a', '--evaluation=b', '--seed=3', '--heads=5'])
    assert options == Options(Path('runs/a'), Path('b'), None, 3, 5)
    assert options.file == Path('runs/a/report.html')


@pytest.mark.parametrize(
    ('name', 'content', 'problem'),
    [
        ('metrics.jsonl', b'\xff\n', 'metrics.jsonl is damaged'),
        ('metrics.jsonl', b'{}\n{}\n', 'metrics.jsonl is damaged: line 1'),
        ('evaluation/evaluation.json', b'{"format": 1', 'evaluation.json is damaged'),
        ('samples/000000.png', b'no picture', '000000.png is damaged'),
        ('adapter.safetensors', b'no weights', 'adapter.json is missing or damaged'),
    ],
)
def test_damaged_files_are_named_and_an_earlier_report_stays(
    name: str, content: bytes, problem: str, run: Path, capsys: pytest.CaptureFixture[str]
):
    (run / 'report.html').write_text('earlier')
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(content)
    assert main([f'--workdir={run}']) == 1
    error = capsys.readouterr().err
    assert problem in error
    assert error.count('\n') == 1
    assert (run / 'report.html').read_text() == 'earlier'


def test_another_reference_than_the_runs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / 'other.png'
    Image.new('RGB', (20, 20), 'red').save(other)
    config = json.loads((run / 'config.json').read_text())
    (run / 'config.json').write_text(json.dumps({**config, 'reference': {'image': str(other)}}))
    assert main([f'--workdir={run}']) == 1
    assert f'{other} is another picture than the one that the run in {run} adapted to' in capsys.readouterr().err
    other.unlink()
    assert main([f'--workdir={run}']) == 2
    assert 'error: config.reference.image: there is no file' in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_drawn(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr('adaptation.inputs.load_inputs', lambda config: pytest.fail('too late'))
    (tmp_path / 'file').touch()
    assert main([f'--workdir={run}', f'--output={tmp_path / "file" / "page.html"}']) == 1
    expected = f'error: cannot write {tmp_path / "file" / "page.html"}: Not a directory: give another --output.\n'
    assert capsys.readouterr().err == expected

    def read_only(**_: Any) -> None:
        raise OSError(errno.EROFS, 'Read-only file system')

    monkeypatch.setattr('tempfile.TemporaryFile', read_only)
    assert main([f'--workdir={run}', f'--output={tmp_path / "new" / "page.html"}']) == 1
    assert 'page.html: Read-only file system' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_a_full_disk_leaves_the_earlier_report(run: Path, capsys: pytest.CaptureFixture[str]):
    """A limit on the size of files stands for the disk: the write really fails, half-way."""
    (run / 'report.html').write_text('earlier')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code = main([f'--workdir={run}'])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert f'error: cannot write {run / "report.html"}: File too large' in capsys.readouterr().err
    assert (run / 'report.html').read_text() == 'earlier'
    assert not list(run.glob('.*')), 'nothing half-written'


def test_ctrl_c(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('adaptation.inputs.load_inputs', interrupted)
    assert main([f'--workdir={run}']) == 130
    assert 'Interrupted; no report was written.' in capsys.readouterr().err
    assert not (run / 'report.html').exists()
