"""The sizes of a CLIP: from Hugging Face's `config.json`, or from the shapes of OpenAI's and OpenCLIP's arrays, with
what `open_clip_config.json` says besides."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from clip_jax import ClipConfig, TextConfig, VisionConfig
from clip_jax.config import ACTIVATIONS
from clip_jax.preprocessing import MEAN, STD
from convert.errors import ConversionError, shown
from convert.lazy_arrays import Arrays

# Channels of an attention head, which no shape says: 64 in all of OpenAI's networks, and in most of OpenCLIP's. The
# others are known by their width: ViT-H/14, ViT-g/14 and ViT-bigG/14.
HEAD_WIDTH = 64
HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}
QUICK_GELU, GELU = ACTIVATIONS
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
        raise ConversionError(f'config.json is of a {shown(values.get("model_type"))} model, not of {MODEL_TYPE!r}.')
    vision, text = _tower(values, 'vision'), _tower(values, 'text')
    if vision.get('num_channels', 3) != 3:
        raise ConversionError(f'config.json: images have {shown(vision["num_channels"])} channels, expected 3.')
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


def from_original(
    arrays: Arrays, activation: str, text: str = '', open_clip: Mapping[str, Any] | None = None
) -> ClipConfig:
    """The config that arrays with OpenAI's names have the shapes of.

    Args:
      arrays: by their names.
      activation: of both towers.
      text: what is in front of the text tower's names.
      open_clip: the contents of an `open_clip_config.json`, for the number of heads.

    Raises:
      ConversionError: arrays that are missing, shapes that no vision transformer of theirs has, or a config that asks
        for what is not supported.
    """
    try:
        settings = {} if open_clip is None else _open_clip_settings(open_clip)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConversionError(f'open_clip_config.json has values of an unexpected kind: {error}.') from error
    try:
        width, _, _, patch = arrays['visual.conv1.weight'].shape
        tokens, _ = arrays['visual.positional_embedding'].shape
        context, text_width = arrays[f'{text}positional_embedding'].shape
        vocab_size, _ = arrays[f'{text}token_embedding.weight'].shape
        _, embed_dim = arrays[f'{text}text_projection'].shape
        vision_heads = _heads(width, settings.get('vision_head_width', HEAD_WIDTHS.get(width, HEAD_WIDTH)))
        text_heads = settings.get('text_heads') or _heads(text_width, HEAD_WIDTH)
        towers = (
            ('visual.transformer.resblocks', width, vision_heads),
            (f'{text}transformer.resblocks', text_width, text_heads),
        )
        vision, words = (_original_tower(arrays, *tower) | {'hidden_act': activation} for tower in towers)
        config = ClipConfig(
            vision=VisionConfig(image_size=math.isqrt(tokens - 1) * patch, patch_size=patch, **vision),
            text=TextConfig(vocab_size=vocab_size, context_length=context, eos_token_id=vocab_size - 1, **words),
            embed_dim=embed_dim,
        )
        _check_open_clip_sizes(config, open_clip or {})
        return config
    except KeyError as error:
        raise ConversionError(f'has no {error.args[0]}, from whose shape the sizes are known.') from error
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConversionError(f'has shapes that no CLIP of OpenAI has: {error}') from error


def _heads(width: int, head_width: int) -> int:
    if width % head_width:
        raise ValueError(f'a width of {width} has no heads of {head_width} channels.')
    return width // head_width


def _original_tower(arrays: Arrays, blocks: str, width: int, heads: int) -> dict[str, Any]:
    indices = {match[1] for name in arrays if (match := re.match(rf'{re.escape(blocks)}\.(\d+)\.', name))}
    mlp_width, _ = arrays[f'{blocks}.0.mlp.c_fc.weight'].shape
    return {'width': width, 'layers': len(indices), 'heads': heads, 'mlp_width': mlp_width}


# What an `open_clip_config.json` may say without changing what is computed here: what the shapes say as well, and what
# matters in training alone.
OPEN_CLIP_TOWERS = {
    'vision_cfg': {'image_size', 'layers', 'width', 'head_width', 'patch_size', 'mlp_ratio', 'patch_dropout'},
    'text_cfg': {'context_length', 'vocab_size', 'width', 'heads', 'layers', 'mlp_ratio'},
}
OPEN_CLIP_MODEL = {'embed_dim', 'quick_gelu', 'custom_text', *OPEN_CLIP_TOWERS}


def _check_open_clip_sizes(config: ClipConfig, values: Mapping[str, Any]) -> None:
    """Where an `open_clip_config.json` gives a size, the shapes must have it."""
    model = _open_clip_model(values)
    differing = [] if model.get('embed_dim', config.embed_dim) == config.embed_dim else ['embed_dim']
    for name, tower in (('vision_cfg', config.vision), ('text_cfg', config.text)):
        fields = model.get(name) or {}
        ours = dataclasses.asdict(tower)
        differing += [f'{name}.{field}' for field in fields if field in ours and fields[field] != ours[field]]
    if differing:
        raise ValueError(f'open_clip_config.json has other sizes than the arrays: {", ".join(differing)}.')


def open_clip_activation(values: Mapping[str, Any]) -> str:
    """The activation that an `open_clip_config.json` asks for.

    Raises:
      ConversionError: it is damaged.
    """
    return QUICK_GELU if _open_clip_model(values).get('quick_gelu', False) else GELU


def _open_clip_model(values: Mapping[str, Any]) -> Mapping[str, Any]:
    model = values.get('model_cfg', values)
    if not isinstance(model, dict):
        raise ConversionError(f'open_clip_config.json: model_cfg is a {type(model).__name__}, not an object.')
    return model


def _open_clip_settings(values: Mapping[str, Any]) -> dict[str, int]:
    """What the shapes do not say; refuses what this port does not compute."""
    model = _open_clip_model(values)
    towers = {name: model.get(name) or {} for name in OPEN_CLIP_TOWERS}
    unknown = [name for name in model if name not in OPEN_CLIP_MODEL and model[name]]
    for name, known in OPEN_CLIP_TOWERS.items():
        if not isinstance(towers[name], dict):
            raise ConversionError(f'open_clip_config.json: {name} is a {type(towers[name]).__name__}, not an object.')
        unknown += [f'{name}.{field}' for field, value in towers[name].items() if field not in known and value]
    if unknown:
        raise ConversionError(f'open_clip_config.json asks for {", ".join(unknown)}, which this port does not have.')
    pixels = values.get('preprocess_cfg') or {}
    for field, ours in (('mean', MEAN), ('std', STD)):
        if field in pixels and not np.allclose(pixels[field], ours, atol=1e-3):
            raise ConversionError(f"open_clip_config.json: images have a {field} that is not CLIP's {ours}.")
    vision, text = towers['vision_cfg'], towers['text_cfg']
    found = {'vision_head_width': vision.get('head_width', HEAD_WIDTH), 'text_heads': text.get('heads')}
    return {name: int(value) for name, value in found.items() if value}
