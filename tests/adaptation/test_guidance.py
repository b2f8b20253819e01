"""The constants that guide a run, and the encoding of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import clip_jax
from adaptation.guidance import make_guides


def pictures(seed: int, *shape: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), (*shape, 3), minval=-1.0, maxval=1.0)


def test_constants_are_those_of_the_method(tiny_clips: tuple[clip_jax.Clip, ...]):
    reference, source = pictures(0, 20, 20), pictures(1, 2, 3, 16, 16)
    guides = make_guides(tiny_clips, (0, 0), reference, iter(source))
    assert len(guides) == len(tiny_clips) == 2
    for guide, clip in zip(guides, tiny_clips, strict=True):
        encode = jax.jit(lambda clip, images: clip.encode_image(clip_jax.preprocess(images, 16), (0,)))
        expected, embeddings = encode(clip, reference[None]), encode(clip, source.reshape(6, 16, 16, 3)).embedding
        direction = expected.embedding[0] - embeddings.mean(axis=0)
        np.testing.assert_allclose(guide.reference_tokens, expected.tokens[0][0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(guide.domain_direction, direction, rtol=1e-4, atol=1e-5)


def test_without_source_images_the_direction_is_the_reference(tiny_clips: tuple[clip_jax.Clip, ...]):
    (guide,) = make_guides(tiny_clips[:1], (0,), pictures(0, 20, 20), ())
    assert jnp.linalg.norm(guide.domain_direction) == pytest.approx(1, rel=1e-5)


def test_only_what_is_asked_for_is_encoded(tiny_clips: tuple[clip_jax.Clip, ...]):
    (guide,) = make_guides(tiny_clips[:1], (0,), pictures(0, 20, 20), ())
    images = pictures(2, 2, 16, 16)
    assert guide.encode(images, tokens=False, embed=True).tokens == ()
    assert guide.encode(images, tokens=True, embed=False).embedding is None


def test_texts_alone_give_their_own_direction_and_no_tokens(tiny_clips: tuple[clip_jax.Clip, ...]):
    directions = tuple(jax.random.normal(jax.random.key(seed), (8,)) for seed in (3, 4))
    guides = make_guides(tiny_clips, (0, 0), None, (), directions)
    for guide, direction in zip(guides, directions, strict=True):
        assert guide.reference_tokens is None
        np.testing.assert_array_equal(guide.domain_direction, direction)
    with pytest.raises(ValueError, match='give a reference, text_directions, or both'):
        make_guides(tiny_clips, (0, 0), None)


@pytest.mark.parametrize('weight', [0.0, 0.25, 1.0])
def test_picture_and_texts_are_mixed_at_length_one(weight: float, tiny_clips: tuple[clip_jax.Clip, ...]):
    reference, source = pictures(0, 20, 20), pictures(1, 1, 3, 16, 16)
    text = 7 * jax.random.normal(jax.random.key(3), (8,))
    (alone,) = make_guides(tiny_clips[:1], (0,), reference, source)
    (both,) = make_guides(tiny_clips[:1], (0,), reference, source, (text,), weight)
    picture = alone.domain_direction
    expected = (1 - weight) * picture / jnp.linalg.norm(picture) + weight * text / jnp.linalg.norm(text)
    np.testing.assert_allclose(both.domain_direction, expected, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_array_equal(both.reference_tokens, alone.reference_tokens)
