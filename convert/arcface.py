"""ArcFace's IR-SE50 -> `config.json` + `weights.safetensors` for `adaptation.evaluation.arcface.load_arcface`.

    python -m convert.arcface --source=model_ir_se50.pth --output=weights/arcface

The source is the file of InsightFace_Pytorch, which pSp, e4e and StyleCLIP use as well. Nothing in it is executed; see
`convert.unpickler`.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from adaptation.evaluation.arcface import ArcFaceConfig, build_arcface
from convert import cache, command
from convert.engine import CONVOLUTION, LINEAR, SAME, Ignore, Report, Table, Use
from convert.errors import ConversionError
from convert.measuring import Arrays, Kind, convert_state_dict, select
from convert.recognition import describe

KIND, TITLE = 'arcface', "ArcFace's IR-SE50"
UNIT = r'body\.\d+'
KERNEL = rf'(input_layer\.0|{UNIT}\.(shortcut_layer\.0|res_layer\.(1|3|5\.fc1|5\.fc2)))'
NORM = rf'(input_layer\.1|{UNIT}\.(shortcut_layer\.1|res_layer\.[04])|output_layer\.[04])'

TABLE: Table = (
    Use.one(rf'{KERNEL}\.weight', CONVOLUTION),
    Use.one(rf'{NORM}\.(weight|bias|running_mean|running_var)', SAME),
    Use.one(rf'(input_layer\.2|{UNIT}\.res_layer\.2)\.weight', SAME),  # slopes
    Use.one(r'output_layer\.3\.weight', LINEAR),
    Use.one(r'output_layer\.3\.bias', SAME),
    Ignore(rf'{NORM}\.num_batches_tracked', 'num_batches_tracked counts steps of a training'),
)


def _examine(arrays: Arrays, units: int) -> tuple[str, ...]:
    """Refuses relatives: networks without squeeze-and-excitation, and of another depth."""
    bodies = [match for name in arrays if (match := re.match(r'body\.(\d+)\.res_layer\.(5\.)?', name))]
    if bodies and not any(match[2] for match in bodies):
        raise ConversionError(f'is not {TITLE}: {describe(arrays)}.')
    found = max((int(match[1]) + 1 for match in bodies), default=0)
    if found > units:
        raise ConversionError(f'is not {TITLE}: its body has {found} units, expected {units}.')
    return ()


def convert(
    source: str | Path,
    output: str | Path,
    force: bool = False,
    *,
    check: bool = False,
    config: ArcFaceConfig | None = None,
    name: str | None = None,
) -> Report:
    """Converts the face network.

    Args:
      source: see `convert.sources`.
      output: the directory to be made; it appears whole or not at all.
      force: replaces `output` if an earlier conversion wrote it.
      check: reads the output back and compares it with the source, array by array.
      config: the sizes of the source; None: those of the published weights.
      name: what messages and the record call the source; None: `source`.

    Returns:
      What became of every entry of the source.

    Raises:
      ConversionError: in one sentence, what is wrong with the source or the output; nothing was executed or written.
    """
    sizes = config or ArcFaceConfig()
    kind = Kind(KIND, TITLE, TABLE, lambda arrays: _examine(arrays, sum(sizes.units)))
    return convert_state_dict(kind, sizes, lambda: build_arcface(sizes), source, output, force, check, name)


def cached(source: str) -> tuple[Path, Report | None]:
    """The directory of the network, converted once into the cache, and the report if it was only now.

    Raises:
      ConversionError: as `convert` does.
    """
    return cache.converted(source, KIND, convert, select)


def main() -> None:
    """The command line."""

    def run(options: argparse.Namespace) -> Report:
        return convert(options.source, options.output, options.force, check=options.check)

    command.run(command.parser(__doc__), run)


if __name__ == '__main__':
    main()
