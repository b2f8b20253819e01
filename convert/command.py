"""The command line that the converters share."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import jax

from convert.errors import ConversionError
from convert.sources import SYNTAX

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
FAILED = 1  # the exit code for a source that cannot be converted; argparse's own for a wrong command line is 2


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that all converters have."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument('--source', required=True, metavar='S', help=SYNTAX.replace('%', '%%'))
    result.add_argument('--output', required=True, metavar='DIR', help='the directory to be made')
    result.add_argument('--force', action='store_true', help='replace an output of an earlier conversion')
    result.add_argument('--check', action='store_true', help='read the output back and compare it, array by array')
    return result


def run(parser: argparse.ArgumentParser, convert: Callable[[argparse.Namespace], object]) -> NoReturn:
    """Parses the command line, converts, prints the report or what is wrong, and exits.

    Args:
      parser: with `--source` and `--output` among its arguments.
      convert: from the parsed arguments to a report.
    """
    options = parser.parse_args()
    start = time.monotonic()
    jax.config.update('jax_platforms', 'cpu')  # only shapes are computed: leave accelerators to others
    try:
        report = convert(options)
    except (ConversionError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print('\nInterrupted; nothing was written.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    print(f'{options.source} -> {options.output} in {time.monotonic() - start:.1f} s')
    print(report)
    sys.exit()
