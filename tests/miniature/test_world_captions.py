"""Captions, classes and prompts."""

import jax
import numpy as np
import pytest

from miniature import world
from miniature.world.latent import CHOICES


@pytest.fixture(scope='module')
def crowd() -> world.Heads:
    return jax.device_get(world.sample(jax.random.key(3), 1500))


def words(text: str) -> list[str]:
    return text.replace(',', '').split()


def test_the_vocabulary_is_closed_and_small(crowd: world.Heads):
    vocabulary = set(world.vocabulary())
    assert len(vocabulary) <= 250
    rng = np.random.default_rng(0)
    for style in world.STYLE_PHRASES:
        assert {word for caption in world.captions(crowd, style, rng) for word in words(caption)} <= vocabulary
    for name in ('style', 'hair_colour', 'clothes_colour', 'background_colour', 'eye_colour', 'skin'):
        assert {word for prompt in world.class_prompts(name) for word in words(prompt)} <= vocabulary


def test_captions_name_the_style_and_vary(crowd: world.Heads):
    captions = world.captions(crowd, 'sketch', np.random.default_rng(0))
    assert all(caption.startswith('a pencil sketch of a head with ') for caption in captions)
    assert len(set(captions)) > 0.99 * len(captions)
    counts = {caption.count(',') + 2 for caption in captions}
    assert counts == {3, 4, 5, 6}


def test_captions_are_reproducible(crowd: world.Heads):
    one, other = (world.captions(crowd, 'photo', np.random.default_rng(5)) for _ in range(2))
    assert one == other


def test_captions_say_what_is_true(crowd: world.Heads):
    captions = world.captions(crowd, 'photo', np.random.default_rng(1))
    classes = world.classes(crowd)
    glasses, headwear = list(CHOICES['glasses']), list(CHOICES['headwear'])
    mentioned = 0
    for head, caption in enumerate(captions):
        hair = world.CLASSES['hair_colour'][classes['hair_colour'][head]]
        for colour in world.CLASSES['hair_colour']:
            if f' {colour} hair' in caption:
                assert colour == hair
                mentioned += 1
        if 'glasses' in caption:
            assert f'{glasses[classes["glasses"][head]]} glasses' in caption
        for kind in ('headband', 'beanie', 'cap', 'hat'):
            if kind in words(caption):
                assert headwear[classes['headwear'][head]] == kind
        if 'a big smile' in caption:
            assert crowd.amounts['smile'][head] > 0.75
    assert mentioned > 100


def test_prompts_follow_the_classes():
    assert len(world.class_prompts('style')) == len(world.STYLE_PHRASES)
    assert set(world.STYLES) <= set(world.STYLE_PHRASES)
    for name in ('hair_colour', 'clothes_colour'):
        prompts = world.class_prompts(name)
        assert len(prompts) == len(world.CLASSES[name])
        assert all(colour in prompt for colour, prompt in zip(world.CLASSES[name], prompts, strict=True))


def test_unknown_names_are_refused(crowd: world.Heads):
    with pytest.raises(ValueError, match=r'fresco.*sketch'):
        world.captions(crowd, 'fresco', np.random.default_rng(0))
    with pytest.raises(ValueError, match=r'shoes.*clothes_colour'):
        world.class_prompts('shoes')
