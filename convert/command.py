"""The command line that the converters share."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax

from convert.engine import Report
from convert.errors import ConversionError

FAILED = 1  # the exit code for a source that cannot be converted; argparse's own for a wrong command line is 2


def run(convert: Callable[[str | Path, str | Path, bool], Report], description: str | None, source: str) -> NoReturn:
    """Parses the command line, converts, prints the report or one sentence on what is wrong, and exits.

    Args:
      convert: from (source, output, force) to a report.
      description: of the command.
      source: what `--source` may be.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--source', required=True, type=Path, help=source)
    parser.add_argument('--output', required=True, type=Path, help='the directory to be made')
    parser.add_argument('--force', action='store_true', help='replace an output of an earlier conversion')
    options = parser.parse_args()
    jax.config.update('jax_platforms', 'cpu')  # only shapes are computed: leave accelerators to others
    start = time.monotonic()
    try:
        report = convert(options.source, options.output, options.force)
    except (ConversionError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(FAILED)
    print(f'{options.source} -> {options.output} in {time.monotonic() - start:.1f} s')
    print(report)
    sys.exit()
