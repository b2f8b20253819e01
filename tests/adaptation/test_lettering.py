"""Words in pictures: they stay within, long ones are broken into lines, and the texts can be told apart."""

import numpy as np
import pytest

from adaptation.lettering import INK, label, prompt_picture, wrap


def inked(picture: np.ndarray, below: float) -> np.ndarray:
    """[rows, columns] of the pixels darker than this."""
    return picture.mean(axis=-1) < below


def test_the_target_is_dark_and_above_the_source():
    page = prompt_picture('a pencil sketch of a head', 'a photo of a head', 200)
    assert page.shape == (200, 200, 3)
    dark, any_ink = (np.nonzero(inked(page, below))[0] for below in (-0.6, 0.5))
    assert dark.max() < any_ink.max() - 20  # faint lines follow
    assert (page[:8] == 1).all()


@pytest.mark.parametrize('text', ['many ' * 40, 'one' * 30], ids=['many words', 'one long word'])
def test_long_texts_stay_within_the_page(text: str):
    page = prompt_picture(text, 'a photo', 120)
    assert inked(page, 0.5).any()
    edges = [page[0], page[-1], page[:, 0]]
    assert all((edge == 1).all() for edge in edges)


def test_lines_are_broken_between_words():
    lines = wrap('a pencil sketch of a head', 20, 120)
    assert ' '.join(lines) == 'a pencil sketch of a head'
    assert len(lines) > 1


def test_label_fits():
    strip = label('a very long label that has to be small', 90, 18)
    assert strip.shape == (18, 90, 3)
    assert strip.min() < INK[0] + 120
    assert (label('', 10, 10) == 255).all()
