"""The report in a real browser: nothing broken, nothing loaded, nothing cut off; on a screen, a phone, paper."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from adaptation.reporting.heads import CANDIDATES
from adaptation.reporting.page import STRIP, number

HEADS, TURNING = 2, 2  # in the report of conftest.py
PHONE, DESKTOP, PAPER = 375, 1280, 695  # CSS pixels; paper: A4 less the margins
CONTRAST = 4.5  # what WCAG asks of text
A4 = (595, 842)  # points

# Elements that reach over a side of the window, or text over its own box.
OVERFLOWING = """() => [...document.body.querySelectorAll('*')].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || element.closest('svg')) return false;
  return box.left < -0.5 || box.right > document.documentElement.clientWidth + 0.5
    || element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== 'inline';
}).map(element => element.outerHTML.slice(0, 200))"""

LABELS_CUT_OFF = """() => [...document.querySelectorAll('svg text')].filter(text => {
  const box = text.getBBox(), frame = text.ownerSVGElement.viewBox.baseVal;
  return box.x < 0 || box.y < 0 || box.x + box.width > frame.width || box.y + box.height > frame.height;
}).map(text => text.textContent)"""

# Text and background colour of each element that has text of its own.
COLOURS = """() => [...document.body.querySelectorAll('*')].filter(
  element => [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim())
).map(element => {
  const style = getComputedStyle(element);
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  return [element.closest('svg') ? style.fill : style.color, getComputedStyle(behind).backgroundColor];
})"""


@pytest.fixture(scope='module')
def open_page(chromium: Browser, report: Path) -> Iterator[Callable[..., Page]]:
    """Callable: (width) -> the report at this width, opened once; what went wrong on the way fails the test."""
    pages: dict[int, Page] = {}
    told: list[str] = []

    def opened(width: int) -> Page:
        if width not in pages:
            page = chromium.new_page(viewport={'width': width, 'height': 800})
            page.on('console', lambda message: told.append(f'console: {message.text}'))
            page.on('pageerror', lambda error: told.append(f'error: {error}'))
            page.on('request', lambda request: told.append(f'request: {request.url[:100]}'))
            page.goto(report.as_uri(), wait_until='load')
            pages[width] = page
        loaded = [what for what in told if not what.startswith('request: data:image/')]
        assert loaded == [f'request: {report.as_uri()}'] * len(pages)
        return pages[width]

    yield opened
    for page in pages.values():
        page.close()


@pytest.fixture
def evaluation(run_directory: Path) -> dict[str, Any]:
    return json.loads((run_directory / 'evaluation' / 'evaluation.json').read_text())


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours 'rgb(r, g, b)', as WCAG defines it."""
    lights = []
    for colour in (first, second):
        parts = [int(part) / 255 for part in re.findall(r'\d+', colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_every_picture_is_there(open_page: Callable[..., Page]):
    pictures = open_page(DESKTOP).evaluate(
        """async () => { const images = [...document.images];
        await Promise.all(images.map(image => image.decode()));
        return images.map(image => [image.naturalWidth, image.naturalHeight, image.alt]); }"""
    )
    assert len(pictures) == 1 + 2 * 2 * HEADS + TURNING * (1 + 2 * (STRIP))
    assert all(width > 0 and height > 0 and alt for width, height, alt in pictures)


@pytest.mark.parametrize('width', [PHONE, DESKTOP])
def test_nothing_is_cut_off(width: int, open_page: Callable[..., Page]):
    page = open_page(width)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate(LABELS_CUT_OFF) == []
    sizes = page.evaluate(
        "[...document.querySelectorAll('p, dd, td, th, figcaption')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12, 'readable'


def test_source_stands_above_adapted(open_page: Callable[..., Page]):
    for grid in ('#curated', '#random'):
        heads = open_page(PHONE).locator(f'{grid} .head')
        assert heads.count() == HEADS
        for head in heads.all():
            source, adapted = (head.locator('img').nth(index).bounding_box() for index in (0, 1))
            assert source is not None
            assert adapted is not None
            assert adapted['x'] == source['x']
            assert adapted['y'] >= source['y'] + source['height'] - 0.5
            assert source['width'] >= 60, 'CSS pixels'


def test_metrics_are_those_of_the_file(open_page: Callable[..., Page], evaluation: dict[str, Any]):
    page = open_page(DESKTOP)
    rows = page.locator('#metrics tbody tr')
    assert rows.count() == len(evaluation['metrics'])
    for row, metric in zip(rows.all(), evaluation['metrics'], strict=True):
        assert row.get_attribute('data-name') == metric['name']
        value = row.locator('data')
        assert float(value.get_attribute('value') or 'nan') == metric['value']
        assert value.inner_text() == number(float(metric['value']))
        heading = row.locator('th').inner_text()
        assert metric['title'] in heading, 'as text, whatever it holds'
        assert metric['about'] in page.locator('.notes').inner_text()
        assert {'lower': '↓', 'higher': '↑', None: ''}[metric['better']] in heading
        if metric['interval']:
            assert row.locator('.interval').inner_text() == ' to '.join(map(number, metric['interval']))
        else:
            assert row.locator('.interval').count() == 0
    assert evaluation['machine'] in page.locator('.measures').inner_text()
    assert page.locator('#evaluate').count() == 0


def test_the_papers_numbers_and_their_caveat(open_page: Callable[..., Page]):
    reported = open_page(DESKTOP).locator('#reported')
    assert [row.inner_text().split() for row in reported.locator('tbody tr').all()] == [
        ['Cartoons', '132.6'],
        ['Sketches', '59.59'],
        ['Ukiyo-e', '118.7'],
    ]
    assert 'another generator, other references, other sets of target images' in reported.locator('..').inner_text()


def test_texts_from_files_stay_texts(open_page: Callable[..., Page], run_directory: Path):
    page = open_page(DESKTOP)
    assert page.locator('script').count() == 0
    assert page.title() == 'run: a 3D generator adapted to one picture'
    config = json.loads((run_directory / 'config.json').read_text())
    facts, fields = (page.locator(selector).inner_text() for selector in ('.facts', '.fields'))
    assert config['reference']['image'] in facts
    assert config['reference']['image'] in fields
    phase = next(name for name in config['phases'] if '<script>' in name)
    assert f'phases.{phase}.learning_rate' in fields
    label = page.locator('.chart .phase + text').nth(1).text_content() or ''
    assert label.startswith('phase2<script>')
    assert label.endswith('…'), 'as much of it as there is room for'


def test_a_browser_is_told_to_load_nothing(open_page: Callable[..., Page]):
    policy = open_page(DESKTOP).locator('meta[http-equiv="Content-Security-Policy"]').get_attribute('content')
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_losses(open_page: Callable[..., Page]):
    charts = open_page(DESKTOP).locator('.chart')
    assert charts.locator('h3').all_inner_texts() == [
        'All losses, weighted',
        'Domain direction (DDR)',
        'Target distribution (TDL)',
        'Image structure (ISSM)',
        'Feature structure (FSSM)',
    ]
    assert [chart.locator('.smooth').count() for chart in charts.all()] == [2, 2, 2, 2, 1], 'a curve a phase'
    assert [chart.locator('.phase').count() for chart in charts.all()] == [2] * 5
    captions = charts.locator('figcaption').all_inner_texts()
    assert captions[0] == '3 at first, 0.6 at last'
    assert captions[4] == '0.1 at first, 10 at last; logarithmic scale'


def test_the_rule_and_the_commands_are_said(open_page: Callable[..., Page]):
    page = open_page(DESKTOP)
    assert f'Of {CANDIDATES * HEADS} heads, the half whose change' in page.locator('.opening').inner_text()
    assert '--config=run_config.py' in page.locator('#reproduce').inner_text()
    assert 'def get_config():' in page.locator('#config-file').inner_text()
    assert f'--heads={HEADS}' in page.locator('footer').inner_text()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_is_readable_by_day_and_by_night(scheme: Any, open_page: Callable[..., Page]):
    page = open_page(DESKTOP)
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate(COLOURS)
    page.emulate_media(color_scheme='light')
    assert len(colours) > 50
    assert min(contrast(*pair) for pair in colours) >= CONTRAST
    bright = contrast(colours[0][1], 'rgb(0, 0, 0)') > 10
    assert bright == (scheme == 'light')


def test_nothing_moves_for_those_who_ask(open_page: Callable[..., Page]):
    page = open_page(DESKTOP)
    moving = page.locator('.clip img').first.evaluate('image => image.currentSrc')
    page.emulate_media(reduced_motion='reduce')
    page.wait_for_function("before => document.querySelector('.clip img').currentSrc !== before", arg=moving)
    still = page.locator('.clip img').first.evaluate('image => image.currentSrc')
    page.emulate_media(reduced_motion='no-preference')
    assert still == page.locator('.clip source').first.get_attribute('srcset')
    assert len(still) < len(moving)


def test_on_paper(open_page: Callable[..., Page]):
    page = open_page(PAPER)
    page.emulate_media(media='print', color_scheme='dark')
    assert page.evaluate(OVERFLOWING) == []
    assert page.evaluate(LABELS_CUT_OFF) == []
    assert page.locator('.clip').first.is_hidden(), 'paper does not move'
    assert page.locator('.turn').first.locator('.view:visible').count() == STRIP
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    paper = page.pdf(prefer_css_page_size=True, print_background=True)
    sizes = re.findall(rb'/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+) ?\]', paper)
    assert 1 <= len(sizes) <= 6
    for width, height in sizes:
        assert (float(width), float(height)) == pytest.approx(A4, abs=1)
