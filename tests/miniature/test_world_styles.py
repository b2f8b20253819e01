"""The styles: pictures drawn from the buffers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from miniature import world
from miniature.world import palettes
from miniature.world.styles import marks

pytestmark = pytest.mark.usefixtures('optimised')


@pytest.fixture(scope='module')
def drawn(gallery) -> dict[str, np.ndarray]:
    return gallery.pictures(gallery.side // 2)


@pytest.fixture(scope='module')
def dark_heads(gallery) -> world.Heads:
    """The varied heads with the darkest skin."""
    heads = gallery.heads
    skin = jnp.broadcast_to(jnp.asarray(list(palettes.SKIN.values())[-1]), (gallery.count, 3))
    return dataclasses.replace(heads, colours={**heads.colours, 'skin': skin})


def test_every_style_gives_pictures_in_range(gallery, drawn: dict[str, np.ndarray]):
    assert tuple(drawn) == world.STYLES
    for images in drawn.values():
        assert images.shape == (gallery.count, gallery.side // 2, gallery.side // 2, 3)
        assert np.isfinite(images).all()
        assert images.min() >= -1 - 1e-6 and images.max() <= 1 + 1e-6


def test_styles_look_different(drawn: dict[str, np.ndarray]):
    styles = list(drawn.values())
    for index, images in enumerate(styles):
        for other in styles[:index]:
            assert np.sqrt(np.mean(np.square(images - other))) > 0.1


def test_drawing_is_deterministic_and_one_style_is_drawn_as_among_many(gallery, drawn: dict[str, np.ndarray]):
    for style in ('photo', 'sketch'):
        alone = np.asarray(world.render(gallery.heads, gallery.cameras(), style, gallery.side // 2))
        np.testing.assert_array_equal(alone, drawn[style])


def test_antialiasing_averages_what_is_seen_and_adds_nothing(gallery, drawn: dict[str, np.ndarray]):
    colour = gallery.buffers().colour * 2 - 1
    samples = colour.reshape(gallery.count, gallery.side // 2, 2, gallery.side // 2, 2, 3)
    assert np.all(drawn['photo'] <= samples.max(axis=(2, 4)) + 1e-5)
    assert np.all(drawn['photo'] >= samples.min(axis=(2, 4)) - 1e-5)
    edges = samples.max(axis=(2, 4)) - samples.min(axis=(2, 4)) > 0.5
    between = (drawn['photo'] < samples.max(axis=(2, 4)) - 0.1) & (drawn['photo'] > samples.min(axis=(2, 4)) + 0.1)
    assert np.all(between[edges])


def test_an_unknown_style_is_refused_by_name(gallery):
    for draw in (
        lambda: world.render(gallery.heads, gallery.cameras(), 'fresco', 32),
        lambda: world.render_styles(gallery.heads, gallery.cameras(), 32, styles=('photo', 'fresco')),
    ):
        with pytest.raises(ValueError, match=r'fresco.*sketch'):
            draw()


def test_the_sketch_has_no_colour_but_the_papers(drawn: dict[str, np.ndarray]):
    sketch = (drawn['sketch'] + 1) / 2
    assert (sketch.max(-1) - sketch.min(-1)).max() < 0.08
    background = sketch[:, :4, :4]
    assert background.min() > 0.85


def test_eyes_stay_open_in_every_drawing(gallery, drawn: dict[str, np.ndarray]):
    """Around the eyes, glasses or none, a drawing has light and dark: no black blob."""
    seen = gallery.buffers()
    x, y, z = (seen.point[..., axis] for axis in range(3))
    eyes = seen.mask & (np.abs(np.abs(x) - 0.088) < 0.05) & (np.abs(y - 0.02) < 0.04) & (z > 0.1)
    for style in ('sketch', 'ukiyoe', 'cartoon', 'stained_glass'):
        light = (drawn[style].mean(-1) + 1) / 2
        for head in range(gallery.count):
            where = eyes[head, ::2, ::2]
            assert where.sum() > 8
            values = light[head][where]
            assert np.quantile(values, 0.9) > 0.5, (style, head)
            assert np.mean(values < 0.25) < 0.6, (style, head)


def test_dark_skin_is_not_printed_black(gallery, dark_heads: world.Heads):
    printed = (np.asarray(world.render(dark_heads, gallery.cameras(), 'ukiyoe', gallery.side // 2)) + 1) / 2
    skin = gallery.buffers().part[:, ::2, ::2] == world.Part.SKIN
    assert np.median(printed.mean(-1)[skin]) > 0.55


@pytest.mark.parametrize('width', [1.2, 2.0, 3.0])
@pytest.mark.parametrize('size', [128, 256])
def test_lines_have_their_width_and_soft_edges(width: float, size: int):
    edge = np.zeros((1, size, size), np.float32)
    edge[:, :, size // 2] = 1.0
    line = np.asarray(jax.jit(marks.lines)(edge, width))[0, size // 2]
    assert line.sum() == pytest.approx(width * size / 128, rel=0.15)
    assert line.max() <= 1.0
    assert np.any((line > 0.05) & (line < 0.95))


def test_hatching_grows_with_the_tone():
    coordinate = jnp.linspace(0.0, 1.0, 4096).reshape(1, 64, 64)
    covered = [
        float(marks.hatching(coordinate, 0.1, jnp.full((1, 64, 64), tone)).mean()) for tone in (0.0, 0.3, 0.6, 1.0)
    ]
    assert covered[0] == 0.0
    assert covered == sorted(covered)
    assert 0.4 < covered[-1] < 0.8
