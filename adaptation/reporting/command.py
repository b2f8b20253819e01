"""The command that repeats a run, from the settings that the run's directory holds."""

import pprint
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation.config import AdaptationConfig, flatten
from adaptation.errors import ConfigError
from adaptation.inputs import PROJECT
from adaptation.main import PROGRAM, load_experiment, parse

CONFIGS = PROJECT / 'configs'  # the shipped experiments; an installed package has none
LINE = 100  # characters of a config file's line


@dataclass(frozen=True)
class Reproduction:
    """How to repeat a run.

    Attributes:
        command: the command line.
        file: the name of a config file that it needs, '' if a shipped one does.
        text: what to save in that file.
    """

    command: str
    file: str = ''
    text: str = ''


def reproduce(config: AdaptationConfig, workdir: Path) -> Reproduction:
    """The shortest command that gives these settings: a shipped experiment with changes, or a config file of its own.

    Args:
        config: the run's settings.
        workdir: the run's directory; the new one is to have another name.
    """
    if workdir.name in ('', '..'):  # of '.' and the like, whose name is not in the path
        workdir = workdir.resolve()
    again = f'--workdir={workdir.with_name(workdir.name + "_again")}'
    candidates = [flags for file in sorted(CONFIGS.glob('*.py')) if (flags := _changes(file, config)) is not None]
    for flags in sorted(candidates, key=len):
        if _gives(flags, config):
            return Reproduction(command_line(PROGRAM, [*flags, again]))
    file = f'{workdir.name}_config.py'
    return Reproduction(command_line(PROGRAM, [f'--config={file}', again]), file, config_file(config))


def command_line(program: str, arguments: Iterable[str]) -> str:
    """A command as a shell takes it, an argument a line."""
    return ' \\\n    '.join([program, *map(shlex.quote, arguments)])


def config_file(config: AdaptationConfig) -> str:
    """A Python file for --config that returns these settings."""
    name = 'VALUES = '
    values = pprint.pformat(config.to_dict(), width=LINE, sort_dicts=False).replace('\n', '\n' + ' ' * len(name))
    lines = ['from ml_collections import config_dict', '', name + values, '', '']
    return '\n'.join([*lines, 'def get_config():', '    return config_dict.ConfigDict(VALUES)', ''])


def _changes(file: Path, config: AdaptationConfig) -> list[str] | None:
    """The flags that turn an experiment's settings into these, or None where no flags can."""
    flag = f'--config={file.relative_to(PROJECT)}'
    try:
        base = load_experiment(file)
    except ConfigError:
        return None
    before, after = flatten(base.to_dict()), flatten(config.to_dict())
    if before.keys() != after.keys():
        return None
    changed = [name for name in after if before[name] != after[name]]
    return [flag, *(f'--config.{name}={_written(after[name])}' for name in changed)]


def _gives(flags: list[str], config: AdaptationConfig) -> bool:
    """Whether a command line gives these settings, to the last of them."""
    file, *changes = flags
    name = file.removeprefix('--config=')
    try:
        return parse([f'--config={PROJECT / name}', *changes])[0] == config
    except ConfigError:
        return False


def _written(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list):
        return ','.join(value) if all(isinstance(item, str) for item in value) else repr(tuple(value))
    return str(value)
