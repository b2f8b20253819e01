"""An EG3D network -> `config.json` + `weights.safetensors` for `eg3d_jax.load_generator` or `load_discriminator`.

    python -m convert.eg3d --source=ffhq512-128.pkl --output=weights/ffhq
    python -m convert.eg3d --source=ffhq512-128.pkl --output=weights/ffhq_D --network=D
    python -m convert.eg3d --source=state.safetensors --output=weights/ffhq --preset=ffhq512-128

The source is a published pickle or one of a descendant, or a state dict of PyTorch. Nothing in it is executed; see
`convert.unpickler`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from flax import nnx

import eg3d_jax
from convert import cache, command
from convert.conversion import Source, write
from convert.eg3d_names import DISCRIMINATOR, GENERATOR
from convert.eg3d_sources import NETWORKS, PUBLISHED, EG3DConfig, read_network
from convert.engine import Report, refuse_endless
from convert.errors import ConversionError
from convert.output import MODEL_FILES, check_output
from convert.sources import Selection, fetch, only_one, reading

ENDINGS = ('.pkl', '.pickle', '.pt', '.pth', '.safetensors')


def convert(
    source: str | Path,
    output: str | Path,
    force: bool = False,
    *,
    check: bool = False,
    network: str = NETWORKS[0],
    preset: str | None = None,
    name: str | None = None,
) -> Report:
    """Converts one network of an EG3D file.

    Args:
      source: see `convert.sources`.
      output: the directory to be made; it appears whole or not at all.
      force: replaces `output` if an earlier conversion wrote it.
      check: reads the output back and compares it with the source, array by array.
      network: 'G_ema' (the generator's moving average, which is what one uses), 'G' or 'D' (the dual discriminator).
      preset: which network a source without constructor arguments is of: a name of `PUBLISHED` or of
        `eg3d_jax.PRESETS`, or the path of a `config.json`.
      name: what messages and the record call the source; None: `source`.

    Returns:
      What became of every entry of the source.

    Raises:
      ConversionError: in one sentence, what is wrong with the source or the output; nothing was executed or written.
    """
    if network not in NETWORKS:
        raise ConversionError(f'there is no network {network!r}; expected one of {", ".join(NETWORKS)}.')
    output = Path(output)
    check_output(output, force, MODEL_FILES)
    path = fetch(source, select)
    name = str(source) if name is None else name
    with reading(name, path), ExitStack() as files:
        read = read_network(path, network, preset, files)
        refuse_endless(_mapping_layers(read.config), read.arrays)
        described = Source(
            name=name,
            path=path,
            size=path.stat().st_size,
            kind='discriminator' if network == 'D' else 'generator',
            config=read.config,
            build=lambda: build(read.config),
            arrays=read.arrays,
            table=DISCRIMINATOR if network == 'D' else GENERATOR,
            record={'network': network},
            notes=read.notes,
        )
        return write(described, output, check)


def cached(source: str) -> tuple[Path, Report | None]:
    """The directory of a generator, converted once into the cache, and the report if it was only now.

    Raises:
      ConversionError: as `convert` does.
    """
    return cache.converted(source, 'generator', convert, select)


def _mapping_layers(config: EG3DConfig) -> int:
    return config.mapping_layers if isinstance(config, eg3d_jax.DiscriminatorConfig) else config.mapping.num_layers


def build(config: EG3DConfig) -> nnx.Module:
    """The network of a config, with random weights."""
    if isinstance(config, eg3d_jax.DiscriminatorConfig):
        return eg3d_jax.DualDiscriminator(config, rngs=nnx.Rngs(0))
    return eg3d_jax.TriPlaneGenerator(config, rngs=nnx.Rngs(0))


def select(names: Sequence[str], named: str | None) -> Selection:
    """The one file of a folder that is an EG3D network."""
    main = named or only_one([name for name in names if name.endswith(ENDINGS)], f'EG3D file ({", ".join(ENDINGS)})')
    return Selection((main,), main)


def main() -> None:
    """The command line."""
    parser = command.parser(__doc__)
    parser.add_argument('--network', choices=NETWORKS, default=NETWORKS[0], help='of the file; default: %(default)s')
    parser.add_argument(
        '--preset', help=f'of a source without constructor arguments: {", ".join(PUBLISHED)}, or a file'
    )

    def run(options: argparse.Namespace) -> Report:
        settings = {'check': options.check, 'network': options.network, 'preset': options.preset}
        return convert(options.source, options.output, options.force, **settings)

    command.run(parser, run)


if __name__ == '__main__':
    main()
