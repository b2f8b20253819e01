"""Takes a style out of a run of several domains, and draws the way from one domain to another.

    python -m adaptation.domain --workdir=runs/three_styles --domain=sketch --output=runs/taken
    python -m adaptation.domain --workdir=runs/three_styles --strip=sketch,cartoon --output=runs/strip [--seeds=0-3]
        [--columns=7]

--domain is a name, or weights such as 'sketch:0.5,ukiyoe:0.5'; what is written is an adapter like any other, for every
command that takes one. --strip draws strip.png: the same heads in rows, the domains named at both ends and, between,
codes at equal steps. Exit codes: 0 finished, 1 failed, 2 flags refused, 130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.commands import Parser, entries, run_command
from adaptation.domain_codes import DomainError, code_of, parse_code
from adaptation.errors import AdaptationError, ConfigError
from adaptation.generation.seeds import latents, parse_seeds

if TYPE_CHECKING:
    import argparse

    from eg3d_jax import TriPlaneGenerator

STRIP_FILE = 'strip.png'
MOST_SEEDS, MOST_COLUMNS = 64, 21
BATCH = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    return run_command(_domain, argv)


def _domain(arguments: Sequence[str]) -> None:
    flags = _parse(arguments)

    from adaptation.adapter import load_source  # only now: it imports JAX
    from adaptation.provenance import generator_of
    from eg3d_jax import CheckpointError

    named = flags.source or generator_of(flags.workdir)
    try:
        source = load_source(named)
    except CheckpointError as error:
        raise AdaptationError(f'the source cannot be loaded: {error}') from None
    if flags.strip is not None:
        print(_draw_strip(source, flags))
    else:
        print(f'adapter  {_take_out(source, named, flags)}')


def _parse(arguments: Sequence[str]) -> 'argparse.Namespace':
    parser = Parser('python -m adaptation.domain', __doc__)
    add = parser.add_argument
    add('--workdir', type=Path, required=True, metavar='DIR', help='of a run of several domains, or its adapter')
    add('--domain', metavar='NAME', help="what is taken out: a name, or weights as in 'sketch:0.5,ukiyoe:0.5'")
    add('--strip', metavar='NAME,NAME', help='from which domain to which a strip is drawn')
    add('--output', type=Path, required=True, metavar='DIR', help='a new directory, or that of an earlier strip')
    add('--source', metavar='S', help='the generator that was adapted (default: the one that the run names)')
    add('--seeds', default='0-3', metavar='N-N', help="of the strip's heads: '7', '0-15', '3,5,8' (default 0-3)")
    add('--columns', type=int, default=7, metavar='N', help='codes in a strip (default 7)')
    flags = parser.read(arguments)
    problems = []
    if (flags.domain is None) == (flags.strip is None):
        problems.append('--domain: give either it, to take a style out, or --strip')
    try:
        flags.code = parse_code(flags.domain) if flags.domain is not None else None
    except DomainError as error:
        problems.append(f'--domain: {error}')
    try:
        flags.seeds = parse_seeds(flags.seeds, MOST_SEEDS)
    except ValueError as error:
        problems.append(f'--seeds: {error}')
    if flags.strip is not None and len(entries(flags.strip)) != 2:
        problems.append(f'--strip: {flags.strip!r} is no pair of domains, such as sketch,cartoon')
    if not 2 <= flags.columns <= MOST_COLUMNS:
        problems.append(f'--columns: must lie in [2, {MOST_COLUMNS}]')
    problems += _output_problems(flags.output, flags.strip is not None)
    if problems:
        raise ConfigError(problems)
    return flags


def _output_problems(output: Path, strip: bool) -> list[str]:
    """Nothing is written into a directory that holds something else than an earlier strip."""
    if output.exists() and not output.is_dir():
        return [f'--output: {output} is no directory; give a new one']
    found = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    others = [name for name in found if not strip or name != STRIP_FILE]
    return [f'--output: {output} holds {others[0]!r} already; give a new directory'] if others else []


def _take_out(source: 'TriPlaneGenerator', named: str, flags: 'argparse.Namespace') -> Path:
    """Writes an ordinary adapter; its adapter.json says of what domains it was made."""
    from adaptation.adapter import WEIGHTS_FILE, load_leaves, save_adapter
    from adaptation.leaves import fingerprint

    leaves = load_leaves(source, flags.workdir, flags.code)
    taken = {'adapter': str(flags.workdir), 'domain': flags.code}
    flags.output.mkdir(parents=True, exist_ok=True)
    save_adapter(flags.output, source, leaves, fingerprint(source), {'taken_from': taken, 'generator': named})
    return flags.output / WEIGHTS_FILE


def _draw_strip(source: 'TriPlaneGenerator', flags: 'argparse.Namespace') -> Path:
    """For each seed a row, the source in front of it; codes from left to right."""
    import jax.numpy as jnp
    import numpy as np

    from adaptation.adapter import load_domains
    from adaptation.domain_images import images_of_codes
    from adaptation.samples import save_picture
    from adaptation.step import frontal_cameras
    from adaptation.strips import compose, draw

    leaves, domains = load_domains(source, flags.workdir)
    first, last = entries(flags.strip)
    try:
        ends = [code_of({name: 1.0}, domains) for name in (first, last)]
    except DomainError as error:
        raise ConfigError([f'--strip: {error}']) from None
    camera = source.config.camera
    z = jnp.asarray(latents(flags.seeds, source.config.z_dim))
    shares = np.linspace(0.0, 1.0, flags.columns)
    codes = jnp.asarray((1 - shares)[:, None] * ends[0] + shares[:, None] * ends[1], jnp.float32)
    frontal = frontal_cameras(len(z), camera)
    own = draw(source, source.mapping(z, frontal), camera, min(BATCH, len(z)))
    latent, looking = (jnp.repeat(array, len(codes), axis=0) for array in (z, frontal))
    images = np.asarray(images_of_codes(source, leaves, jnp.tile(codes, (len(z), 1)), latent, looking, looking))
    images = images.reshape(len(z), len(codes), *images.shape[1:])  # [N codes, S, S, 3] -> [N, codes, S, S, 3]
    columns = ['source', first, *(f'{share:.0%} {last}' for share in shares[1:-1]), last]
    rows = [[first_image, *row] for first_image, row in zip(own, images, strict=True)]
    save_picture(flags.output / STRIP_FILE, compose(rows, columns, [f'seed {seed}' for seed in flags.seeds]))
    return flags.output / STRIP_FILE


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
