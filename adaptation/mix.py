"""Mixes adapters of one source generator into a new adapter: source + the weighted sum of their differences from it.

    python -m adaptation.mix --adapters=runs/sketch,runs/ukiyoe --weights=0.5,0.5 --output=runs/mix [--preview]
        [--domain=NAME] [--source=S]

The output is an adapter like any other: its adapter.json says what it was mixed from. Of an adapter that holds several
domains, --domain says which. --preview draws preview.png: heads of the source, of each adapter and of the mix. The
source and the cameras are those of the first adapter's run. Exit codes: 0 finished, 1 failed, 2 flags refused,
130 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.commands import DOMAIN_HELP, Parser, domain_weights, entries, finite_number, run_command
from adaptation.domain_codes import in_words
from adaptation.errors import AdaptationError, ConfigError

if TYPE_CHECKING:
    import argparse

PREVIEW_HEADS = 4
PREVIEW_BATCH = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    return run_command(_mix, argv)


def _mix(arguments: Sequence[str]) -> None:
    parser = Parser('python -m adaptation.mix', __doc__)
    parser.add_argument('--adapters', required=True, metavar='DIR,DIR', help='what is mixed, separated by commas')
    parser.add_argument('--weights', required=True, metavar='X,X', help='a number for each adapter')
    parser.add_argument('--domain', type=domain_weights, metavar='NAME', help=DOMAIN_HELP)
    parser.add_argument('--output', type=Path, required=True, metavar='DIR', help='the adapter that is made')
    parser.add_argument('--source', metavar='S', help='the generator that was adapted, as in config.generator')
    parser.add_argument('--preview', action='store_true', help='draw preview.png as well')
    flags = parser.read(arguments)
    adapters, weights = entries(flags.adapters), _weights(flags.weights)
    if not all(adapters):
        raise ConfigError([f'--adapters: {flags.adapters!r} names an empty one; separate directories by one comma'])

    from adaptation.mixing import mix_adapters  # only now: it imports JAX
    from eg3d_jax import CheckpointError

    try:
        made = mix_adapters(adapters, weights, flags.output, flags.source, flags.domain)
    except CheckpointError as error:
        raise AdaptationError(f'the source cannot be loaded: {error}') from None
    print(f'adapter  {made}', flush=True)
    if flags.preview:
        print(f'preview  {_preview(adapters, weights, flags)}')


def _weights(text: str) -> list[float]:
    try:
        return [finite_number(part) for part in entries(text)]
    except ValueError:
        raise ConfigError([f'--weights: {text!r} is no list of finite numbers, such as 0.5,0.5']) from None


def _preview(adapters: Sequence[str], weights: Sequence[float], flags: 'argparse.Namespace') -> Path:
    """Draws heads in rows: of the source, of each adapter, of the mix."""
    import jax

    from adaptation.adapter import adapter_directory, load_adapted, load_source
    from adaptation.mixing import PREVIEW_FILE, chosen_domains
    from adaptation.provenance import camera_overrides, generator_of, with_overrides
    from adaptation.samples import save_picture
    from adaptation.step import frontal_cameras
    from adaptation.strips import compose, draw

    output = flags.output
    generator = load_source(flags.source or generator_of(adapters[0]))
    camera = with_overrides(camera_overrides(output), generator.config.camera)
    z = jax.random.normal(jax.random.key(0), (PREVIEW_HEADS, generator.config.z_dim))
    columns = [('source', generator)]
    for index, (adapter, domain) in enumerate(zip(adapters, chosen_domains(adapters, flags.domain), strict=True), 1):
        name = adapter_directory(adapter).name if domain is None else in_words(domain)
        columns.append((f'({index}) {name}', load_adapted(generator, adapter, domain)))
    shares = ' '.join(f'{weight:+g} ({index})' for index, weight in enumerate(weights, 1))
    columns.append((shares, load_adapted(generator, output)))
    conditioning = frontal_cameras(len(z), camera)
    drawn = [draw(each, each.mapping(z, conditioning), camera, PREVIEW_BATCH) for _, each in columns]
    rows = list(zip(*drawn, strict=True))
    picture = compose(rows, [name for name, _ in columns], [f'head {n}' for n in range(1, len(rows) + 1)])
    save_picture(output / PREVIEW_FILE, picture)
    return output / PREVIEW_FILE


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
