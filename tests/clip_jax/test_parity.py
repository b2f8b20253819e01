"""The port against Hugging Face's PyTorch `CLIPModel` with the same random weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from clip_jax import PRESETS, Clip, ClipConfig, TextConfig, VisionConfig, from_weights

TOLERANCE = 1e-5

SMALL = ClipConfig(
    vision=VisionConfig(image_size=48, patch_size=8, width=48, layers=4, heads=3, mlp_width=96),
    text=TextConfig(vocab_size=99, context_length=12, width=32, layers=3, heads=4, mlp_width=64, eos_token_id=98),
    embed_dim=24,
)


def with_activation(config: ClipConfig, hidden_act: str) -> ClipConfig:
    return dataclasses.replace(
        config,
        vision=dataclasses.replace(config.vision, hidden_act=hidden_act),
        text=dataclasses.replace(config.text, hidden_act=hidden_act),
    )


def with_eos(config: ClipConfig, eos_token_id: int) -> ClipConfig:
    return dataclasses.replace(config, text=dataclasses.replace(config.text, eos_token_id=eos_token_id))


def torch_model(config: ClipConfig) -> transformers.CLIPModel:
    """The reference at these sizes; every weight random, so that no bias or scale is trivial."""

    def tower(sizes):
        return {
            'hidden_size': sizes.width,
            'intermediate_size': sizes.mlp_width,
            'num_hidden_layers': sizes.layers,
            'num_attention_heads': sizes.heads,
            'hidden_act': sizes.hidden_act,
            'layer_norm_eps': sizes.layer_norm_eps,
        }

    vision, text = config.vision, config.text
    model = transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config=tower(vision) | {'image_size': vision.image_size, 'patch_size': vision.patch_size},
            text_config=tower(text)
            | {
                'vocab_size': text.vocab_size,
                'max_position_embeddings': text.context_length,
                'eos_token_id': text.eos_token_id,
            },
            projection_dim=config.embed_dim,
        )
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if 'layer_norm' in name or 'layrnorm' in name or 'layernorm' in name:
                parameter.copy_(0.2 * noise + name.endswith('weight'))
            elif parameter.ndim == 2 and 'embedding' not in name:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
            else:
                parameter.copy_(0.1 * noise)
    return model


def ported(model: transformers.CLIPModel, config: ClipConfig) -> Clip:
    weights = {}
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if name.endswith('patch_embedding.weight'):
            value = value.transpose(2, 3, 1, 0)  # OIHW -> HWIO
        elif value.ndim == 2 and 'embedding' not in name:
            value = value.T  # [out, in] -> [in, out]
        weights[name] = value
    return from_weights(config, weights)


def jitted(clip: Clip, function):
    """`function(clip, x)`, compiled for x; the weights are arguments, since XLA would fold constants for long."""
    graphdef, state = nnx.split(clip)
    return functools.partial(jax.jit(lambda state, x: function(nnx.merge(graphdef, state), x)), state)


def relative_error(actual, expected) -> float:
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    return np.sqrt(np.mean((actual - expected) ** 2)) / np.std(expected)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def random_pixels(config: ClipConfig, count: int) -> np.ndarray:
    size = config.vision.image_size
    return np.random.default_rng(1).standard_normal((count, size, size, 3)).astype(np.float32)


def random_ids(config: ClipConfig, count: int) -> np.ndarray:
    """Texts that end at different places; the end token has the largest id, as in CLIP's vocabulary."""
    rng = np.random.default_rng(2)
    end = config.text.vocab_size - 1
    ids = rng.integers(3, end, (count, config.text.context_length)).astype(np.int32)
    for row, stop in zip(ids, rng.integers(2, config.text.context_length, count), strict=True):
        row[stop:] = end
    return ids


def assert_same(config: ClipConfig, count: int, blocks: tuple[int, ...]) -> None:
    reference = torch_model(config)
    clip = ported(reference, config)
    pixels, ids = random_pixels(config, count), random_ids(config, count)
    with torch.no_grad():
        seen = reference.vision_model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)), output_hidden_states=True)
        image_embedding = unit(reference.visual_projection(seen.pooler_output))
        text_embedding = unit(reference.get_text_features(torch.from_numpy(ids).long()).pooler_output)

    encoding = jitted(clip, lambda clip, x: clip.encode_image(x, tokens_after=blocks))(jnp.asarray(pixels))
    assert relative_error(encoding.embedding, image_embedding) <= TOLERANCE
    for block, tokens in zip(blocks, encoding.tokens, strict=True):
        assert relative_error(tokens, seen.hidden_states[block + 1][:, 1:]) <= TOLERANCE
    assert relative_error(jitted(clip, Clip.encode_text)(jnp.asarray(ids)), text_embedding) <= TOLERANCE


@pytest.mark.parametrize('hidden_act', ['quick_gelu', 'gelu'])
def test_small_model_equals_reference(hidden_act):
    assert_same(with_activation(SMALL, hidden_act), count=3, blocks=(3, 0, 2))


def test_legacy_end_of_text_is_the_largest_id():
    assert_same(with_eos(SMALL, 2), count=3, blocks=())


def test_modern_end_of_text_is_the_first_of_its_id():
    config = with_eos(SMALL, 7)
    reference = torch_model(config)
    ids = random_ids(config, 4)
    ids[ids == 7] = 8
    ids[:, 5], ids[:, 9] = 7, 7
    with torch.no_grad():
        expected = unit(reference.get_text_features(torch.from_numpy(ids).long()).pooler_output)
    encode_text = jitted(ported(reference, config), Clip.encode_text)
    assert relative_error(encode_text(jnp.asarray(ids)), expected) <= TOLERANCE
    cut = encode_text(jnp.asarray(ids[:, :6]))  # nothing behind the end of the text matters
    assert relative_error(cut, expected) <= TOLERANCE


def test_vit_b_32_equals_reference():
    assert_same(PRESETS['ViT-B/32'], count=1, blocks=(3, 11))
