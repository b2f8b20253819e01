"""Latents to attributes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from miniature import world
from miniature.world import palettes
from miniature.world.latent import AMOUNTS, CHOICES, PALETTES
from miniature.world.paint import WORN

MANY = 4000


@pytest.fixture(scope='module')
def crowd() -> world.Heads:
    return jax.device_get(world.sample(jax.random.key(1), MANY))


def test_heads_do_not_depend_on_the_scale_of_the_latent():
    z = jax.random.normal(jax.random.key(0), (16, world.LATENT_SIZE))
    one, other = world.attributes(world.from_latent(z)), world.attributes(world.from_latent(3.7 * z))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_attributes_are_named_and_lie_in_the_unit_interval(crowd: world.Heads):
    values = np.asarray(world.attributes(crowd))
    assert values.shape == (MANY, len(world.ATTRIBUTES))
    assert len(set(world.ATTRIBUTES)) == len(world.ATTRIBUTES)
    assert values.min() >= 0 and values.max() <= 1
    assert np.all(values.std(axis=0) > 0.02)


def test_worn_colours_are_seen_where_they_are_worn(crowd: world.Heads):
    """A cap's colour is the headwear's on heads with a cap, and black on all others; the others likewise."""
    worn = np.asarray(world.worn_colours(jax.tree.map(jnp.asarray, crowd))).reshape(MANY, len(WORN), 3)
    for colours, (item, name, values) in zip(np.moveaxis(worn, 1, 0), WORN, strict=True):
        on = np.isin(crowd.choices[name], [list(CHOICES[name]).index(value) for value in values])
        assert 0.05 < on.mean() < 0.95
        assert np.all(colours[~on] == 0)
        assert colours[on].max(axis=1).min() > 0.1
        if item in PALETTES:
            np.testing.assert_array_equal(colours[on], crowd.colours[item][on])
    bands, hats = (np.asarray(world.paired_colours(jax.tree.map(jnp.asarray, crowd)))[:, :3], crowd.colours['headwear'])
    assert np.abs(bands - hats).max(axis=1).min() > 0.1, 'a band is told from its hat'


def test_there_are_two_dozen_independent_attributes(crowd: world.Heads):
    continuous = np.stack([crowd.amounts[name] for name in AMOUNTS])
    chosen = np.stack([crowd.choices[name] for name in CHOICES])
    coloured = np.stack([crowd.colour_index[name] for name in ('skin', *PALETTES)])
    correlation = np.corrcoef(np.concatenate([continuous, chosen, coloured[1:]]).astype(np.float64))
    np.fill_diagonal(correlation, 0)
    assert len(correlation) >= 24
    assert np.abs(correlation).max() < 5 / np.sqrt(MANY)


def test_choices_are_taken_as_often_as_they_should(crowd: world.Heads):
    for name, values in CHOICES.items():
        assert sum(values.values()) == pytest.approx(1.0)
        shares = np.bincount(crowd.choices[name], minlength=len(values)) / MANY
        np.testing.assert_allclose(shares, list(values.values()), atol=0.04)


def test_palette_colours_are_near_the_colour_that_names_them():
    u = jnp.linspace(0.0, 1.0, 501)
    for palette in PALETTES.values():
        colours = np.asarray(list(palette.values()))
        picked, index = np.asarray(palettes.pick(palette, u)), np.asarray(palettes.index(palette, u))
        distance = np.linalg.norm(picked[:, None] - colours, axis=-1)
        assert np.mean(distance.argmin(axis=1) == index) > 0.98
        assert np.mean(distance[np.arange(len(u)), index] < 1e-5) > 0.8  # elsewhere it turns into its neighbour
        assert np.abs(np.diff(picked, axis=0)).max() < 0.2  # and does not jump


def test_classes_index_their_names(crowd: world.Heads):
    classes = world.classes(crowd)
    assert classes.keys() == world.CLASSES.keys()
    for name, index in classes.items():
        assert set(np.unique(index)) == set(range(len(world.CLASSES[name]))), name


def test_one_coordinate_moves_one_attribute():
    z = jnp.zeros((1, world.LATENT_SIZE)).at[0, -1].set(np.sqrt(world.LATENT_SIZE))  # the last one is read by nothing
    still = np.asarray(world.attributes(world.from_latent(z)))[0]
    for coordinate, name in enumerate(AMOUNTS):
        moved = np.asarray(world.attributes(world.from_latent(z.at[0, coordinate].set(0.8))))[0]
        changed = {world.ATTRIBUTES[index] for index in np.flatnonzero(np.abs(moved - still) > 1e-3)}
        assert name in changed
        assert all(other == name or (name == 'skin_tone' and other.startswith('skin_')) for other in changed)
