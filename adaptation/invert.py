"""Takes a photograph into a generator, and shows that head adapted, from any view.

    python -m adaptation.invert --image=PHOTO --workdir=runs/sketch --output=DIR [--crop=auto|none|LEFT,TOP,SIDE]
        [--domain=NAME] [--space=w|w+|tuned] [--yaw=X --pitch=X] [--no-align] [--views=5] [--video]

No pose file is needed: yaw and pitch are found together with the latent, and with them how the picture is turned,
shifted and zoomed against the generator's own. Stages: a first guess of the view; one point in w; one for each
layer (W+); and pivotal tuning of the backbone, which no adapter changes. Writes `inversion.safetensors` (w vectors,
camera, tuned leaves), `inversion.json` (how near the reconstruction is), `reconstruction.png`, `views.png` with each
view alone in `source/` and `adapted/`, `progress.png` meanwhile, and with --video `turntable.mp4`. Ctrl-C saves; the
same command goes on, and another photograph or other flags of the fit are refused there.

Without --workdir, the generator alone is used: --generator, or the miniature. Exit codes: 0 finished, 1 failed,
2 flags refused, 130 interrupted.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.commands import DOMAIN_HELP, Parser, domain_weights, entries, finite_number, run_command
from adaptation.errors import ConfigError

if TYPE_CHECKING:
    import argparse

PROGRAM = 'python -m adaptation.invert'
SPACES = ('w', 'w+', 'tuned')
MOST_VIEWS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    return run_command(_command, argv)


def _command(argv: Sequence[str]) -> None:
    flags = read_flags(argv)
    from adaptation.inversion.command import run  # only now: it imports JAX, and flags are refused at once

    run(flags)


def read_flags(argv: Sequence[str]) -> 'argparse.Namespace':
    """The flags, checked as far as can be without loading anything.

    Raises:
        ConfigError: an unknown flag, a value out of range, or flags that do not go together.
    """
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add('--image', type=Path, required=True, metavar='PHOTO')
    add('--workdir', type=Path, metavar='DIR', help='of a run: its adapted generator shows the head as well')
    add('--domain', type=domain_weights, metavar='NAME', help=DOMAIN_HELP)
    add('--generator', metavar='S', help='the source, where there is no run or it was moved (the miniature)')
    add(
        '--clip',
        metavar='S,S',
        help="encoders that compare (the run's, or the miniature's own); empty: none",
    )
    add('--output', type=Path, required=True, metavar='DIR')
    add('--crop', default='auto', metavar='C', help='auto (around a face), none (the central square), LEFT,TOP,SIDE')
    add('--space', choices=SPACES, default=SPACES[-1], help='how far the fit goes')
    add('--yaw', type=finite_number, metavar='RADIANS', help='of the camera, where it is known')
    add('--pitch', type=finite_number, metavar='RADIANS')
    add('--no-align', dest='align', action='store_false', help='the crop lies as those of the training pictures do')
    add('--scale', type=finite_number, default=1.0, metavar='X', help='of the number of steps')
    add('--strength', type=finite_number, metavar='X', help='of the adaptation, 0 to 1.5 (1)')
    add('--views', type=int, default=5, metavar='N', help='of the head')
    add('--turn', type=finite_number, default=0.5, metavar='RADIANS', help='of the views to either side')
    add('--video', action='store_true', help='a turntable as well (MP4)')
    flags = parser.read(argv)
    problems = []
    if (flags.yaw is None) != (flags.pitch is None):
        problems.append('--yaw and --pitch: give both, or neither to have them found')
    if not 1 <= flags.views <= MOST_VIEWS:
        problems.append(f'--views: expected 1 to {MOST_VIEWS}, got {flags.views}')
    if not 0 < flags.scale <= 100:
        problems.append(f'--scale: expected a number above 0, at most 100, got {flags.scale:g}')
    if flags.strength is not None and flags.workdir is None:
        problems.append('--strength: only an adapted generator has one: give --workdir as well')
    flags.strength = 1.0 if flags.strength is None else flags.strength
    if not 0 <= flags.strength <= 1.5:
        problems.append(f'--strength: expected 0 to 1.5, got {flags.strength:g}')
    if not 0 <= flags.turn < math.pi:
        problems.append(f'--turn: expected 0 to pi, got {flags.turn:g}')
    if flags.workdir is not None and not flags.workdir.is_dir():
        problems.append(f'--workdir: there is no directory {flags.workdir}: give that of a run')
    if flags.domain is not None and flags.workdir is None:
        problems.append('--domain: only an adapted generator has one: give --workdir as well')
    if flags.output.exists() and not flags.output.is_dir():
        problems.append(f'--output: {flags.output} is a file: give a directory')
    if flags.crop not in ('auto', 'none'):
        flags.crop = _box(flags.crop, problems)
    if problems:
        raise ConfigError(problems)
    return flags


def _box(text: str, problems: list[str]) -> tuple[int, ...] | None:
    parts = entries(text)
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        problems.append(f'--crop: expected auto, none, or LEFT,TOP,SIDE in pixels, got {text!r}')
        return None
    return tuple(map(int, parts))


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
