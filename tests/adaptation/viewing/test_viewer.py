"""The viewer: what is drawn for a view, the newest request first, and the page in a real browser."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from adaptation.adapter import load_leaves, save_adapter
from adaptation.errors import ConfigError
from adaptation.generation.pictures import read_description, redraw
from adaptation.generation.rendering import look, map_seeds, to_pixels
from adaptation.generation.strength import at_strength
from adaptation.leaves import fingerprint, named_leaves
from adaptation.view import load, main, read_flags
from adaptation.viewing.drawing import Drawing, View, angles, camera_of
from adaptation.viewing.loop import Loop
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.cameras import orbit_cameras

PATIENCE = 60.0  # seconds


@pytest.fixture(scope='session')
def runs(tiny_generator: TriPlaneGenerator, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Directories of two adapters, `dark` and `light`."""
    found = []
    leaves = named_leaves(tiny_generator)
    for name, change in (('dark', -2.0), ('light', 2.0)):
        directory = tmp_path_factory.mktemp('runs') / name
        changed = {leaf: leaves[leaf] + change for leaf in leaves if leaf.startswith('decoder') and 'bias' in leaf}
        directory.mkdir()
        save_adapter(directory, tiny_generator, changed, fingerprint(tiny_generator), {})
        found.append(directory)
    return found


@pytest.fixture(scope='session')
def drawing(tiny_generator: TriPlaneGenerator, runs: list[Path]) -> Drawing:
    return Drawing(tiny_generator, {run.name: load_leaves(tiny_generator, run) for run in runs})


def test_a_view_is_what_its_generator_makes_of_its_head_and_camera(tiny_generator: TriPlaneGenerator, drawing: Drawing):
    view = View(seed=3, style='dark', strength=0.5, yaw=0.2, pitch=-0.1)
    image = drawing.draw(view)
    generator = at_strength(tiny_generator, drawing.adapters['dark'], 0.5)
    camera = orbit_cameras(jnp.array([0.2]), jnp.array([-0.1]), tiny_generator.config.camera)
    (seen,) = look(generator, map_seeds(generator, (3,), view.truncation, drawing.camera), camera, 1)
    np.testing.assert_allclose(camera_of(view, drawing.camera), camera, atol=1e-6)
    assert image.shape == (16, 16, 3)
    assert np.abs(image.astype(int) - to_pixels(seen.images[0])).max() <= 1  # programs round differently
    both = drawing.draw(replace(view, compare=True))
    np.testing.assert_array_equal(both[:, 16:], image)
    np.testing.assert_array_equal(both[:, :16], drawing.draw(replace(view, style='source')))
    others = [replace(view, seed=4), replace(view, yaw=-0.4), replace(view, strength=1.0), replace(view, zoom=2.0)]
    assert all(np.any(drawing.draw(other) != image) for other in (*others, replace(view, truncation=0.2)))
    assert drawing.draw(view, quick=True).shape == image.shape


def test_a_style_with_a_backbone_of_its_own_has_heads_of_its_own(tiny_generator: TriPlaneGenerator, drawing: Drawing):
    leaves = named_leaves(tiny_generator)
    own = {name: leaf + 0.5 for name, leaf in leaves.items() if name.startswith('backbone') and name.endswith('bias')}
    mixed = Drawing(tiny_generator, {'own': own, 'dark': drawing.adapters['dark']})
    camera = camera_of(View(), drawing.camera)
    for strength in (1.0, 0.5):
        view = View(seed=3, style='own', strength=strength)
        generator = at_strength(tiny_generator, own, strength)
        (seen,) = look(generator, map_seeds(generator, (3,), view.truncation, drawing.camera), camera, 1)
        assert np.abs(mixed.draw(view).astype(int) - to_pixels(seen.images[0])).max() <= 1  # programs round differently
    for style in ('source', 'dark'):
        view = View(seed=3, style=style)
        np.testing.assert_array_equal(mixed.draw(view), drawing.draw(view))
        assert np.any(mixed.draw(view) != mixed.draw(replace(view, style='own')))


def test_zoom_is_of_the_focal_length(drawing: Drawing):
    plain, near = (np.asarray(camera_of(View(zoom=zoom), drawing.camera))[0] for zoom in (1.0, 1.5))
    np.testing.assert_allclose(near[[16, 20]], 1.5 * plain[[16, 20]], rtol=1e-6)
    np.testing.assert_array_equal(np.delete(near, (16, 20)), np.delete(plain, (16, 20)))


@pytest.mark.parametrize(('yaw', 'pitch'), [(0.0, 0.0), (0.7, -0.3), (-2.5, 1.0)])
def test_angles_are_those_of_an_orbit(yaw: float, pitch: float):
    camera = np.asarray(orbit_cameras(jnp.array([yaw]), jnp.array([pitch])))[0]
    np.testing.assert_allclose(angles(tuple(camera[[3, 7, 11]].tolist())), (yaw, pitch), atol=1e-5)


class Slow(Drawing):
    """Remembers what it was asked to draw, and waits to be told to go on."""

    def __init__(self, drawing: Drawing):
        super().__init__(drawing.source, drawing.adapters)
        self.asked: list[tuple[int, bool]] = []
        self.go = threading.Event()

    def draw(self, view: View, *, quick: bool = False) -> np.ndarray:
        self.asked.append((view.seed, quick))
        assert self.go.wait(PATIENCE)
        return np.zeros((2, 2, 3), np.uint8)


def test_only_the_newest_request_is_drawn_and_a_still_page_gets_the_fine_picture(drawing: Drawing):
    slow, shown = Slow(drawing), []
    loop = Loop(slow)
    loop.start()
    for seed in range(5):
        loop.ask('page', View(seed=seed), lambda image, view, fine, rate: shown.append((view.seed, fine)))
        wait(lambda: slow.asked)
    slow.go.set()
    wait(lambda: (4, True) in shown)
    loop.stop()
    assert slow.asked == [(0, True), (4, True), (4, False)]
    assert shown == [(0, False), (4, False), (4, True)]
    assert loop.error is None


def test_without_viser_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, 'viser', None)
    monkeypatch.delitem(sys.modules, 'adaptation.viewing.page', raising=False)
    assert main(['--generator=miniature']) == 1
    assert "pip install -e '.[view]'" in capsys.readouterr().err


def test_an_error_ends_the_loop_and_is_kept(drawing: Drawing):
    loop = Loop(drawing)
    loop.start()
    loop.ask('page', View(style='no such'), lambda *_: None)
    wait(lambda: not loop.running)
    assert isinstance(loop.error, KeyError)


def test_flags_are_refused_in_words(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flags, words in (
            ([f'--port={port}'], 'is taken'),
            (['--port=70000'], '1 to 65535'),
            ([f'--workdir={tmp_path / "none"}'], 'no directory'),
            (['--seed=-1'], 'from 0'),
            (['--seed=5000000000'], 'from 0 to 2147483647, got 5000000000'),
        ):
            with pytest.raises(ConfigError, match=words):
                read_flags(flags)


def test_a_run_of_another_generator_is_refused(runs: list[Path], capsys: pytest.CaptureFixture[str]):
    assert main([f'--workdir={runs[0]}', '--generator=miniature']) == 1
    assert 'another generator' in capsys.readouterr().err


def test_adapters_are_named_after_their_runs(tiny_files: Path, runs: list[Path]):
    names = ','.join(map(str, runs))
    loaded = load(read_flags([f'--adapters={names}', f'--generator={tiny_files / "generator"}']))
    assert loaded.styles == ('source', 'dark', 'light')


def wait(holds: Callable[[], Any]) -> None:
    """Until something holds.

    Raises:
        AssertionError: it does not come to.
    """
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


@pytest.fixture
def served(drawing: Drawing) -> Iterator[tuple[str, dict[int, Any]]]:
    """The address of a viewer, and its pages."""
    from adaptation.viewing.page import serve

    server, loop, pages = serve(drawing, View(style='dark'), '127.0.0.1', 18080)
    yield f'http://127.0.0.1:{server.get_port()}', pages
    loop.stop()
    server.stop()
    assert loop.error is None


def in_a_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test of the page in a browser."""
    for mark in (
        pytest.mark.filterwarnings('ignore::DeprecationWarning'),  # of the server's libraries
        pytest.mark.filterwarnings('ignore:Queued a .* on a closed connection:UserWarning'),  # as `serve` does
    ):
        test = mark(test)
    return test


def open_page(tab: Any, address: str, pages: dict[int, Any]) -> Any:
    """The server's side of a page that a browser has opened, once it shows a head."""
    tab.set_default_timeout(1000 * PATIENCE)
    tab.goto(address)
    wait(lambda: pages and next(iter(pages.values())).shown)
    tab.get_by_text('dark · seed 0').wait_for(timeout=1000 * PATIENCE)
    return next(iter(pages.values()))


@in_a_browser
def test_the_page_turns_the_head_and_obeys_its_controls(
    served: tuple[str, dict[int, Any]], browser: Any, tiny_generator: TriPlaneGenerator, drawing: Drawing
):
    address, pages = served
    tab = browser.new_page(viewport={'width': 900, 'height': 600}, accept_downloads=True)
    asked: list[str] = []
    tab.on('request', lambda request: asked.append(request.url))
    page = open_page(tab, address, pages)
    wait(lambda: abs(page.view.yaw) < 0.05)

    tab.mouse.move(250, 300)
    tab.mouse.down()
    for step in range(12):
        tab.mouse.move(250 + 8 * step, 300)
        time.sleep(0.05)
    tab.mouse.up()
    wait(lambda: abs(page.view.yaw) > 0.1)
    wait(lambda: page.shown == page.view and page.fine is not None)

    tab.get_by_text('next', exact=True).click()
    wait(lambda: page.shown.seed == 1)
    tab.locator('input[type=checkbox]:visible').click()
    wait(lambda: page.shown.compare and page.fine is not None and page.fine.shape == (16, 32, 3))
    with tab.expect_download(timeout=1000 * PATIENCE) as download:
        tab.get_by_text('Save picture').click()
    saved = Path(download.value.path())
    with Image.open(saved) as image:
        pixels = np.asarray(image)
    description = read_description(saved)
    assert (description.seed, description.subject, pixels.shape) == (1, 'dark', (16, 32, 3))
    again = redraw(at_strength(tiny_generator, drawing.adapters['dark'], 1.0), description).pixels
    assert np.abs(again.astype(int) - pixels[:, 16:]).max() <= 1  # programs round differently
    tab.get_by_text('From the front').click()
    wait(lambda: abs(page.shown.yaw) < 0.02)
    assert all(url.startswith((address, 'ws://127.0.0.1', 'blob:', 'data:')) for url in asked)


@in_a_browser
def test_style_strength_and_truncation_change_the_picture_and_a_finger_turns_it(
    served: tuple[str, dict[int, Any]], browser: Any
):
    address, pages = served
    context = browser.new_context(viewport={'width': 900, 'height': 600}, has_touch=True)
    tab = context.new_page()
    page = open_page(tab, address, pages)
    seen = [settled(page)]
    for slider, name in ((0, 'strength'), (1, 'truncation')):
        before = getattr(page.view, name)
        tab.get_by_role('slider').nth(slider).focus()
        for _ in range(6):
            tab.keyboard.press('ArrowLeft')
        wait(lambda name=name, before=before: getattr(page.view, name) < before - 0.2)
        seen.append(settled(page))
    tab.locator('input[value=dark]:visible').click()
    tab.get_by_role('option', name='light').click()
    wait(lambda: page.view.style == 'light')
    seen.append(settled(page))
    assert all(np.any(one != other) for one, other in pairwise(seen))

    finger = context.new_cdp_session(tab)
    finger.send('Input.dispatchTouchEvent', {'type': 'touchStart', 'touchPoints': [{'x': 250, 'y': 300}]})
    for step in range(12):
        point = {'x': 250 + 8 * step, 'y': 300}
        finger.send('Input.dispatchTouchEvent', {'type': 'touchMove', 'touchPoints': [point]})
        time.sleep(0.05)
    finger.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
    wait(lambda: abs(page.view.yaw) > 0.1)


def settled(page: Any) -> np.ndarray:
    """The fine picture of what a page asked for last."""
    wait(lambda: page.shown == page.view and page.fine is not None)
    return page.fine
