"""Generators between a source and what it was adapted to."""

import jax.numpy as jnp
import numpy as np
import pytest

import adaptation
import eg3d_jax
from adaptation.leaves import fingerprint, matching, named_leaves, with_leaves

Generator = eg3d_jax.TriPlaneGenerator


@pytest.fixture
def leaves(tiny_generator: Generator) -> dict[str, jnp.ndarray]:
    own = named_leaves(tiny_generator)
    return {name: 0.3 * own[name] + 0.1 for name in matching(tuple(own), 'decoder')}


def test_the_ends_are_exact(tiny_generator: Generator, leaves: dict[str, jnp.ndarray]):
    at_ends = [fingerprint(adaptation.at_strength(tiny_generator, leaves, strength)) for strength in (0.0, 1.0)]
    assert at_ends == [fingerprint(tiny_generator), fingerprint(with_leaves(tiny_generator, leaves))]
    assert at_ends[0] != at_ends[1]


@pytest.mark.parametrize('strength', [0.25, 1.5])
def test_adapted_leaves_lie_on_the_line_and_others_stay(
    strength: float, tiny_generator: Generator, leaves: dict[str, jnp.ndarray]
):
    source = named_leaves(tiny_generator)
    for name, leaf in named_leaves(adaptation.at_strength(tiny_generator, leaves, strength)).items():
        moved = strength * (leaves[name] - source[name]) if name in leaves else 0.0
        np.testing.assert_allclose(leaf - source[name], moved, atol=1e-5, err_msg=name)


@pytest.mark.parametrize('strength', [-0.1, 1.6, float('nan')])
def test_other_strengths_are_refused(strength: float, tiny_generator: Generator):
    with pytest.raises(ValueError, match=r'strength must lie in \[0, 1.5\]'):
        adaptation.at_strength(tiny_generator, {}, strength)
