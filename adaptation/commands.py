"""What the small commands share: flags that are refused in one sentence, and exit codes.

Exit codes: 0 finished, 1 failed, 2 flags refused, 130 interrupted.
"""

import argparse
import difflib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from adaptation.domain_codes import DomainError, parse_code
from adaptation.errors import AdaptationError, ConfigError, Interrupted


class Parser(argparse.ArgumentParser):
    """Flags as `--name=value`, without abbreviations; what is wrong with them is a ConfigError."""

    def __init__(self, program: str, description: str | None):
        super().__init__(
            prog=program,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message])

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The flags.

        Raises:
            ConfigError: an unknown or missing flag, or a value of a wrong type.
        """
        flags, unknown = self.parse_known_args(list(arguments))
        if unknown:
            name = unknown[0].partition('=')[0]
            known = [option for action in self._actions for option in action.option_strings]
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError([f'unknown argument {unknown[0]!r}' + (f': did you mean {near[0]}?' if near else '')])
        return flags


ABSENT = argparse.SUPPRESS  # as a flag's default: `fill` can tell then whether it was given


def fill(flags: argparse.Namespace, values: Mapping[str, Any], refusal: str) -> None:
    """Gives flags that are absent these values; refuses those that were given, where there is a refusal.

    Raises:
        ConfigError: the refusal, of a flag that was given.
    """
    for name, value in values.items():
        if not hasattr(flags, name):
            setattr(flags, name, value)
        elif refusal:
            raise ConfigError([f'--{name.replace("_", "-")}: {refusal}'])


DOMAIN_HELP = "of a run of several domains, or 'sketch:0.5,ukiyoe:0.5'"


def domain_weights(text: str) -> dict[str, float]:
    """The type of a `--domain`: weights by domain; see `parse_code`.

    Raises:
        argparse.ArgumentTypeError: the text names no domain.
    """
    try:
        return parse_code(text)
    except DomainError as error:
        raise argparse.ArgumentTypeError(str(error).removesuffix('.')) from None


def number_in(least: float, most: float) -> Callable[[str], float]:
    """The type of a flag that takes a number from `least` to `most`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f'expected a number from {least:g} to {most:g}, got {text!r}')
        return value

    return read


def whole_in(least: int, most: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number from `least` to `most`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'expected a whole number from {least} to {most}, got {text!r}')
        return int(text)

    return read


def run_command(command: Callable[[Sequence[str]], object], argv: Sequence[str] | None) -> int:
    """Runs a command with these arguments (None: the program's own) and returns its exit code."""
    try:
        command(sys.argv[1:] if argv is None else argv)
    except AdaptationError as error:
        print(f'error: {error}', file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f'error: {error.filename or "the output"}: {error.strerror or error}', file=sys.stderr)
        return AdaptationError.exit_code
    except KeyboardInterrupt:
        print('\nInterrupted: what was not finished is not written.', file=sys.stderr)
        return Interrupted.exit_code
    return 0


def entries(text: str) -> list[str]:
    """The parts of a list that commas separate."""
    return [part.strip() for part in text.split(',')]


def finite_number(text: str) -> float:
    """A number that is neither infinite nor NaN.

    Raises:
        ValueError: it is something else.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text} is not finite')
    return value
