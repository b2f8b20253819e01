"""Charts of what a run logged, as coordinates that the page's template draws as SVG.

P logged steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Float

from adaptation.config import PhaseConfig
from adaptation.reporting.records import Line

TITLES = {
    'loss': 'All losses, weighted',
    'dir': 'Domain direction (DDR)',
    'dis': 'Target distribution (TDL)',
    'istr': 'Image structure (ISSM)',
    'fstr': 'Feature structure (FSSM)',
    'fine': 'Fine detail',
    'crisp': 'Crispness',
    'palette': 'Palette',
    'edges': 'New edges',
    'pair': 'Pair',
}
WIDTH, HEIGHT = 340, 180  # of a chart, in pixels where it is not scaled
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 18, 20  # margins for the labels
POINTS = 300  # of a line, at most; more are averaged
WINDOW = 1 / 12  # of a phase, over which a line is smoothed
LOG_RATIO = 20  # values that differ by a larger factor are drawn on a logarithmic scale
TICKS = 4  # about
CHARACTER = 6.5  # pixels of a label's letter, generously
DECADE = (1, 2, 5, 10)

_Curve = tuple[Float[np.ndarray, 'P'], Float[np.ndarray, 'P']]  # steps and values


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in pixels."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """One loss over the whole run.

    Attributes:
        name: as logged.
        title: for people.
        logarithmic: whether the values' scale is.
        first: the value first logged.
        last: the mean of the last values, over the window that lines are smoothed by.
        lines: for each phase, the points 'x,y x,y ...' of its values.
        smooth: the same of the smoothed values.
        steps: ticks of the horizontal axis.
        values: ticks of the vertical axis.
        phases: where each phase starts, labelled with its name.
    """

    name: str
    title: str
    logarithmic: bool
    first: float
    last: float
    lines: tuple[str, ...]
    smooth: tuple[str, ...]
    steps: tuple[Tick, ...]
    values: tuple[Tick, ...]
    phases: tuple[Tick, ...]


def draw_charts(lines: Sequence[Line], phases: dict[str, PhaseConfig]) -> tuple[Chart, ...]:
    """A chart for each loss that was logged; none where nothing was.

    Args:
        lines: the logged steps, in their order.
        phases: of the run, in their order.
    """
    logged = {name for line in lines for name in line.values}
    return tuple(_draw(name, lines, phases) for name in TITLES if name in logged)


@dataclass(frozen=True)
class _Frame:
    """From steps and values to pixels.

    Attributes:
        low, high: values at the bottom and at the top.
        total: the step at the right.
        logarithmic: whether the values' scale is.
    """

    low: float
    high: float
    total: float
    logarithmic: bool

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.total

    def y(self, value: float) -> float:
        low, high, value = (math.log(part) if self.logarithmic else part for part in (self.low, self.high, value))
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def points(self, line: _Curve) -> str:
        """'x,y x,y ...' as SVG wants it."""
        return ' '.join(f'{self.x(step):.1f},{self.y(value):.1f}' for step, value in zip(*line, strict=True))


def _draw(name: str, lines: Sequence[Line], phases: dict[str, PhaseConfig]) -> Chart:
    curves = [_reduce(curve) for curve in _by_phase(name, lines)]
    smoothed = [(steps, _smooth(values)) for steps, values in curves]
    values = np.concatenate([values for _, values in curves])
    logarithmic = needs_log(values)
    ticks = log_ticks(values) if logarithmic else linear_ticks(float(values.min()), float(values.max()))
    total = float(sum(phase.steps for phase in phases.values()))
    frame = _Frame(ticks[0], ticks[-1], total, logarithmic)
    return Chart(
        name=name,
        title=TITLES[name],
        logarithmic=logarithmic,
        first=next(line.values[name] for line in lines if name in line.values),
        last=float(smoothed[-1][1][-1]),
        lines=tuple(map(frame.points, curves)),
        smooth=tuple(map(frame.points, smoothed)),
        steps=tuple(Tick(frame.x(step), f'{step:g}') for step in linear_ticks(0.0, total) if step <= total),
        values=tuple(Tick(frame.y(value), _label(value)) for value in ticks),
        phases=_phase_marks(frame, phases),
    )


def _by_phase(name: str, lines: Sequence[Line]) -> list[_Curve]:
    """What was logged under a name, apart for each phase."""
    groups = groupby((line for line in lines if name in line.values), key=lambda line: line.phase)
    parts = [[(line.step, line.values[name]) for line in group] for _, group in groups]
    return [(columns[0], columns[1]) for columns in (np.array(part, float).T for part in parts)]


def _phase_marks(frame: _Frame, phases: dict[str, PhaseConfig]) -> tuple[Tick, ...]:
    """Where phases start, with as much of their names as there is room for."""
    starts = phase_starts(phases)
    places = [frame.x(float(start)) for _, start in starts] + [float(WIDTH)]
    rooms = [int((after - before - 4) / CHARACTER) for before, after in pairwise(places)]
    marks = zip(places[:-1], starts, rooms, strict=True)
    return tuple(Tick(place, _shortened(name, room)) for place, (name, _), room in marks)


def _shortened(text: str, letters: int) -> str:
    """A text, or as much of it as takes this many letters."""
    return text if len(text) <= letters else f'{text[: max(letters - 1, 0)]}…'[: max(letters, 0)]


def phase_starts(phases: dict[str, PhaseConfig]) -> list[tuple[str, int]]:
    """Each phase that has steps, and how many steps are done when it starts."""
    starts, done = [], 0
    for name, phase in phases.items():
        if phase.steps:
            starts.append((name, done))
        done += phase.steps
    return starts


def needs_log(values: Float[np.ndarray, 'P']) -> bool:
    """Whether values are better seen on a logarithmic scale: all positive, and far apart, a few outliers aside."""
    low, high = np.quantile(values, [0.05, 0.95])
    return bool(values.min() > 0 and high > LOG_RATIO * low)


def linear_ticks(low: float, high: float) -> list[float]:
    """About `TICKS` round numbers, the first not above `low` and the last not below `high`."""
    spread = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(spread / TICKS))
    step = next(factor * power for factor in DECADE if factor * power * TICKS >= spread * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def log_ticks(values: Float[np.ndarray, 'P']) -> list[float]:
    """Powers of ten around positive values; every second, third, ... of them where there would be many."""
    first, last = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    stride = max(1, math.ceil((last - first) / (TICKS + 1)))
    return [10.0**exponent for exponent in range(first, last + stride, stride)]


def _label(value: float) -> str:
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f'{value:.0e}'.replace('e-0', 'e-').replace('e+0', 'e')
    return f'{value:.6g}'


def _reduce(curve: tuple[np.ndarray, np.ndarray]) -> _Curve:
    """At most POINTS points, each the mean of neighbours."""
    steps, values = curve
    if len(values) <= POINTS:
        return curve
    groups = np.array_split(np.arange(len(values)), POINTS)
    return np.array([steps[group].mean() for group in groups]), np.array([values[group].mean() for group in groups])


def _smooth(values: Float[np.ndarray, 'P']) -> Float[np.ndarray, 'P']:
    """The mean of each value and its neighbours in a window."""
    half = int(len(values) * WINDOW / 2)
    if half == 0:
        return values
    kernel = np.ones(2 * half + 1)
    return np.convolve(values, kernel, 'same') / np.convolve(np.ones_like(values), kernel, 'same')
