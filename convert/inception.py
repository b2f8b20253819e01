"""The InceptionV3 of the Fréchet distance -> `config.json` + `weights.safetensors` for
`adaptation.evaluation.inception.load_inception`.

    python -m convert.inception --source=pt_inception-2015-12-05-6726825d.pth --output=weights/inception
    python -m convert.inception --source=weights-inception-2015-12-05-6726825d.pth --output=weights/inception

The source is the file of pytorch-fid or of torch-fidelity, which hold the same network: TensorFlow's of 2015-12-05.
Nothing in it is executed; see `convert.unpickler`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from adaptation.evaluation.inception import InceptionConfig, build_inception
from convert import cache, command
from convert.engine import CONVOLUTION, SAME, Ignore, Report, Table, Use
from convert.errors import ConversionError
from convert.measuring import Arrays, Kind, convert_state_dict, select
from convert.recognition import describe

CLASSES = 1008  # of the classifier in the file; torchvision's network of the same names has 1000
LAYER = r'(Conv2d_[1-4][ab]_[13]x[13]|Mixed_[5-7][a-e]\.branch\w+)'
NO_CLASSIFIER = f'the source has no classifier (fc), by whose {CLASSES} classes the right network would be known'

TABLE: Table = (
    Use.one(rf'{LAYER}\.conv\.weight', CONVOLUTION),
    Use.one(rf'{LAYER}\.bn\.(weight|bias|running_mean|running_var)', SAME),
    Ignore(rf'{LAYER}\.bn\.num_batches_tracked', 'num_batches_tracked counts steps of a training'),
    Ignore(r'fc\.(weight|bias)', 'the classifier behind the features is not used by any distance'),
)


def _examine(arrays: Arrays) -> tuple[str, ...]:
    """Refuses torchvision's classifier, whose names and shapes are the same and whose pooling is not."""
    classifier = arrays.get('fc.weight')
    if any(name.startswith('AuxLogits.') for name in arrays):
        raise ConversionError(f'is not {KIND.title}: {describe(arrays)}.')
    if classifier is None:
        return (NO_CLASSIFIER,)
    if classifier.shape[:1] != (CLASSES,):
        raise ConversionError(
            f'is not {KIND.title}: its classifier fc.weight is {list(classifier.shape)}, expected {CLASSES} classes; '
            "torchvision's InceptionV3 has 1000, and is another network."
        )
    return ()


KIND = Kind('inception', 'the InceptionV3 of the Fréchet distance', TABLE, _examine)


def convert(
    source: str | Path,
    output: str | Path,
    force: bool = False,
    *,
    check: bool = False,
    config: InceptionConfig | None = None,
    name: str | None = None,
) -> Report:
    """Converts the network of pytorch-fid and torch-fidelity.

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
    sizes = config or InceptionConfig()
    return convert_state_dict(KIND, sizes, lambda: build_inception(sizes), source, output, force, check, name)


def cached(source: str) -> tuple[Path, Report | None]:
    """The directory of the network, converted once into the cache, and the report if it was only now.

    Raises:
      ConversionError: as `convert` does.
    """
    return cache.converted(source, KIND.name, convert, select)


def main() -> None:
    """The command line."""

    def run(options: argparse.Namespace) -> Report:
        return convert(options.source, options.output, options.force, check=options.check)

    command.run(command.parser(__doc__), run)


if __name__ == '__main__':
    main()
