"""A page on which heads are looked at from all sides, source and adapted.

    python -m adaptation.view --workdir=runs/sketch [--adapters=runs/ukiyoe,runs/cartoon] [--seed=0] [--port=8080]

Turn the head by mouse or finger; choose seed, truncation, adapter (or one of a run's several domains) and strength; put
the source beside it; save a picture. Without --workdir and --adapters, --generator (or the miniature) is shown alone.
The page is for this machine alone unless --host says otherwise. Ctrl-C ends it. Needs viser: pip install -e '.[view]'.

Exit codes: 0 ended, 1 failed, 2 flags refused, 130 interrupted before it began.
"""

import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.commands import Parser, entries, run_command
from adaptation.errors import AdaptationError, ConfigError
from adaptation.generation.defaults import LARGEST_SEED

if TYPE_CHECKING:
    import argparse

    from adaptation.viewing.drawing import Drawing

PROGRAM = 'python -m adaptation.view'
LOOPBACK = '127.0.0.1'
PORT = 8080
LOOKED_AT = 0.2  # seconds between looks at whether it is to end


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    return run_command(_command, argv)


def read_flags(argv: Sequence[str]) -> 'argparse.Namespace':
    """The flags, checked as far as can be without loading anything.

    Raises:
        ConfigError: an unknown flag, a value out of range, or a port that is taken.
    """
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add('--workdir', type=Path, metavar='DIR', help='of a run, whose adapted generator is shown first')
    add('--adapters', type=entries, default=[], metavar='DIR,DIR', help='of other runs from the same source')
    add('--generator', metavar='S', help='the source, where there is no run or it was moved (the miniature)')
    add('--seed', type=int, default=0, metavar='N', help='of the first head')
    add('--host', default=LOOPBACK, metavar='H', help='address to listen at; 0.0.0.0: let others in')
    add('--port', type=int, metavar='N', help=f'({PORT}, or the next one that is free)')
    flags = parser.read(argv)
    flags.adapters = [Path(name) for name in flags.adapters]
    runs = [*([] if flags.workdir is None else [flags.workdir]), *flags.adapters]
    problems = [f'there is no directory {run}: give that of a run' for run in runs if not run.is_dir()]
    if not 0 <= flags.seed <= LARGEST_SEED:
        problems.append(f'--seed: expected a number from 0 to {LARGEST_SEED}, got {flags.seed}')
    if flags.port is not None and not 1 <= flags.port <= 65535:
        problems.append(f'--port: expected 1 to 65535, got {flags.port}')
    elif flags.port is not None and not _free(flags.host, flags.port):
        problems.append(f'--port: {flags.port} of {flags.host} is taken or not allowed; give another, or leave it out')
    if problems:
        raise ConfigError(problems)
    return flags


def load(flags: 'argparse.Namespace') -> 'Drawing':
    """The source and the adapters.

    Raises:
        AdaptationError: one is missing or damaged, or made from another source.
    """
    from adaptation.adapter import load_styles
    from adaptation.generation.subjects import source_subject
    from adaptation.viewing.drawing import Drawing, named_styles

    runs = [*([] if flags.workdir is None else [flags.workdir]), *flags.adapters]
    source = source_subject(runs[0] if runs else None, flags.generator)
    styles = [
        (_name(run, runs), domain, leaves)
        for run in runs
        for domain, leaves in load_styles(source.generator, run).items()
    ]
    return Drawing(source.generator, named_styles(styles), source.camera)


def _command(argv: Sequence[str]) -> None:
    flags = read_flags(argv)
    try:
        from adaptation.viewing.page import serve
    except ImportError as error:
        raise AdaptationError(
            f"The viewer needs viser, which is not installed ({error.name}): pip install -e '.[view]'."
        ) from None
    from adaptation.viewing.drawing import View

    drawing = load(flags)
    first = View(seed=flags.seed, style=drawing.styles[:2][-1])  # the first adapter, if there is one
    server, loop, _ = serve(drawing, first, flags.host, flags.port or PORT)
    print(f'http://{flags.host}:{server.get_port()}  (Ctrl-C ends it)', flush=True)
    try:
        while loop.running:
            time.sleep(LOOKED_AT)
    except KeyboardInterrupt:
        print()
    finally:
        loop.stop()
        server.stop()
    if loop.error is not None:
        raise AdaptationError(f'Drawing failed: {loop.error}') from loop.error


def _name(run: Path, runs: list[Path]) -> str:
    """A run's directory, with its parents' where several have the same name."""
    alike = [other for other in runs if other.resolve().name == run.resolve().name]
    return run.resolve().name if len(alike) == 1 else str(run)


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
