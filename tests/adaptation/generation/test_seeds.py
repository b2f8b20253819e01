"""Seeds: how they are written, and that each stands for one latent."""

import numpy as np
import pytest

from adaptation.generation.seeds import FORMS, latents, parse_seeds


@pytest.mark.parametrize(
    ('text', 'seeds'),
    [('7', (7,)), ('0-3', (0, 1, 2, 3)), ('3,5,8', (3, 5, 8)), ('8, 0-2,1', (8, 0, 1, 2)), ('4-4', (4,))],
)
def test_forms(text: str, seeds: tuple[int, ...]):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize('text', ['', 'a-b', '5-2', '1,,2', '-1', '1-', '1.5', '0-1-2'])
def test_what_names_no_seeds_is_refused_with_the_forms(text: str):
    with pytest.raises(ValueError, match='0-15') as error:
        parse_seeds(text)
    assert FORMS in str(error.value)


@pytest.mark.parametrize(('text', 'reason'), [('4294967296', 'smaller than'), ('0-4000000000', 'more than 100,000')])
def test_what_is_too_much_is_refused(text: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        parse_seeds(text)


def test_a_latent_depends_on_its_seed_alone():
    together = latents([0, 7, 3], 5)
    np.testing.assert_array_equal(together[1:2], latents([7], 5))
    np.testing.assert_allclose(together[0, :3], [1.764052, 0.400157, 0.978738], atol=1e-6)  # NumPy's published stream
    assert together.dtype == np.float32
