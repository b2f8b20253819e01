"""Published EG3D pickles -> `config.json` + `weights.safetensors` for `eg3d_jax.load_generator`.

    python -m convert.eg3d --source=ffhq512-128.pkl --output=ffhq512-128

Nothing inside the pickle is executed; see `convert.unpickler`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx

import eg3d_jax
from convert import command
from convert.engine import (
    CONVOLUTION,
    FEATURE_MAP,
    LINEAR,
    SAME,
    Ignore,
    Report,
    Table,
    Use,
    convert_arrays,
    model_shapes,
)
from convert.errors import ConversionError, naming
from convert.output import CONFIG_FILE, WEIGHTS_FILE, check_output, whole_directory, write_model
from convert.persistence import Module, read_modules, state_dict
from convert.unpickler import PICKLE_START

NETWORK = 'G_ema'  # the moving average of the generator, which is what one uses
KNOWN_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE})

_TAPS = np.array([1, 3, 3, 1], np.float32)
RESAMPLE_FILTER = np.outer(_TAPS, _TAPS) / _TAPS.sum() ** 2
BLOCK = r'(backbone\.synthesis\.b\d+|superresolution\.block[01])'
LAYER = rf'{BLOCK}\.(conv0|conv1|torgb)'

# Names are the same on both sides; what differs is the layout.
TABLE: Table = (
    Use.one(r'backbone\.mapping\.(embed|fc\d+)\.weight', LINEAR),
    Use.one(r'backbone\.mapping\.((embed|fc\d+)\.bias|w_avg)', SAME),
    Use.one(r'backbone\.synthesis\.b4\.const', FEATURE_MAP),
    Use.one(rf'{LAYER}\.weight', CONVOLUTION),
    Use.one(rf'{LAYER}\.affine\.weight', LINEAR),
    Use.one(rf'{LAYER}\.(affine\.)?bias', SAME),
    Use.one(rf'{BLOCK}\.conv[01]\.(noise_strength|noise_const)', SAME),
    Use.one(r'decoder\.net\.[02]\.weight', LINEAR),
    Use.one(r'decoder\.net\.[02]\.bias', SAME),
    Ignore(r'(.*\.)?resample_filter', 'resample_filter is a constant of the code', RESAMPLE_FILTER),
)


def convert(source: str | Path, output: str | Path, force: bool = False) -> Report:
    """Converts the moving-average generator of a published pickle.

    Args:
      source: the pickle.
      output: the directory to be made; it appears whole or not at all.
      force: replaces `output` if an earlier conversion wrote it.

    Returns:
      What became of every entry of the source.

    Raises:
      ConversionError: in one sentence, what is wrong with the source or the output; nothing was executed or written.
    """
    source, output = Path(source), Path(output)
    check_output(output, force, KNOWN_FILES)
    with naming(source):
        generator = _read_generator(source)
        config, notes = _config(generator)
        shapes = model_shapes(lambda: eg3d_jax.TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
        arrays = state_dict(generator)
        del generator  # the bytes that the arrays were decoded from
        arrays, report = convert_arrays(arrays, TABLE, shapes)
    with whole_directory(output) as directory:
        write_model(directory, config.to_dict(), arrays)
    return dataclasses.replace(report, notes=notes)


def _read_generator(source: Path) -> Module:
    if not source.is_file():
        raise ConversionError('is no file.' if source.exists() else 'does not exist.')
    with source.open('rb') as file:
        start = file.read(8)
        if not start.startswith(PICKLE_START):
            raise ConversionError(f'is no pickle, and so no published EG3D file (it begins with {start!r}).')
        file.seek(0)
        content = read_modules(file)
    if not isinstance(content, Mapping) or NETWORK not in content:
        raise ConversionError(f'has no {NETWORK}, as published EG3D files do; it holds {_contents(content)}.')
    generator = content[NETWORK]
    if not isinstance(generator, Module):
        raise ConversionError(f'is damaged: its {NETWORK} is a {type(generator).__name__}, not a network.')
    if not {'rendering_kwargs', 'neural_rendering_resolution'} <= generator.state.keys():
        raise ConversionError(
            f'holds a {generator.class_name!r} as its {NETWORK}: without a volume renderer, it is no EG3D generator.'
        )
    return generator


def _contents(content: object) -> str:
    """What is inside instead of a generator, in few words."""
    if not isinstance(content, Mapping):
        return f'a {type(content).__name__}'
    names = [str(name) for name in content]
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '') or 'nothing'


def _config(generator: Module) -> tuple[eg3d_jax.GeneratorConfig, tuple[str, ...]]:
    """The generator's config, and notes on what it does not take over."""
    arguments = generator.state.get('_init_kwargs')
    if not isinstance(arguments, dict):
        raise ConversionError(f'is damaged: its {NETWORK} does not say what it was made with (_init_kwargs).')
    # The attribute counts where it differs from the argument: it is what the network ran with last.
    arguments = {**arguments, 'rendering_kwargs': generator.state['rendering_kwargs']}
    resolution = generator.state['neural_rendering_resolution']
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            config = eg3d_jax.GeneratorConfig.from_init_kwargs(arguments, resolution)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise ConversionError(f'holds a network that is not supported: {error}.') from error
    return config, tuple(str(warning.message) for warning in caught)


if __name__ == '__main__':
    command.run(convert, __doc__, source='a published pickle (ffhq512-128.pkl and the like)')
