"""Draws heads with a generator: pictures and depth maps, films, meshes.

    python -m adaptation.generate --workdir=runs/sketch --seeds=0-15 --views=3 --output=heads [--source] [--depth]
        [--video=turntable|interpolation] [--mesh] [--strength=0.5] [--domain=sketch] ...

Without --workdir, a generator alone is drawn: --generator, or the miniature. Exit codes: 0 done, 1 failed, 2 arguments
refused, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from adaptation.commands import ABSENT, DOMAIN_HELP, domain_weights, fill, number_in, whole_in
from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.generation import defaults
from adaptation.generation.seeds import FORMS, parse_seeds

PROGRAM = 'python -m adaptation.generate'
ON = argparse.BooleanOptionalAction
POSES = {'yaw': defaults.YAW, 'pitch': 0.0}
PICTURES = {'views': defaults.VIEWS, 'depth': False}
FILMS = {'format': defaults.MP4, 'frames': None, 'fps': defaults.FPS}
MESHES = {
    'mesh_resolution': None,
    'mesh_level': defaults.LEVEL,
    'mesh_crop': defaults.CROP,
    'mesh_texture': defaults.TEXTURE,
    'mesh_raw': False,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    output = Path()
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        output = arguments.output
        from adaptation.generation.jobs import Options, run  # only now: it imports JAX, and flags are refused at once

        run(Options(**vars(arguments)))
    except AdaptationError as error:
        print(f'error: {error}', file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f'error: {error.filename or output}: {error.strerror or error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nInterrupted at once: the files that were finished are whole.', file=sys.stderr)
        return Interrupted.exit_code
    print(f'written to {output}')
    return 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked as far as can be without loading anything.

    Raises:
        ConfigError: an unknown flag, a value out of range, or flags that do not go together.
    """
    options = _parser().parse_args(list(argv))
    workdir, output = options.workdir, options.output
    if workdir is not None and not workdir.is_dir():
        raise ConfigError([f'--workdir: there is no directory {workdir}: give that of a run'])
    asked = {'source': options.source, 'strength': options.strength is not None, 'domain': options.domain is not None}
    for flag, given in asked.items():
        if given and workdir is None:
            raise ConfigError([f'--{flag}: only an adapted generator has one: give --workdir as well'])
    if options.strength is None:
        options.strength = 1.0
    if output is None:
        options.output = output = (workdir or Path('runs')) / 'generated'
    in_the_way = next((path for path in (output, *output.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way is not None:
        raise ConfigError([f'--output: {in_the_way} is a file: give a directory'])
    if not (options.pictures or options.video or options.mesh):
        raise ConfigError(['--no-pictures: nothing is left to make: ask for --video or --mesh'])
    nothing_seen = not (options.pictures or options.video)
    fill(options, POSES, 'meshes have none: ask for --video, or leave out --no-pictures' if nothing_seen else '')
    fill(options, PICTURES, 'it is of pictures: leave out --no-pictures' if not options.pictures else '')
    fill(options, FILMS, 'it is of films: give --video as well' if not options.video else '')
    if options.mesh and defaults.GLB not in options.mesh and getattr(options, 'mesh_texture', 0):
        raise ConfigError(['--mesh-texture: a .ply has vertex colours: ask for --mesh=glb, or leave it out'])
    fill(options, MESHES, 'it is of meshes: give --mesh as well' if not options.mesh else '')
    return options


class _Parser(argparse.ArgumentParser):
    """Tells of what it refuses in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([message.removeprefix('argument ')])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add('--workdir', type=_path, metavar='DIR', help='of a run: its adapted generator is drawn')
    add('--generator', metavar='S', help='what is drawn without --workdir, or the source of the run if it was moved')
    add('--source', action='store_true', help="the run's source as well, beside the adapted generator")
    add('--strength', type=number_in(0.0, defaults.STRONGEST), metavar='X', help='0 the source, 1 adapted, up to 1.5')
    add('--domain', type=domain_weights, metavar='NAME', help=DOMAIN_HELP)
    add('--seeds', type=_seeds, default=tuple(range(16)), metavar='SEEDS', help=f'of the heads (0-15): {FORMS}')
    add(
        '--truncation',
        type=number_in(0.0, 1.0),
        default=defaults.TRUNCATION,
        metavar='PSI',
        help='1 none, 0 the mean head',
    )
    add('--output', type=_path, metavar='DIR', help='directory (generated in --workdir, or runs/generated)')
    add('--batch', type=whole_in(1, 1024), metavar='N', help='views at a time (as many as fit into the memory)')
    _add_pictures(parser)
    _add_films(parser)
    _add_meshes(parser)
    return parser


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('pictures').add_argument
    add('--pictures', action=ON, default=True, help='grids and single pictures')
    add('--views', type=whole_in(1, defaults.MOST_VIEWS), default=ABSENT, metavar='N', help='of each head')
    add(
        '--yaw',
        type=number_in(0.0, defaults.LARGEST_YAW),
        default=ABSENT,
        metavar='RADIANS',
        help='how far views and films turn to either side',
    )
    add(
        '--pitch',
        type=number_in(-defaults.LARGEST_PITCH, defaults.LARGEST_PITCH),
        default=ABSENT,
        metavar='RADIANS',
        help='how far above the usual height they look from',
    )
    add(
        '--depth',
        action='store_true',
        default=ABSENT,
        help='depth maps: 16-bit with their scale in the metadata, and to look at',
    )


def _add_films(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('films').add_argument
    add('--video', choices=defaults.KINDS, help='a turntable of each seed, or one film through all seeds (linear in w)')
    add('--format', choices=defaults.FILM_FORMATS, default=ABSENT, help='mp4 (the default) is H.264')
    add(
        '--frames',
        type=whole_in(1, defaults.MOST_FRAMES),
        default=ABSENT,
        metavar='N',
        help=f'of a film ({defaults.TURNTABLE_FRAMES}; of an interpolation {defaults.FRAMES_PER_SEED} a seed)',
    )
    add('--fps', type=number_in(1.0, defaults.LARGEST_FPS), default=ABSENT, metavar='X', help='frames a second')


def _add_meshes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('meshes').add_argument
    add(
        '--mesh',
        type=_mesh_formats,
        nargs='?',
        const=defaults.MESH_FORMATS,
        default=(),
        metavar='FORMATS',
        help='ply,glb (both), or one of them',
    )
    add(
        '--mesh-resolution',
        type=whole_in(defaults.SMALLEST_GRID, defaults.LARGEST_GRID),
        default=ABSENT,
        metavar='N',
        help='grid points of a side (two a texel of the planes, at most 256)',
    )
    add(
        '--mesh-level',
        type=number_in(1e-3, 1e6),
        default=ABSENT,
        metavar='DENSITY',
        help=f'of the surface, in 1 / world unit ({defaults.LEVEL:g})',
    )
    add(
        '--mesh-crop',
        type=number_in(0.05, defaults.LARGEST_CROP),
        default=ABSENT,
        metavar='X',
        help=f"radius of the sphere that holds the head, in halves of the box's side ({defaults.CROP:g})",
    )
    add(
        '--mesh-texture',
        type=_texture,
        default=ABSENT,
        metavar='N',
        help=f"texels of the .glb's texture ({defaults.TEXTURE}); 0: vertex colours instead",
    )
    add(
        '--mesh-raw',
        action='store_true',
        default=ABSENT,
        help="the generator's density also where no training camera looked, instead of a smooth back",
    )


def _path(text: str) -> Path:
    if not text or '\0' in text:
        raise argparse.ArgumentTypeError(f'{text!r} is no path: give a directory')
    return Path(text).expanduser()


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return parse_seeds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _texture(text: str) -> int:
    if text == '0':
        return 0
    return whole_in(defaults.SMALLEST_TEXTURE, defaults.LARGEST_TEXTURE)(text)


def _mesh_formats(text: str) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(',')))
    if not formats or not set(formats) <= set(defaults.MESH_FORMATS):
        raise argparse.ArgumentTypeError(
            f'{text!r} is none of {", ".join(defaults.MESH_FORMATS)}, or both with a comma'
        )
    return formats


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
