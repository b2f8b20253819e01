"""The command lines: what they print, and their exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import convert.arcface
import convert.clip
import convert.eg3d
import convert.inception
import convert.output

COMMON = ('--source', '--output', '--force', '--check')


def run(monkeypatch: pytest.MonkeyPatch, module: object, *arguments: object) -> int:
    """The exit code of a converter's command line."""
    monkeypatch.setattr(sys, 'argv', ['it', *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        module.main()
    return caught.value.code or 0


def test_success(monkeypatch, capsys, small_pickle, tmp_path):
    arguments = (f'--source={small_pickle}', f'--output={tmp_path / "out"}')
    assert run(monkeypatch, convert.eg3d, *arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ''
    assert f'{small_pickle} -> {tmp_path / "out"}' in printed.out
    assert '150 entries used to fill 150 arrays' in printed.out
    assert '27 ignored: resample_filter' in printed.out
    assert '\n  superresolution.block0.conv0.resample_filter\n' in printed.out
    assert run(monkeypatch, convert.eg3d, *arguments) == 1
    assert 'exists' in capsys.readouterr().err
    assert run(monkeypatch, convert.eg3d, *arguments, '--force', '--check') == 0
    assert '150 entries read back and compared: the same, bit for bit' in capsys.readouterr().out


def test_options(monkeypatch, capsys, small_pickle, tmp_path):
    arguments = (f'--source={small_pickle}', f'--output={tmp_path / "out"}')
    assert run(monkeypatch, convert.eg3d, *arguments, '--network=D') == 0
    assert '51 entries used to fill 51 arrays' in capsys.readouterr().out
    assert run(monkeypatch, convert.eg3d, *arguments, '--network=E') == 2
    assert run(monkeypatch, convert.eg3d, *arguments, '--force', '--preset=ffhq512-128') == 1
    assert 'takes no --preset' in capsys.readouterr().err
    assert run(monkeypatch, convert.clip, *arguments, '--activation=relu') == 2


@pytest.mark.parametrize('module', [convert.eg3d, convert.clip, convert.inception, convert.arcface])
def test_bad_source(monkeypatch, capsys, module, tmp_path):
    (tmp_path / 'it').write_text('nothing')
    assert run(monkeypatch, module, f'--source={tmp_path / "it"}', f'--output={tmp_path / "out"}') == 1
    printed = capsys.readouterr()
    assert printed.out == ''
    assert printed.err.startswith(f'error: {tmp_path / "it"}: is n')
    assert printed.err.count('\n') == 1


@pytest.mark.skipif(not Path('/proc/self/mem').exists(), reason='needs a file that cannot be read')
def test_system_error(monkeypatch, capsys, tmp_path):
    arguments = ('--source=/proc/self/mem', f'--output={tmp_path / "out"}')
    assert run(monkeypatch, convert.eg3d, *arguments) == 1
    assert capsys.readouterr().err.startswith('error: ')


@pytest.mark.parametrize(
    'arguments', [[], ['--source=x'], ['--source=x', '--output=y', '--loud'], ['--sour=x', '--output=y']]
)
def test_usage(monkeypatch, capsys, arguments):
    assert run(monkeypatch, convert.eg3d, *arguments) == 2
    assert 'usage' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('module', 'expected'),
    [
        ('convert', [f'python -m convert.{name} --' for name in ('eg3d', 'clip', 'inception', 'arcface', 'export')]),
        ('convert.eg3d', [*COMMON, '--network', 'G_ema,G,D', '--preset', 'ffhq512-128.pkl', 'hf://owner/repo']),
        ('convert.clip', [*COMMON, '--activation', 'quick_gelu,gelu', 'Hugging Face']),
        ('convert.inception', [*COMMON, 'pt_inception-2015-12-05-6726825d.pth', 'hf://owner/repo']),
        ('convert.arcface', [*COMMON, 'model_ir_se50.pth', 'hf://owner/repo']),
        ('convert.export', ['--adapter', '--source', '--output', '--pickle', '--force', '.safetensors']),
    ],
)
def test_help(module, expected):
    done = subprocess.run([sys.executable, '-m', module, '--help'], capture_output=True, text=True, check=True)
    for text in expected:
        assert text in done.stdout


def test_interrupted(monkeypatch, capsys, small_pickle, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert.output, 'write_safetensors', interrupted)
    assert run(monkeypatch, convert.eg3d, f'--source={small_pickle}', f'--output={tmp_path / "out"}') == 130
    assert 'nothing was written' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
