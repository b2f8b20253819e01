"""Frames a second of the viewer: of its drawing, and as they reach a page in a headless browser.

    python -m benchmarks.viewer [--generator=miniature|DIR|FILE] [--seconds=5] [--browser]

Drawing alone: the head turned a little for each frame, quickly (as while it is dragged) and finely (as at rest), one
picture and two side by side. With --browser (Debian's chromium and playwright), a page is dragged for as long: the rate
is that of the pictures sent to it, while the browser itself takes a share of the same cores.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from dataclasses import replace
from typing import Any

from adaptation.adapter import load_source
from adaptation.leaves import matching, named_leaves
from adaptation.viewing.drawing import Drawing, View
from adaptation.viewing.page import serve
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.machine import machine

TURN = 0.4  # radians to either side
PATIENCE = 120.0  # seconds


def make_drawing(generator: str) -> Drawing:
    """The source, and an adapter that changes nothing: it costs what any other does."""
    source = load_source(generator)
    leaves = named_leaves(source)
    trained = [name for part in ('decoder', 'superresolution') for name in matching(tuple(leaves), part)]
    return Drawing(source, {'adapted': {name: leaves[name] for name in trained}})


def drawing_rate(drawing: Drawing, view: View, quick: bool, seconds: float) -> float:
    """Frames a second of a turning head."""
    drawing.draw(view, quick=quick)  # compiles
    started, frames = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        drawing.draw(replace(view, yaw=TURN * math.sin(passed)), quick=quick)
        frames += 1
    return frames / (time.perf_counter() - started)


def browser_rate(drawing: Drawing, seconds: float) -> float:
    """Pictures a second that a page is sent while its head is dragged."""
    from playwright.sync_api import sync_playwright

    server, loop, pages = serve(drawing, View(style='adapted'), '127.0.0.1', 18090)
    flags = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']
    flags += ['--no-sandbox'] if hasattr(os, 'geteuid') and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=flags)
        tab = browser.new_page(viewport={'width': 900, 'height': 600})
        tab.goto(f'http://127.0.0.1:{server.get_port()}')
        tab.get_by_text('seed 0').wait_for(timeout=1000 * PATIENCE)
        page: Any = next(iter(pages.values()))
        shown: list[float] = []
        show = page.show

        def counted(*arguments: Any) -> None:
            shown.append(time.perf_counter())
            show(*arguments)

        page.show = counted
        tab.mouse.move(300, 300)
        tab.mouse.down()
        started = time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            tab.mouse.move(300 + 100 * math.sin(2 * passed), 300)
        tab.mouse.up()
        rate = len([moment for moment in shown if moment - started < seconds]) / seconds
        browser.close()
    loop.stop()
    server.stop()
    return rate


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.viewer', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--generator', default='miniature')
    parser.add_argument('--seconds', type=float, default=5.0, help='of each measurement')
    parser.add_argument('--browser', action='store_true')
    options = parser.parse_args(arguments)
    drawing = make_drawing(options.generator)
    print(machine())
    for compare in (False, True):
        for quick in (True, False):
            rate = drawing_rate(drawing, View(style='adapted', compare=compare), quick, options.seconds)
            what = f'{"side by side" if compare else "one picture"}, {"moving" if quick else "at rest"}'
            print(f'{what:<24}{rate:6.1f} frames/s', flush=True)
    if options.browser:
        print(f'{"in a browser, moving":<24}{browser_rate(drawing, options.seconds):6.1f} frames/s')
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(main())
