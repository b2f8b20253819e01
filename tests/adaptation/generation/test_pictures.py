"""Pictures that can be made again from their metadata, their depth maps, and grids of them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adaptation
import eg3d_jax
from adaptation.generation.depths import decode_depth, depth_picture, encode_depth
from adaptation.generation.grids import GAP, LARGEST_TILE, compose, tile
from adaptation.generation.pictures import Picture, read_description, redraw, save_png
from adaptation.generation.poses import closed_path, fan
from adaptation.generation.rendering import bytes_per_view
from adaptation.leaves import named_leaves, with_leaves

Generator = eg3d_jax.TriPlaneGenerator


@pytest.fixture(scope='module')
def drawn(tiny_generator: Generator) -> list[Picture]:
    """Two views each of seeds 4 and 2, a batch of two at a time."""
    return list(adaptation.pictures(tiny_generator, [4, 2], views=2, truncation=0.6, batch_size=2, subject='adapted'))


def test_order_and_poses(drawn: list[Picture]):
    assert [picture.description.seed for picture in drawn] == [4, 4, 2, 2]
    assert [picture.description.yaw for picture in drawn] == pytest.approx([-0.4, 0.4] * 2)
    assert all(picture.pixels.shape == (16, 16, 3) and picture.depth.shape == (8, 8) for picture in drawn)
    for one, other in itertools.combinations(drawn, 2):
        assert np.abs(one.depth - other.depth).max() > 1e-4 or one.pixels.tolist() != other.pixels.tolist()


def test_a_picture_is_made_again_from_its_file(drawn: list[Picture], tiny_generator: Generator, tmp_path: Path):
    save_png(tmp_path / 'picture.png', drawn[3].pixels, drawn[3].description.text())
    description = read_description(tmp_path / 'picture.png')
    assert description == drawn[3].description
    with Image.open(tmp_path / 'picture.png') as stored:
        assert stored.text['Software'].startswith('3d-adapter-jax')
        np.testing.assert_array_equal(stored, drawn[3].pixels)
    again = redraw(tiny_generator, description)
    # Another batch is another program, whose sums are rounded otherwise: a grey level at most.
    np.testing.assert_allclose(again.pixels.astype(int), drawn[3].pixels, atol=1)
    np.testing.assert_allclose(again.depth, drawn[3].depth, atol=1e-4)


def test_another_generator_does_not_make_it_again(drawn: list[Picture], tiny_generator: Generator):
    bias = 'decoder.net.0.bias'
    other = with_leaves(tiny_generator, {bias: named_leaves(tiny_generator)[bias] + 1e-3})
    with pytest.raises(adaptation.AdaptationError, match='seed 2 was made with another generator'):
        redraw(other, drawn[3].description)


def test_a_picture_of_something_else_is_refused(tmp_path: Path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'other.png')
    with pytest.raises(adaptation.AdaptationError, match=r'other\.png is no picture of'):
        read_description(tmp_path / 'other.png')


def test_depth_comes_back_from_its_file(tmp_path: Path):
    rendering = eg3d_jax.RenderingConfig()
    depth = np.linspace(2.25, 3.3, 64, dtype=np.float32).reshape(8, 8)
    levels, text = encode_depth(depth, rendering)
    save_png(tmp_path / 'depth.png', levels, text)
    with Image.open(tmp_path / 'depth.png') as stored:
        assert stored.mode == 'I;16'
        np.testing.assert_allclose(decode_depth(np.asarray(stored), stored.text), depth, atol=2e-5)


def test_depth_to_look_at_is_white_near():
    shown = depth_picture(np.repeat(np.linspace(2.0, 3.0, 8, dtype=np.float32), 8).reshape(8, 8), 16)
    assert shown.shape == (16, 16)
    assert (shown[0, 0], shown[-1, 0]) == (255, 0)
    assert (np.diff(shown[:, 5].astype(int)) <= 0).all()


def test_grid_shows_heads_from_above_to_below():
    def flat(grey: int) -> np.ndarray:
        return np.full((8, 8, 3), grey, np.uint8)

    grid = compose([[[flat(10), flat(20)], [flat(30), flat(40)]], [[flat(50), flat(60)], [flat(70), flat(80)]]])
    assert grid.shape == (4 * 8 + GAP, 16, 3)
    assert grid[[4, 12, 20 + GAP, 28 + GAP]][:, [4, 12], 0].tolist() == [[10, 20], [30, 40], [50, 60], [70, 80]]
    assert (grid[16 : 16 + GAP] == 255).all()
    assert tile(np.zeros((600, 600, 3), np.uint8)).shape == (LARGEST_TILE, LARGEST_TILE, 3)


def test_poses_of_views_and_films():
    camera = eg3d_jax.CameraConfig(yaw_mean=0.1)
    np.testing.assert_allclose(fan(3, 0.4, 0.2, camera), [[-0.3, 0.2], [0.1, 0.2], [0.5, 0.2]])
    np.testing.assert_allclose(fan(1, 0.4, 0.0, camera), [[0.1, 0.0]])
    swayed = closed_path(40, 0.4, 0.0, camera)
    assert np.abs(swayed[:, 0] - 0.1).max() == pytest.approx(0.4)
    steps = np.linalg.norm(np.diff(np.concatenate([swayed, swayed[:1]]), axis=0), axis=1)
    assert steps.max() < 1.05 * np.sort(steps)[-2] < 0.1  # from the last frame to the first it is no jump
    around = closed_path(8, 0.4, 0.0, eg3d_jax.preset('shapenetcars128_64').camera)
    np.testing.assert_allclose(np.diff(around[:, 0]), np.pi / 4)


def test_larger_networks_are_taken_to_need_more():
    small, large = (bytes_per_view(eg3d_jax.preset(name)) for name in ('miniature', 'ffhq512_128'))
    assert 2**26 < small < large < 2**33
