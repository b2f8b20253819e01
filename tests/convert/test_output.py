"""A conversion's directory appears whole or not at all, and replaces nothing that it should not."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import convert.eg3d
import convert.output
from convert import ConversionError
from convert.output import whole_directory


def refused(source: Path, output: Path, force: bool = False) -> str:
    with pytest.raises(ConversionError) as caught:
        convert.eg3d.convert(source, output, force)
    return str(caught.value)


def test_existing_directory_is_refused(small_pickle, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine.txt').write_text('mine')
    assert '--force' in refused(small_pickle, tmp_path / 'out')
    message = refused(small_pickle, tmp_path / 'out', force=True)
    assert "holds 'mine.txt', which no conversion wrote" in message
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['mine.txt']


def test_existing_file_and_link_are_refused(small_pickle, tmp_path):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'empty')
    (tmp_path / 'dangling').symlink_to(tmp_path / 'absent')
    for name in ('file', 'link', 'dangling'):
        assert 'exists' in refused(small_pickle, tmp_path / name)
        assert 'is no directory' in refused(small_pickle, tmp_path / name, force=True)
    assert (tmp_path / 'file').read_text() == 'mine'


def test_missing_parents_are_made(small_pickle, tmp_path):
    convert.eg3d.convert(small_pickle, tmp_path / 'absent' / 'too' / 'out')
    assert (tmp_path / 'absent' / 'too' / 'out' / 'weights.safetensors').is_file()


def test_a_parent_that_is_a_file_is_refused(small_pickle, tmp_path):
    (tmp_path / 'file').write_text('mine')
    assert f'{tmp_path / "file"} cannot be made' in refused(small_pickle, tmp_path / 'file' / 'out')


def test_force_replaces_an_earlier_conversion(small_pickle, tmp_path):
    convert.eg3d.convert(small_pickle, tmp_path / 'out')
    weights = tmp_path / 'out' / 'weights.safetensors'
    whole = load_file(weights)
    weights.write_bytes(b'spoilt')
    convert.eg3d.convert(small_pickle, tmp_path / 'out', force=True)
    assert load_file(weights).keys() == whole.keys()
    assert [path.name for path in tmp_path.iterdir()] == ['out']


@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()])
def test_failure_while_writing_leaves_what_was(small_pickle, tmp_path, monkeypatch, error):
    convert.eg3d.convert(small_pickle, tmp_path / 'out')
    before = (tmp_path / 'out' / 'weights.safetensors').read_bytes()

    def fail(path, arrays):
        path.write_bytes(b'half')
        raise error

    monkeypatch.setattr(convert.output, 'write_safetensors', fail)
    expected = ConversionError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        convert.eg3d.convert(small_pickle, tmp_path / 'out', force=True)
    assert (tmp_path / 'out' / 'weights.safetensors').read_bytes() == before
    with pytest.raises(expected):
        convert.eg3d.convert(small_pickle, tmp_path / 'new')
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_a_full_disk(small_pickle, tmp_path):
    """A limit on the size of files stands for the disk. Nothing is wrong with the source, so it is not named."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = refused(small_pickle, tmp_path / 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    expected = f'{tmp_path / "out"} cannot be written: File too large; make room or choose another --output.'
    assert message == expected
    assert list(tmp_path.iterdir()) == []


def make(output: Path, content: str) -> None:
    with whole_directory(output) as directory:
        (directory / 'it').write_text(content)


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    """In a container the next process may have the same number."""
    (tmp_path / f'.out.writing-{os.getpid()}').mkdir()
    make(tmp_path / 'out', 'new')
    assert (tmp_path / 'out' / 'it').read_text() == 'new'


def test_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / 'usual').mkdir()
    make(tmp_path / 'out', 'new')
    assert (tmp_path / 'out').stat().st_mode == (tmp_path / 'usual').stat().st_mode


def test_a_replaced_output_is_put_back_if_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    make(tmp_path / 'out', 'old')
    rename = Path.rename

    def fails_for_the_new(path, target):
        if (path / 'it').read_text() == 'new':
            raise OSError(errno.EIO, 'Input/output error')
        return rename(path, target)

    monkeypatch.setattr(Path, 'rename', fails_for_the_new)
    with pytest.raises(ConversionError, match='cannot be written: Input/output error'):
        make(tmp_path / 'out', 'new')
    assert (tmp_path / 'out' / 'it').read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_a_replaced_output_that_cannot_be_put_back_is_kept(tmp_path, monkeypatch):
    make(tmp_path / 'out', 'old')
    rename = Path.rename

    def works_once(path, target):
        monkeypatch.setattr(Path, 'rename', fails)
        return rename(path, target)

    def fails(*_):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(Path, 'rename', works_once)
    with pytest.raises(ConversionError):
        make(tmp_path / 'out', 'new')
    assert [path.read_text() for path in tmp_path.rglob('it')] == ['old']


KILLED = """
import os, signal, sys
import convert.eg3d, convert.output

def killed(path, arrays):
    path.write_bytes(b'half')
    os.kill(os.getpid(), signal.SIGKILL)

convert.output.write_safetensors = killed
convert.eg3d.convert(*sys.argv[1:])
"""


@pytest.mark.skipif(os.name == 'nt', reason='needs SIGKILL')
def test_killed_half_way_leaves_nothing_under_the_name(small_pickle, tmp_path):
    done = subprocess.run([sys.executable, '-c', KILLED, small_pickle, tmp_path / 'out'], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / 'out').exists()


def test_check_finds_what_was_written_wrongly(small_pickle, tmp_path, monkeypatch):
    """One bit of one array: the output does not appear."""
    write = convert.output.write_safetensors

    def spoil(path, arrays):
        name = 'decoder.net.0.weight'
        spoilt = np.array(arrays[name])
        spoilt.view('u4')[3, 5] ^= 1
        write(path, {**arrays, name: spoilt})

    monkeypatch.setattr(convert.output, 'write_safetensors', spoil)
    with pytest.raises(ConversionError, match=r'was not written as it was read \(decoder.net.0.weight\)'):
        convert.eg3d.convert(small_pickle, tmp_path / 'out', check=True)
    assert list(tmp_path.iterdir()) == []


def test_record(small_pickle, tmp_path):
    report = convert.eg3d.convert(small_pickle, tmp_path / 'out')
    record = json.loads((tmp_path / 'out' / 'conversion.json').read_text())
    assert record['path'] == str(small_pickle.resolve())
    assert (record['used'], record['filled']) == (len(report.used), len(report.filled))
    assert record['ignored'] == {reason: list(names) for reason, names in report.ignored.items()}
