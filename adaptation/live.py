"""A run watched from a notebook: its newest sample picture and its loss curves, redrawn while it trains.

with watch('runs/sketch'):
    adaptation.run(config, 'runs/sketch')
"""

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from adaptation.reporting.charts import TITLES
from adaptation.reporting.records import Line, read_lines
from adaptation.workdir import Workdir

SECONDS = 2.0  # between two looks at the directory
CHART_WIDTH, CHART_HEIGHT = 2.6, 2.2  # inches of one loss


@contextmanager
def watch(workdir: str | Path, seconds: float = SECONDS) -> Iterator[None]:
    """Shows a run in the notebook's cell while the block trains it, and at its end.

    Args:
        workdir: the run's directory; it need not exist yet.
        seconds: between two looks at it.

    Raises:
        ImportError: IPython or matplotlib is not installed.
    """
    view = _View(Workdir(Path(workdir)))
    done = threading.Event()

    def look() -> None:
        while not done.wait(seconds):
            view.update()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        view.update()


class _View:
    """Two places in a cell's output: the picture and the curves."""

    def __init__(self, workdir: Workdir):
        from IPython.display import HTML, display

        self._workdir = workdir
        self._picture: Any = display(HTML('waiting for the first picture'), display_id=True)
        self._curves: Any = display(HTML(''), display_id=True)
        self._shown: Path | None = None
        self._logged = 0

    def update(self) -> None:
        """Redraws what is new."""
        from IPython.display import Image

        samples = sorted(self._workdir.sample(0).parent.glob('*.png'))
        if samples and samples[-1] != self._shown:
            self._shown = samples[-1]
            self._picture.update(Image(data=self._shown.read_bytes()))
        lines = read_lines(self._workdir.metrics)
        if len(lines) > self._logged:
            self._logged = len(lines)
            self._curves.update(Image(data=loss_curves(lines)))


def loss_curves(lines: Sequence[Line]) -> bytes:
    """The logged losses over the steps as a PNG: one chart a loss, one colour a phase.

    Args:
        lines: the logged steps, in their order; one at least.
    """
    from matplotlib.figure import Figure

    names = [name for name in TITLES if any(name in line.values for line in lines)]
    figure = Figure(figsize=(CHART_WIDTH * len(names), CHART_HEIGHT), layout='constrained')
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for phase, group in groupby(lines, lambda line: line.phase):
            points = [(line.step, line.values[name]) for line in group if name in line.values]
            if points:
                axes.plot(*zip(*points, strict=True), marker='.', label=phase)
        axes.set_title(TITLES[name], fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xlabel('step', fontsize=8)
    figure.axes[0].legend(fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, format='png', dpi=80)
    return content.getvalue()
