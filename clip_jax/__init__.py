"""CLIP in JAX: image and text encoders, differentiable preprocessing, pictures and tokenizers from files."""

from clip_jax.checkpoint import from_weights, load_clip, named_weights, save_clip
from clip_jax.config import PRESETS, ClipConfig, TextConfig, VisionConfig
from clip_jax.images import ImageError, load_image
from clip_jax.model import Clip, ImageEncoding
from clip_jax.preprocessing import preprocess
from clip_jax.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    'PRESETS',
    'Clip',
    'ClipConfig',
    'ImageEncoding',
    'ImageError',
    'TextConfig',
    'Tokenizer',
    'VisionConfig',
    'from_weights',
    'load_clip',
    'load_image',
    'load_tokenizer',
    'named_weights',
    'preprocess',
    'save_clip',
]
