"""The constants that guide a run, and the encoding of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import clip_jax
from adaptation.guidance import domain_guides, make_guides, whitened


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


def test_whitening_takes_from_a_direction_what_source_images_differ_in():
    embeddings = jnp.asarray([[2.0, 5.0, 1.0], [-2.0, 5.0, 1.0]])  # of variance 4 along the first axis, of none else
    direction = jnp.asarray([6.0, 1.0, -3.0])
    np.testing.assert_allclose(whitened(direction, embeddings, 1.0), [3.0, 1.0, -3.0], rtol=1e-6)
    np.testing.assert_allclose(whitened(direction, embeddings, 2.0), [2.0, 1.0, -3.0], rtol=1e-6)
    twice = whitened(direction, 2 * embeddings, 2.0)  # how much they differ is measured by how much they do
    np.testing.assert_allclose(twice, [2.0, 1.0, -3.0], rtol=1e-6)


@pytest.mark.parametrize(('count', 'strength'), [(0, 3.0), (1, 3.0), (4, 0.0)])
def test_a_direction_stays_where_nothing_is_known_or_asked(count: int, strength: float):
    embeddings = jax.random.normal(jax.random.key(5), (4, 3))[:count]
    direction = jnp.asarray([6.0, 1.0, -3.0])
    np.testing.assert_array_equal(whitened(direction, embeddings, strength), direction)


def test_a_picture_guides_along_its_whitened_direction(tiny_clips: tuple[clip_jax.Clip, ...]):
    reference, source = pictures(0, 20, 20), pictures(1, 2, 3, 16, 16)
    plain, found = (make_guides(tiny_clips, (0, 0), reference, source, whitening=w) for w in (0.0, 3.0))
    domains = domain_guides(tiny_clips, (0, 0), [pictures(2, 20, 20), reference], source, 3.0)[1]
    for before, guide, same, clip in zip(plain, found, domains, tiny_clips, strict=True):
        seen = clip.encode_image(clip_jax.preprocess(source.reshape(6, 16, 16, 3), 16)).embedding
        expected = whitened(before.domain_direction, seen, 3.0)
        assert jnp.abs(expected - before.domain_direction).max() > 1e-3
        np.testing.assert_allclose(guide.domain_direction, expected, rtol=1e-4, atol=1e-5)  # float32
        np.testing.assert_allclose(same.domain_direction, expected, rtol=1e-4, atol=1e-5)
