"""Takes a style out of a run of several domains, and draws or films the way from one domain to another.

    python -m adaptation.domain --workdir=runs/three_styles --domain=sketch --output=runs/taken
    python -m adaptation.domain --workdir=runs/three_styles --strip=sketch,cartoon --output=runs/strip [--seeds=0-3]
        [--columns=7]
    python -m adaptation.domain --workdir=runs/three_styles --film=sketch,ukiyoe,cartoon --output=runs/film [--seeds=0]
        [--format=mp4] [--frames=N] [--fps=24] [--yaw=0.4] [--pitch=0] [--truncation=0.7]

--domain is a name, or weights such as 'sketch:0.5,ukiyoe:0.5'; what is written is an adapter like any other, for every
command that takes one. --strip draws strip.png: the same heads in rows, the domains named at both ends and, between,
codes at equal steps. --film writes film.mp4 (H.264), .gif or .webp, a closed loop: the heads in a row sway once while
their code moves through the domains and back to the first. Strip and film say in their metadata how they were made.

Exit codes: 0 finished, 1 failed, 2 flags refused, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptation.commands import ABSENT, Parser, domain_weights, entries, fill, number_in, run_command, whole_in
from adaptation.domain_codes import DomainError, code_of
from adaptation.errors import ConfigError
from adaptation.generation import defaults
from adaptation.generation.seeds import latents, parse_seeds

if TYPE_CHECKING:
    import argparse

    import numpy as np

    from adaptation.generation.subjects import Subject

STRIP_FILE, FILM_STEM = 'strip.png', 'film'
DRAWN = (STRIP_FILE, *(f'{FILM_STEM}.{form}' for form in defaults.FILM_FORMATS))
STRIP_SEEDS, FILM_SEEDS = '0-3', '0'
MOST_SEEDS, MOST_FILM_SEEDS, MOST_COLUMNS = 64, 8, 21
COLUMNS = 7
FRAMES_PER_DOMAIN = 48  # two seconds: the head turns slowly
BATCH = 4
FILMS = {
    'format': defaults.MP4,
    'frames': None,
    'fps': defaults.FPS,
    'yaw': defaults.YAW,
    'pitch': 0.0,
    'truncation': defaults.TRUNCATION,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    return run_command(_domain, argv)


def _domain(arguments: Sequence[str]) -> None:
    flags = _parse(arguments)

    from adaptation.adapter import adapter_directory  # only now: it imports JAX
    from adaptation.generation.subjects import source_subject
    from adaptation.provenance import generator_of

    named = flags.source or generator_of(flags.workdir)
    source = source_subject(adapter_directory(flags.workdir), named)
    if flags.strip is not None:
        print(_draw_strip(source, flags))
    elif flags.film is not None:
        print(_film(source, flags))
    else:
        print(f'adapter  {_take_out(source, named, flags)}')


def _parse(arguments: Sequence[str]) -> 'argparse.Namespace':
    parser = Parser('python -m adaptation.domain', __doc__)
    add = parser.add_argument
    add('--workdir', type=Path, required=True, metavar='DIR', help='of a run of several domains, or its adapter')
    add('--domain', type=domain_weights, metavar='NAME', help="what is taken out: a name, or 'sketch:0.5,ukiyoe:0.5'")
    add('--strip', type=entries, metavar='NAME,NAME', help='from which domain to which a strip is drawn')
    add('--film', type=entries, metavar='NAME,NAME', help='through which domains a film goes, and back to the first')
    add('--output', type=Path, required=True, metavar='DIR', help='new, or that of earlier strips and films')
    add('--source', metavar='S', help='the generator that was adapted (default: the one that the run names)')
    add('--seeds', metavar='N-N', help=f"of heads: '7', '0-15', '3,5,8' (strip: {STRIP_SEEDS}, film: {FILM_SEEDS})")
    add('--columns', type=whole_in(2, MOST_COLUMNS), metavar='N', help=f'codes in a strip ({COLUMNS})')
    _add_film(parser)
    flags = parser.read(arguments)
    problems = []
    if sum(asked is not None for asked in (flags.domain, flags.strip, flags.film)) != 1:
        problems.append('--domain: give either it, to take a style out, or --strip, or --film')
    film = flags.film is not None
    if flags.seeds is not None and flags.domain is not None:
        problems.append('--seeds: a style that is taken out is of no head: leave them out')
    try:
        asked_for = flags.seeds if flags.seeds is not None else FILM_SEEDS if film else STRIP_SEEDS
        flags.seeds = parse_seeds(asked_for, MOST_FILM_SEEDS if film else MOST_SEEDS)
    except ValueError as error:
        problems.append(f'--seeds: {error}')
    if flags.columns is not None and flags.strip is None:
        problems.append('--columns: only a strip has them: give --strip, or leave them out')
    flags.columns = flags.columns or COLUMNS
    if flags.strip is not None and len(flags.strip) != 2:
        problems.append(f'--strip: {",".join(flags.strip)!r} is no pair of domains, such as sketch,cartoon')
    if film and (len(flags.film) < 2 or len(set(flags.film)) < len(flags.film)):
        problems.append(f'--film: {",".join(flags.film)!r} are not several different domains, such as sketch,cartoon')
    problems += _output_problems(flags.output, flags.domain is None)
    if problems:
        raise ConfigError(problems)
    fill(flags, FILMS, '' if film else 'it is of films: give --film, or leave it out')
    return flags


def _add_film(parser: Parser) -> None:
    add = parser.add_argument_group('films').add_argument
    add('--format', choices=defaults.FILM_FORMATS, default=ABSENT, help='mp4 (the default) is H.264')
    most = defaults.MOST_FRAMES
    add('--frames', type=whole_in(2, most), default=ABSENT, metavar='N', help=f'({FRAMES_PER_DOMAIN} a domain)')
    add('--fps', type=number_in(1.0, defaults.LARGEST_FPS), default=ABSENT, metavar='X', help='frames a second')
    turn, rise = number_in(0.0, defaults.LARGEST_YAW), number_in(-defaults.LARGEST_PITCH, defaults.LARGEST_PITCH)
    add('--yaw', type=turn, default=ABSENT, metavar='RADIANS', help='how far heads turn to either side')
    add(
        '--pitch',
        type=rise,
        default=ABSENT,
        metavar='RADIANS',
        help='how far above the usual height they look from',
    )
    add('--truncation', type=number_in(0.0, 1.0), default=ABSENT, metavar='PSI', help='1 none, 0 the mean')


def _output_problems(output: Path, drawn: bool) -> list[str]:
    """Nothing is written into a directory that holds something else than earlier strips and films."""
    if output.exists() and not output.is_dir():
        return [f'--output: {output} is no directory; give a new one']
    found = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    others = [name for name in found if not drawn or name not in DRAWN]
    return [f'--output: {output} holds {others[0]!r} already; give a new directory'] if others else []


def _take_out(source: 'Subject', named: str, flags: 'argparse.Namespace') -> Path:
    """Writes an ordinary adapter; its adapter.json says of what domains it was made."""
    from adaptation.adapter import WEIGHTS_FILE, load_leaves, save_adapter
    from adaptation.leaves import fingerprint
    from adaptation.provenance import CAMERA, camera_overrides

    generator = source.generator
    leaves = load_leaves(generator, flags.workdir, flags.domain)
    taken = {'adapter': str(flags.workdir), 'domain': flags.domain}
    flags.output.mkdir(parents=True, exist_ok=True)
    record = {'taken_from': taken, 'generator': named, CAMERA: vars(camera_overrides(flags.workdir))}
    save_adapter(flags.output, generator, leaves, fingerprint(generator), record)
    return flags.output / WEIGHTS_FILE


def _codes(flag: str, names: Sequence[str], domains: Sequence[str]) -> 'np.ndarray':
    """The codes of domains [D, K] that a flag names."""
    import numpy as np

    try:
        return np.stack([code_of({name: 1.0}, domains) for name in names])
    except DomainError as error:
        raise ConfigError([f'{flag}: {error}']) from None


def _facts(source: 'Subject', names: Sequence[str], flags: 'argparse.Namespace') -> dict[str, Any]:
    """How a strip or a film is made, for its metadata."""
    from adaptation.leaves import fingerprint

    made_from = {'adapter': str(flags.workdir), 'source': fingerprint(source.generator)}
    return {'domains': names, 'seeds': flags.seeds, **made_from}


def _draw_strip(source: 'Subject', flags: 'argparse.Namespace') -> Path:
    """For each seed a row, the source in front of it; codes from left to right."""
    import jax.numpy as jnp
    import numpy as np

    from adaptation.adapter import load_domains
    from adaptation.domain_images import images_of_codes
    from adaptation.generation.pictures import as_text, save_png
    from adaptation.step import frontal_cameras
    from adaptation.strips import compose, draw

    generator, camera = source.generator, source.camera
    leaves, domains = load_domains(generator, flags.workdir)
    ends = _codes('--strip', flags.strip, domains)
    z = jnp.asarray(latents(flags.seeds, generator.config.z_dim))
    shares = np.linspace(0.0, 1.0, flags.columns)
    codes = jnp.asarray((1 - shares)[:, None] * ends[0] + shares[:, None] * ends[1], jnp.float32)
    frontal = frontal_cameras(len(z), camera)
    own = draw(generator, generator.mapping(z, frontal), camera, min(BATCH, len(z)))
    latent, looking = (jnp.repeat(array, len(codes), axis=0) for array in (z, frontal))
    images = np.asarray(images_of_codes(generator, leaves, jnp.tile(codes, (len(z), 1)), latent, looking, looking))
    images = images.reshape(len(z), len(codes), *images.shape[1:])  # [N codes, S, S, 3] -> [N, codes, S, S, 3]
    first, last = flags.strip
    columns = ['source', first, *(f'{share:.0%} {last}' for share in shares[1:-1]), last]
    rows = [[first_image, *row] for first_image, row in zip(own, images, strict=True)]
    picture = compose(rows, columns, [f'seed {seed}' for seed in flags.seeds])
    save_png(flags.output / STRIP_FILE, picture, as_text(_facts(source, flags.strip, flags)))
    return flags.output / STRIP_FILE


def _film(source: 'Subject', flags: 'argparse.Namespace') -> Path:
    """The heads of all seeds side by side."""
    from adaptation.adapter import load_domains
    from adaptation.domain_films import domain_film_frames
    from adaptation.generation.film_files import check_encoder, write_film
    from adaptation.generation.pictures import film_comment
    from adaptation.generation.progress import Progress
    from eg3d_jax.interrupts import StopRequest

    check_encoder(flags.format)
    leaves, domains = load_domains(source.generator, flags.workdir)
    stations = _codes('--film', flags.film, domains)
    frames = flags.frames or FRAMES_PER_DOMAIN * len(flags.film)
    asked = {'frames': frames, 'yaw': flags.yaw, 'pitch': flags.pitch, 'truncation': flags.truncation}
    path = flags.output / f'{FILM_STEM}.{flags.format}'
    comment = film_comment(_facts(source, flags.film, flags) | asked)
    drawn = domain_film_frames(source.generator, leaves, stations, flags.seeds, camera=source.camera, **asked)
    with StopRequest() as stop, Progress(path.name, frames, 'frame', stop) as progress:
        write_film(path, progress.counting(drawn), flags.fps, comment)
    return path


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
