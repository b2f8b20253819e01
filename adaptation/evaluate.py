"""Measures an adapted generator: fidelity, identity, geometry, diversity, and consistency between views.

    python -m adaptation.evaluate --workdir=runs/sketch [--target=FOLDER] [--samples=5000] [--seed=0] [--output=DIR]
        [--inception=DIR] [--arcface=DIR] [--batch=N] [--skip-unreadable]
    python -m adaptation.evaluate --workdir=runs/three_styles --domain=sketch ...

Writes evaluation.json, to `evaluation` in the working directory if no --output is given (of a run of several domains,
to a directory of the domain's name in it). The same command resumes an evaluation that was stopped. Exit codes:
0 finished, 1 failed, 2 settings refused, 130 interrupted.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.commands import DOMAIN_HELP, Parser, domain_weights
from adaptation.errors import AdaptationError, Interrupted

if TYPE_CHECKING:
    from adaptation.evaluation.runner import Options

PROGRAM = 'python -m adaptation.evaluate'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = f'{PROGRAM} {shlex.join(arguments)}'
    try:
        flags = parse(arguments)
        from adaptation.evaluation.runner import evaluate  # only now: it imports JAX, and flags are refused at once

        evaluate(_options(flags), command=command)
    except Interrupted as error:
        print(f'\n{error}\nThe same command resumes:\n  {command}', file=sys.stderr)
        return error.exit_code
    except AdaptationError as error:
        print(f'error: {error}', file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f'error: {error.filename or "the output"}: {error.strerror or error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nInterrupted at once: nothing after the last saving is kept.', file=sys.stderr)
        return Interrupted.exit_code
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags.

    Raises:
        ConfigError: an unknown or missing flag, or a value of a wrong type.
    """
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add('--workdir', type=Path, required=True, metavar='DIR', help='of a run of adaptation.main')
    add('--domain', type=domain_weights, metavar='NAME', help=DOMAIN_HELP)
    add('--target', type=Path, metavar='FOLDER', help='pictures of the target domain, for the distances to it')
    add('--samples', type=int, default=5000, metavar='N', help='heads that are measured (default 5000)')
    add('--seed', type=int, default=0, metavar='N', help='of the heads, and of the order of target pictures')
    add('--output', type=Path, metavar='DIR', help='of evaluation.json (default: WORKDIR/evaluation[/DOMAIN])')
    add('--inception', type=Path, metavar='DIR', help='InceptionV3 from convert.inception, for FID and KID')
    add('--arcface', type=Path, metavar='DIR', help='ArcFace from convert.arcface, for identity')
    add('--batch', type=int, metavar='N', help='heads at a time (default: as many as the memory holds)')
    add('--skip-unreadable', action='store_true', help='leave out files of FOLDER that are no readable pictures')
    return parser.read(arguments)


def _options(flags: argparse.Namespace) -> 'Options':
    from adaptation.evaluation.runner import Options

    return Options(**vars(flags))


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
