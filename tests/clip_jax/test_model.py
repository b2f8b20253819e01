"""What the encoders promise beside parity."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_jax import PRESETS, Clip, ClipConfig, TextConfig, VisionConfig, named_weights, preprocess
from clip_jax.transformer import Mlp

TINY = ClipConfig(
    vision=VisionConfig(image_size=16, patch_size=4, width=24, layers=4, heads=3, mlp_width=32),
    text=TextConfig(vocab_size=20, context_length=8, width=16, layers=2, heads=2, mlp_width=24, eos_token_id=19),
    embed_dim=12,
)


@pytest.fixture(scope='module')
def clip(random_clip) -> Clip:
    return random_clip(TINY)


@pytest.fixture(scope='module')
def pixels() -> jax.Array:
    return jax.random.normal(jax.random.key(1), (3, 16, 16, 3))


def test_embeddings_have_unit_norm(clip, pixels):
    image = clip.encode_image(pixels).embedding
    text = clip.encode_text(jnp.array([[1, 5, 19, 19], [1, 6, 7, 19]]))
    assert image.shape == (3, 12)
    assert text.shape == (2, 12)
    np.testing.assert_allclose(jnp.linalg.norm(image, axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(text, axis=-1), 1, rtol=1e-6)


def test_tokens_come_in_the_order_asked_for(clip, pixels):
    encoding = clip.encode_image(pixels, tokens_after=(2, 0, 2))
    assert [tokens.shape for tokens in encoding.tokens] == [(3, 16, 24)] * 3
    (first,) = clip.encode_image(pixels, tokens_after=(0,), embed=False).tokens
    np.testing.assert_array_equal(encoding.tokens[1], first)
    np.testing.assert_array_equal(encoding.tokens[0], encoding.tokens[2])
    assert not np.allclose(encoding.tokens[0], first)


def test_stops_after_the_last_block_needed(clip, pixels):
    """The rest of the network is not in the computation at all."""

    def floating_point_operations(**kwargs):
        encode = jax.jit(lambda x: clip.encode_image(x, **kwargs))
        return encode.lower(pixels).cost_analysis()['flops']

    stopped = floating_point_operations(tokens_after=(1,), embed=False)
    assert stopped < 0.6 * floating_point_operations(tokens_after=(1,))
    assert clip.encode_image(pixels, tokens_after=(1,), embed=False).embedding is None
    assert clip.encode_image(pixels, embed=False) == (None, ())


def test_tokens_run_row_by_row(clip, pixels):
    """A change of the second patch of the first row alone moves that token most, right behind the patch embedding."""
    embeddings = clip.vision_model.embeddings
    moved = embeddings(pixels.at[:, 0:4, 4:8].add(1.0)) - embeddings(pixels)
    changed = np.flatnonzero(np.abs(moved[0]).sum(-1))
    assert changed.tolist() == [2]  # behind the class token and the first patch


def test_gradient_through_preprocessing_is_finite(clip):
    def loss(images):
        encoding = clip.encode_image(preprocess(images, 16), tokens_after=(1,))
        return encoding.embedding[0, 0] + jnp.sum(encoding.tokens[0] ** 2)

    gradient = jax.grad(loss)(0.9 * jnp.sin(jnp.arange(23 * 31 * 3.0)).reshape(1, 23, 31, 3))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_wrong_inputs_are_refused(clip, pixels):
    with pytest.raises(ValueError, match=r'Expected pixels of shape \[N, 16, 16, 3\], got \[3, 12, 12, 3\]'):
        clip.encode_image(pixels[:, :12, :12])
    for block in (-1, 4):
        with pytest.raises(ValueError, match=f'counted from 0 to 3, got {block}'):
            clip.encode_image(pixels, tokens_after=(block,))
    with pytest.raises(ValueError, match='at most 8 tokens a text, got 9'):
        clip.encode_text(jnp.zeros((1, 9), jnp.int32))


@pytest.mark.parametrize(
    ('preset', 'parameters'),
    # ViT-B/32 is held to the reference itself in test_parity.
    [('ViT-B/16', 149_620_737), ('ViT-L/14', 427_616_513), ('ViT-L/14@336', 427_944_193)],
)
def test_presets_have_the_published_sizes(preset, parameters):
    abstract = nnx.eval_shape(lambda: Clip(PRESETS[preset], rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(abstract))) == parameters


@pytest.mark.parametrize(('preset', 'tokens'), [('miniature', 144), ('miniature/16', 64)])
def test_miniature_is_small(preset, tokens):
    config = PRESETS[preset]
    abstract = nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0)))
    assert 0.5e6 < sum(weight.size for weight in jax.tree.leaves(nnx.state(abstract))) < 1.5e6
    assert config.vision.grid**2 == tokens


def test_names_are_the_published_ones(clip):
    names = set(named_weights(clip))
    assert {
        'logit_scale',
        'visual_projection.weight',
        'text_projection.weight',
        'vision_model.embeddings.class_embedding',
        'vision_model.embeddings.patch_embedding.weight',
        'vision_model.embeddings.position_embedding.weight',
        'vision_model.pre_layrnorm.weight',
        'vision_model.encoder.layers.3.self_attn.q_proj.bias',
        'vision_model.encoder.layers.0.layer_norm2.weight',
        'text_model.encoder.layers.1.mlp.fc2.weight',
        'text_model.final_layer_norm.bias',
    } <= names
    assert 'visual_projection.bias' not in names


def test_an_end_of_text_beyond_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match='eos_token_id 20 is not in a vocabulary of 20 tokens'):
        dataclasses.replace(TINY.text, eos_token_id=20)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('heads', 5, 'not a multiple of heads 5'),
        ('patch_size', 5, 'not a multiple of patch_size 5'),
        ('hidden_act', 'relu', "got 'relu'"),
        ('heads', 0, r'VisionConfig\.heads must be positive, got 0'),
        ('mlp_width', -4, r'VisionConfig\.mlp_width must be positive, got -4'),
    ],
)
def test_impossible_configs_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY.vision, **{field: value})


def test_config_survives_json_and_refuses_unknown_fields():
    values = TINY.to_dict()
    assert ClipConfig.from_dict(values) == TINY
    values['vision']['depth'] = values['vision'].pop('layers')
    with pytest.raises(ValueError, match=r"config.vision: unknown field 'depth', missing field 'layers'"):
        ClipConfig.from_dict(values)
    values = TINY.to_dict()
    values['text']['layers'] = '4'
    with pytest.raises(ValueError, match=r"config\.text: layers must be int, got '4'"):
        ClipConfig.from_dict(values)
    values['vision'] = 3
    with pytest.raises(ValueError, match=r'config\.vision must hold fields, got 3'):
        ClipConfig.from_dict(values)


def test_initial_weights_follow_the_seed():
    first, same, other = (Mlp(TINY.vision, rngs=nnx.Rngs(seed)).fc1.weight[...] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)
    np.testing.assert_allclose(np.std(first), (2 * TINY.vision.width) ** -0.5, rtol=0.2)
