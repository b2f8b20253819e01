"""What is taken from true drawings, and the table of it."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from benchmarks import shortfall
from benchmarks.ground_truth import GroundTruth, Poses
from benchmarks.shortfall import ASPECTS, with_true
from benchmarks.target_domain import Images

RNG = np.random.default_rng(3)


def pictures(scale: float = 0.3) -> Images:
    return (scale * RNG.uniform(-1, 1, (2, 24, 24, 3))).astype(np.float32)


def lightness(images: Images) -> np.ndarray:
    return images @ shortfall.LUMA


@pytest.fixture
def changed() -> tuple[Images, Images, np.ndarray, dict[str, Images]]:
    adapted, truth, head = pictures(), pictures(), np.zeros((2, 24, 24), bool)
    head[:, 6:18, 6:18] = True
    return adapted, truth, head, with_true(adapted, truth, head)


def test_every_aspect_is_made_and_in_range():
    found = with_true(pictures(2.0), pictures(2.0), np.ones((2, 24, 24), bool))
    assert list(found) == list(ASPECTS)
    for images in found.values():
        assert images.dtype == np.float32
        assert np.abs(images).max() <= 1.0


def test_head_and_background_share_the_picture(changed):
    adapted, truth, head, found = changed
    np.testing.assert_array_equal(found['background'][head], adapted[head])
    np.testing.assert_array_equal(found['background'][~head], truth[~head])
    np.testing.assert_array_equal(found['head'][head], truth[head])
    np.testing.assert_array_equal(found['head'][~head], adapted[~head])


def test_colours_and_lightness_share_the_picture(changed):
    adapted, truth, _, found = changed
    np.testing.assert_allclose(lightness(found['lightness']), lightness(truth), atol=1e-5)
    np.testing.assert_allclose(lightness(found['colour']), lightness(adapted), atol=1e-5)
    for aspect, whose in (('lightness', adapted), ('colour', truth)):
        own = found[aspect] - lightness(found[aspect])[..., None]
        np.testing.assert_allclose(own, whose - lightness(whose)[..., None], atol=1e-5)


def test_coarse_forms_and_fine_detail_share_the_picture(changed):
    adapted, truth, _, found = changed
    np.testing.assert_allclose(found['coarse'] + found['fine'], adapted + truth, atol=1e-5)
    flat, everywhere = np.full_like(truth, 0.25), np.ones((2, 24, 24), bool)  # a flat picture has no detail
    for whose, images in (
        (truth, with_true(flat, truth, everywhere)['coarse']),
        (adapted, with_true(adapted, flat, everywhere)['fine']),
    ):
        for index in range(2):
            smooth = ndimage.gaussian_filter(whose[index], (shortfall.FINE, shortfall.FINE, 0))
            np.testing.assert_allclose(images[index], smooth, atol=1e-5)


def test_sharpening_makes_edges_steeper_and_leaves_flat_parts():
    edge = np.full((1, 24, 24, 3), -0.4, np.float32)
    edge[:, :, 12:] = 0.4
    sharpened = with_true(edge, edge, np.ones((1, 24, 24), bool))['sharpened']
    assert sharpened[0, 12, 12, 0] - sharpened[0, 12, 11, 0] > 0.9
    np.testing.assert_allclose(sharpened[:, :, :6], -0.4, atol=1e-3)


def test_a_head_has_its_outline_and_is_as_large_as_in_the_picture():
    depth = np.full((1, 12, 12), np.inf)
    depth[0, 6, 6] = 2.7
    nothing = np.zeros((1, 0))
    images = np.zeros((1, 24, 24, 3), np.float32)
    truth = GroundTruth('sketch', Poses(nothing, nothing), images, depth, {}, nothing, nothing, nothing)
    (head,) = shortfall.heads_of(truth)
    assert head[12:14, 12:14].all()
    rows, columns = np.nonzero(head)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 16, 9, 16)


def record(style: str, least: float) -> dict[str, Any]:
    return {'style': style, 'frechet': {aspect: least + index for index, aspect in enumerate(ASPECTS)}}


def test_the_table_has_a_row_for_each_aspect():
    lines = shortfall.table([record('sketch', 10.0), record('sketch', 20.0), record('cartoon', 5.0)]).splitlines()
    assert lines[0] == '| | sketch | cartoon |'
    assert lines[2] == '| as adapted | 15.0 (10.0 to 20.0) | 5.0 (5.0 to 5.0) |'
    assert len(lines) == 2 + len(ASPECTS)


@pytest.mark.parametrize('samples', ['0', '100', '-64'])
def test_a_number_of_samples_that_cannot_be_is_refused(samples: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        shortfall.main([f'--samples={samples}'])
    assert stopped.value.code == 2
    assert f'--samples: expected a multiple of 64, got {samples}' in capsys.readouterr().err
