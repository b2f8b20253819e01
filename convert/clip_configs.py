"""The sizes of a CLIP: from Hugging Face's `config.json`, or from the shapes of OpenAI's arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from clip_jax import ClipConfig, TextConfig, VisionConfig
from convert.errors import ConversionError

HEAD_WIDTH = 64  # channels of an attention head in all of OpenAI's vision transformers
MODEL_TYPE = 'clip'

# Hugging Face's names -> ours
TOWER_FIELDS = {
    'hidden_size': 'width',
    'num_hidden_layers': 'layers',
    'num_attention_heads': 'heads',
    'intermediate_size': 'mlp_width',
    'hidden_act': 'hidden_act',
    'layer_norm_eps': 'layer_norm_eps',
}
VISION_FIELDS = {'image_size': 'image_size', 'patch_size': 'patch_size'}
TEXT_FIELDS = {
    'vocab_size': 'vocab_size',
    'max_position_embeddings': 'context_length',
    'eos_token_id': 'eos_token_id',
}


def from_hugging_face(values: Mapping[str, Any]) -> ClipConfig:
    """The config of a `CLIPModel`, from the contents of its `config.json`.

    Raises:
      ConversionError: another kind of model, or sizes that do not fit together.
    """
    if values.get('model_type') != MODEL_TYPE:
        raise ConversionError(f'config.json is of a {values.get("model_type")!r} model, not of {MODEL_TYPE!r}.')
    vision, text = _tower(values, 'vision'), _tower(values, 'text')
    if vision.get('num_channels', 3) != 3:
        raise ConversionError(f'config.json: images have {vision["num_channels"]} channels, expected 3.')
    try:
        return ClipConfig(
            vision=VisionConfig(**_renamed(vision, TOWER_FIELDS | VISION_FIELDS)),
            text=TextConfig(**_renamed(text, TOWER_FIELDS | TEXT_FIELDS)),
            embed_dim=values.get('projection_dim', ClipConfig.embed_dim),
        )
    except (ValueError, TypeError) as error:
        raise ConversionError(f'config.json does not describe a CLIP that is supported: {error}') from error


def _tower(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A tower's fields. Older files have them in two places, of which the second wins."""
    fields: dict[str, Any] = {}
    for key in (f'{name}_config', f'{name}_config_dict'):
        part = values.get(key) or {}
        if not isinstance(part, dict):
            raise ConversionError(f'config.json: {key} is a {type(part).__name__}, not an object.')
        fields |= part
    return fields


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Absent fields keep their defaults, which are the same on both sides: those of ViT-B/32."""
    return {ours: fields[theirs] for theirs, ours in names.items() if theirs in fields}


def from_openai(arrays: Mapping[str, np.ndarray]) -> ClipConfig:
    """The config that OpenAI's arrays, by their names, have the shapes of.

    Raises:
      ConversionError: arrays that are missing, or shapes that no vision transformer of OpenAI's has.
    """
    try:
        width, _, _, patch = arrays['visual.conv1.weight'].shape
        tokens, _ = arrays['visual.positional_embedding'].shape
        context, text_width = arrays['positional_embedding'].shape
        vocab_size, _ = arrays['token_embedding.weight'].shape
        _, embed_dim = arrays['text_projection'].shape
        vision = _openai_tower(arrays, 'visual.transformer.resblocks', width)
        text = _openai_tower(arrays, 'transformer.resblocks', text_width)
        return ClipConfig(
            vision=VisionConfig(image_size=math.isqrt(tokens - 1) * patch, patch_size=patch, **vision),
            text=TextConfig(vocab_size=vocab_size, context_length=context, eos_token_id=vocab_size - 1, **text),
            embed_dim=embed_dim,
        )
    except KeyError as error:
        raise ConversionError(f'has no {error.args[0]}, from whose shape the sizes are known.') from error
    except (ValueError, ArithmeticError) as error:
        raise ConversionError(f'has shapes that no CLIP of OpenAI has: {error}') from error


def _openai_tower(arrays: Mapping[str, np.ndarray], blocks: str, width: int) -> dict[str, Any]:
    indices = {match[1] for name in arrays if (match := re.match(rf'{re.escape(blocks)}\.(\d+)\.', name))}
    mlp_width, _ = arrays[f'{blocks}.0.mlp.c_fc.weight'].shape
    return {
        'width': width,
        'layers': len(indices),
        'heads': width // HEAD_WIDTH,
        'mlp_width': mlp_width,
        'hidden_act': 'quick_gelu',
    }
