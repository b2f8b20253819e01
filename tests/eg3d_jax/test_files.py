"""Files that are whole or not there at all."""

from pathlib import Path

import pytest

from eg3d_jax.files import read_json, replacing, write_json


def test_the_file_appears_whole_with_the_directories_it_lies_in(tmp_path: Path):
    path = tmp_path / 'runs' / 'sketch' / 'notes.txt'
    with replacing(path) as unfinished:
        unfinished.write_text('lines')
        assert not path.exists()
    assert path.read_text() == 'lines'
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_as_it_was(tmp_path: Path):
    path = tmp_path / 'notes.txt'
    path.write_text('old')
    with pytest.raises(OSError, match='full'), replacing(path) as unfinished:
        unfinished.write_text('half of the n')
        raise OSError('the disk is full')
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / 'notes.txt') as unfinished:
        unfinished.write_text('half')
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_by_a_block_that_wrote_nothing(tmp_path: Path):
    path = tmp_path / 'notes.txt'
    path.write_text('old')
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == 'old'


def test_json_comes_back(tmp_path: Path):
    write_json(tmp_path / 'record.json', {'style': 'sketch', 'steps': [60, 40]})
    assert read_json(tmp_path / 'record.json') == {'style': 'sketch', 'steps': [60, 40]}


def test_damaged_json_is_named(tmp_path: Path):
    path = tmp_path / 'record.json'
    path.write_text('{"style": ')
    with pytest.raises(ValueError, match=r'record\.json is damaged'):
        read_json(path)
