"""Adapts a 3D generator to one picture.

    python -m adaptation.main --config=configs/sketch.py [--workdir=runs/sketch] [--config.field=value ...]

The same command resumes a run that was stopped. Exit codes: 0 finished, 1 failed, 2 settings refused, 130 interrupted.
"""

import runpy
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import config_dict, config_flags

from adaptation.config import AdaptationConfig, fill_domains, no_such_field, read_config
from adaptation.errors import AdaptationError, ConfigError, Interrupted

PROGRAM = 'python -m adaptation.main'
RUNS = Path('runs')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {'-h', '--help', '--helpfull'} & set(arguments):
        print(__doc__.strip())
        return 0
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every checkpoint
    workdir = Path()
    try:
        config, workdir = parse(arguments)
        from adaptation.train import run  # only now: it imports JAX, and settings are refused at once

        run(config, workdir)
    except Interrupted as error:
        print(f'\n{error}\nThe same command resumes:\n  {PROGRAM} {shlex.join(arguments)}', file=sys.stderr)
        return error.exit_code
    except AdaptationError as error:
        print(f'error: {error}', file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f'error: {error.filename or workdir}: {error.strerror or error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nInterrupted at once: nothing after the last checkpoint is saved.', file=sys.stderr)
        return Interrupted.exit_code
    return 0


def parse(arguments: Sequence[str]) -> tuple[AdaptationConfig, Path]:
    """The settings and the working directory that the arguments ask for.

    Raises:
        ConfigError: an unknown flag or field, a wrong type, a value out of range, or no config file.
    """
    file, others = _take_config_file(arguments)
    config = load_experiment(file)
    _refuse_unknown(config, others)
    values = flags.FlagValues()
    program = [PROGRAM, *others]
    try:
        flags.DEFINE_string('workdir', None, 'where the run is written', flag_values=values)
        config_flags.DEFINE_config_dict('config', config, lock_config=False, flag_values=values, sys_argv=program)
        unused = values(program)[1:]
    except (flags.Error, ValueError, TypeError) as error:
        raise ConfigError([str(error)]) from None
    if unused:
        raise ConfigError([f'unknown argument {unused[0]!r}: settings are given as --config.field=value'])
    workdir = values.workdir or RUNS / file.stem
    if '\0' in str(workdir):
        raise ConfigError([f'--workdir: {workdir!r} holds a NUL character, which no path can: give another one'])
    return read_config(values.config), Path(workdir)


def _take_config_file(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The value of --config, and the other arguments."""
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition('=')
        if flag in ('--config', '-config'):
            used = 1 if equals else 2
            value = value if equals else ''.join(arguments[index + 1 : index + 2])
            if not Path(value).is_file():
                raise ConfigError([f'--config: there is no file {value or "(empty)"}'])
            return Path(value), [*arguments[:index], *arguments[index + used :]]
    raise ConfigError([f'--config is missing: {PROGRAM} --config=configs/sketch.py'])


def load_experiment(file: Path) -> config_dict.ConfigDict:
    """What the file's `get_config()` returns, each of its domains with all fields.

    Raises:
        ConfigError: it raises, or returns something else; says in which line.
    """
    try:
        names = runpy.run_path(str(file))
        config = names['get_config']() if 'get_config' in names else None
    except Exception as error:  # the file is the user's: whatever it raises is told by its line
        numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
        line = error.lineno if isinstance(error, SyntaxError) else next(reversed(numbers), None)
        raise ConfigError([f'{file}, line {line or "?"}: {type(error).__name__}: {error}']) from error
    if 'get_config' not in names:
        raise ConfigError([f'{file}: has no function get_config'])
    if not isinstance(config, config_dict.ConfigDict):
        raise ConfigError([f'{file}: get_config returns {type(config).__name__}, expected a ConfigDict'])
    fill_domains(config)
    return config


def _refuse_unknown(config: config_dict.ConfigDict, arguments: Sequence[str]) -> None:
    """Names every --config.field that the config does not have."""
    problems = []
    for argument in arguments:
        flag = argument.partition('=')[0].lstrip('-')
        if not argument.startswith('-') or not flag.startswith('config.'):
            continue
        group, path = config, 'config'
        for name in flag.split('.')[1:]:
            if not isinstance(group, config_dict.ConfigDict):
                problems.append(f'{path}.{name}: there is no such field ({path} is a single value)')
                break
            if name not in group:
                problems.append(no_such_field(f'{path}.{name}', group))
                break
            group, path = group[name], f'{path}.{name}'
    if problems:
        raise ConfigError(problems)


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
