"""CLIP from Hugging Face, OpenAI or OpenCLIP -> `config.json` + `weights.safetensors` + tokenizer files for
`clip_jax.load_clip` and `clip_jax.load_tokenizer`.

    python -m convert.clip --source=hf://openai/clip-vit-base-patch32 --output=weights/clip32
    python -m convert.clip --source=ViT-B-16.pt --output=weights/clip16
    python -m convert.clip --source=open_clip_pytorch_model.bin --output=weights/h14 --activation=gelu

The source is a directory of Hugging Face's (config.json and model.safetensors or pytorch_model.bin, sharded or not) or
OpenCLIP's (open_clip_model.safetensors or open_clip_pytorch_model.bin), OpenAI's TorchScript file, or a state dict of
any of these. Nothing in it is executed; see `convert.unpickler`.
"""

from __future__ import annotations

import argparse
import dataclasses
from contextlib import ExitStack
from pathlib import Path

from flax import nnx

from clip_jax import Clip, ClipConfig
from clip_jax.config import ACTIVATIONS
from clip_jax.tokenizer import TOKENIZER_FILES
from convert import cache, clip_configs, command, vocabulary
from convert.clip_configs import GELU, QUICK_GELU
from convert.clip_names import HUGGING_FACE, ORIGINAL, ORIGINAL_WITH_TEXT_MODULE, TEXT_PREFIX
from convert.clip_sources import (
    CONFIG_FILE,
    OPEN_CLIP_CONFIG_FILE,
    OPEN_CLIP_FILES,
    WEIGHT_FILES,
    ClipFiles,
    read_clip,
    select,
)
from convert.conversion import Source, write
from convert.engine import Report, Table, refuse_endless
from convert.errors import ConversionError
from convert.output import MODEL_FILES, check_output
from convert.sources import fetch, reading

KNOWN_FILES = MODEL_FILES | frozenset(TOKENIZER_FILES)
NO_TOKENIZER = 'the source has no tokenizer files, so prompts in words will need some beside the weights'
STANDARD_TOKENIZER = "the source has no tokenizer files; CLIP's standard vocabulary was put beside the weights"
ASSUMED = '{} is assumed, as in {}: the source does not say (--activation tells it)'


def convert(
    source: str | Path,
    output: str | Path,
    force: bool = False,
    *,
    check: bool = False,
    activation: str | None = None,
    name: str | None = None,
) -> Report:
    """Converts a CLIP with a vision transformer.

    Args:
      source: see `convert.sources`.
      output: the directory to be made; it appears whole or not at all.
      force: replaces `output` if an earlier conversion wrote it.
      check: reads the output back and compares it with the source, array by array.
      activation: 'quick_gelu' or 'gelu', whatever the source says; None: as it says.
      name: what messages and the record call the source; None: `source`.

    Returns:
      What became of every entry of the source.

    Raises:
      ConversionError: in one sentence, what is wrong with the source or the output; nothing was executed or written.
    """
    output = Path(output)
    check_output(output, force, KNOWN_FILES)
    path = fetch(source, select)
    name = str(source) if name is None else name
    with reading(name, path), ExitStack() as opened:
        files = read_clip(path, opened)
        config, table, notes = _describe(files, name, activation)
        tokenizer, note = _tokenizer(files, config)
        described = Source(
            name=name,
            path=path,
            size=files.weights.size,
            kind='clip',
            config=config,
            build=lambda: Clip(config, rngs=nnx.Rngs(0)),
            arrays=files.weights.arrays,
            table=table,
            notes=(*notes, *note),
            files=tokenizer,
        )
        return write(described, output, check)


def cached(source: str) -> tuple[Path, Report | None]:
    """The directory of a CLIP, converted once into the cache, and the report if it was only now.

    Raises:
      ConversionError: as `convert` does.
    """
    return cache.converted(source, 'clip', convert, select)


def _describe(files: ClipFiles, name: str, activation: str | None) -> tuple[ClipConfig, Table, tuple[str, ...]]:
    """The config, the table, and notes."""
    arrays = files.weights.arrays
    if 'visual.layer1.0.conv1.weight' in arrays:
        raise ConversionError('is a CLIP with a ResNet as image encoder; only vision transformers are supported.')
    if 'visual.conv1.weight' in arrays:
        open_clip = files.config(OPEN_CLIP_CONFIG_FILE) if files.name in WEIGHT_FILES else None
        decided, notes = _activation(files, name, open_clip) if activation is None else (activation, ())
        separate = f'{TEXT_PREFIX}text_projection' in arrays
        text = TEXT_PREFIX if separate else ''
        table = ORIGINAL_WITH_TEXT_MODULE if separate else ORIGINAL
        return clip_configs.from_original(arrays, decided, text, open_clip), table, notes
    if 'vision_model.embeddings.patch_embedding.weight' in arrays:
        values = files.config(CONFIG_FILE)
        if values is None:
            raise ConversionError(f'has no {CONFIG_FILE}.')
        config = clip_configs.from_hugging_face(values)
        refuse_endless(max(config.vision.layers, config.text.layers), arrays)
        return config if activation is None else with_activation(config, activation), HUGGING_FACE, ()
    found = ', '.join(list(arrays)[:3])
    raise ConversionError(
        f"is no CLIP: its {len(arrays)} entries have neither Hugging Face's nor OpenAI's names ({found})."
    )


def _activation(files: ClipFiles, name: str, open_clip: dict | None) -> tuple[str, tuple[str, ...]]:
    """The activation of a source with OpenAI's names, and a note where it does not say.

    OpenAI's networks have QuickGELU. OpenCLIP's have GELU unless their config, or their name, says otherwise.
    """
    weights = files.weights
    if weights.script:
        return QUICK_GELU, ()
    if open_clip is not None:
        return clip_configs.open_clip_activation(open_clip), ()
    if 'quickgelu' in name.lower().replace('-', '').replace('_', ''):
        return QUICK_GELU, (ASSUMED.format('QuickGELU', 'the name of the source'),)
    width = set(weights.arrays['visual.conv1.weight'].shape[:1])
    wide = bool(width & clip_configs.HEAD_WIDTHS.keys())  # none of these is OpenAI's
    if files.name in OPEN_CLIP_FILES or weights.parallel or 'epoch' in weights.beside or wide:
        return GELU, (ASSUMED.format('GELU', "most of OpenCLIP's networks"),)
    return QUICK_GELU, (ASSUMED.format('QuickGELU', "OpenAI's networks"),)


def with_activation(config: ClipConfig, activation: str) -> ClipConfig:
    """The config with another activation in both towers."""
    vision = dataclasses.replace(config.vision, hidden_act=activation)
    return dataclasses.replace(config, vision=vision, text=dataclasses.replace(config.text, hidden_act=activation))


def _tokenizer(files: ClipFiles, config: ClipConfig) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The tokenizer files of the output, and a note where they are not the source's."""
    found = files.tokenizer
    if found:
        return found, ()
    if config.text.vocab_size != vocabulary.SIZE:
        return {}, (NO_TOKENIZER,)
    try:
        return vocabulary.standard_files(), (STANDARD_TOKENIZER,)
    except ConversionError as error:
        return {}, (f'{NO_TOKENIZER} ({error})',)


def main() -> None:
    """The command line."""
    parser = command.parser(__doc__)
    parser.add_argument('--activation', choices=ACTIVATIONS, help='of both towers, whatever the source says')

    def run(options: argparse.Namespace) -> Report:
        return convert(
            options.source, options.output, options.force, check=options.check, activation=options.activation
        )

    command.run(parser, run)


if __name__ == '__main__':
    main()
