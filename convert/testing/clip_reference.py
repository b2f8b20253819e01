"""Compares a converted CLIP with PyTorch's model of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from clip_jax import load_clip

TOLERANCE = 1e-5  # of the root mean square of the difference, over the deviation


def _relative_error(actual: Any, expected: torch.Tensor) -> float:
    difference = np.asarray(actual, np.float64) - expected.double().numpy()
    return float(np.sqrt(np.mean(difference**2)) / np.std(expected.double().numpy()))


def assert_same_embeddings(directory: Path, model: transformers.CLIPModel) -> None:
    """Random pictures and random texts have the same embeddings."""
    clip = load_clip(directory)
    config = clip.config
    rng = np.random.default_rng(1)
    size = config.vision.image_size
    pixels = rng.standard_normal((2, size, size, 3)).astype(np.float32)
    ids = rng.integers(3, config.text.vocab_size - 1, (2, config.text.context_length)).astype(np.int32)
    ids[0, 5:], ids[1, -1] = config.text.vocab_size - 1, config.text.vocab_size - 1
    with torch.no_grad():
        image = model.get_image_features(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).pooler_output
        text = model.get_text_features(torch.from_numpy(ids).long()).pooler_output
    image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image, text))
    encode_image = jax.jit(lambda model, pixels: model.encode_image(pixels).embedding)
    encode_text = jax.jit(lambda model, ids: model.encode_text(ids))
    assert _relative_error(encode_image(clip, jnp.asarray(pixels)), image) <= TOLERANCE
    assert _relative_error(encode_text(clip, jnp.asarray(ids)), text) <= TOLERANCE
    assert float(clip.logit_scale[...]) == model.logit_scale.item()
