"""CLIP from Hugging Face or OpenAI -> `config.json` + `weights.safetensors` + tokenizer files for `clip_jax.load_clip`.

    python -m convert.clip --source=clip-vit-base-patch32 --output=vit-b-32
    python -m convert.clip --source=ViT-B-32.pt --output=vit-b-32

The source is a Hugging Face directory (config.json and model.safetensors or pytorch_model.bin, sharded or not),
OpenAI's TorchScript file, or a state dict of either. Nothing in it is executed; see `convert.unpickler`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from clip_jax import Clip, ClipConfig
from clip_jax.tokenizer import TOKENIZER_FILES
from convert import clip_configs, command
from convert.clip_names import HUGGING_FACE, OPENAI
from convert.clip_sources import read_config, read_directory, read_file
from convert.engine import Report, Table, convert_arrays, model_shapes
from convert.errors import ConversionError, naming
from convert.output import CONFIG_FILE, WEIGHTS_FILE, check_output, whole_directory, write_model

KNOWN_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, *TOKENIZER_FILES})
NO_TOKENIZER = 'the source has no tokenizer files, so prompts in words will need some beside the weights'
ASSUMED_ACTIVATION = "QuickGELU is assumed, as in OpenAI's networks: a state dict does not say"


def convert(source: str | Path, output: str | Path, force: bool = False) -> Report:
    """Converts a CLIP with a vision transformer.

    Args:
      source: a Hugging Face directory or a file of weights.
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
        if not source.exists():
            raise ConversionError('does not exist.')
        arrays = read_directory(source) if source.is_dir() else read_file(source)
        config, table, notes = _describe(source, arrays)
        shapes = model_shapes(lambda: Clip(config, rngs=nnx.Rngs(0)))
        arrays, report = convert_arrays(arrays, table, shapes)
    tokenizer = _tokenizer_files(source) if table is HUGGING_FACE else []
    with whole_directory(output) as directory:
        write_model(directory, config.to_dict(), arrays)
        for path in tokenizer:
            shutil.copyfile(path, directory / path.name)
    return dataclasses.replace(report, notes=notes if tokenizer else (*notes, NO_TOKENIZER))


def _describe(source: Path, arrays: Mapping[str, np.ndarray]) -> tuple[ClipConfig, Table, tuple[str, ...]]:
    """The config, the table, and notes, for arrays with the names of either family."""
    if 'visual.layer1.0.conv1.weight' in arrays:
        raise ConversionError('is a CLIP with a ResNet as image encoder; only vision transformers are supported.')
    if 'visual.conv1.weight' in arrays:
        notes = () if 'input_resolution' in arrays else (ASSUMED_ACTIVATION,)
        return clip_configs.from_openai(arrays), OPENAI, notes
    if 'vision_model.embeddings.patch_embedding.weight' in arrays:
        values = read_config(source if source.is_dir() else source.parent)
        return clip_configs.from_hugging_face(values), HUGGING_FACE, ()
    found = ', '.join(list(arrays)[:3])
    raise ConversionError(
        f"is no CLIP: its {len(arrays)} entries have neither Hugging Face's nor OpenAI's names ({found})."
    )


def _tokenizer_files(source: Path) -> list[Path]:
    directory = source if source.is_dir() else source.parent
    return [directory / name for name in TOKENIZER_FILES if (directory / name).is_file()]


if __name__ == '__main__':
    command.run(convert, __doc__, source="a Hugging Face directory, OpenAI's .pt, or a state dict")
