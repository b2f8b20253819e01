"""Ticks, scales and the coordinates of the curves."""

import numpy as np
import pytest

from adaptation.config import PhaseConfig
from adaptation.reporting import charts
from adaptation.reporting.charts import draw_charts, linear_ticks, log_ticks, needs_log, phase_starts
from adaptation.reporting.records import Line

PHASES = {
    'phase1': PhaseConfig(steps=60, learning_rate=1.0, trained=('decoder',)),
    'skipped': PhaseConfig(steps=0, learning_rate=1.0, trained=('decoder',)),
    'phase2': PhaseConfig(steps=40, learning_rate=1.0, trained=('superresolution',)),
}


def coordinates(points: str) -> np.ndarray:
    return np.array([[float(part) for part in point.split(',')] for point in points.split()])


@pytest.mark.parametrize(
    ('low', 'high', 'ticks'),
    [
        (0.0, 100.0, [0, 50, 100]),
        (0.0, 450.0, [0, 200, 400, 600]),
        (0.31, 0.74, [0.2, 0.4, 0.6, 0.8]),
        (-1.0, 1.0, [-1, -0.5, 0, 0.5, 1]),
        (2.0, 2.0, [2, 2.5]),
        (0.0, 0.0, [0, 0.5]),
    ],
)
def test_linear_ticks_are_round_and_enclose(low: float, high: float, ticks: list[float]):
    assert linear_ticks(low, high) == pytest.approx(ticks)


def test_log_ticks_are_powers_of_ten_and_enclose():
    assert log_ticks(np.array([0.003, 0.2])) == pytest.approx([1e-3, 1e-2, 1e-1, 1])
    wide = log_ticks(np.array([2e-12, 3e3]))
    assert len(wide) <= charts.TICKS + 3
    assert wide[0] <= 2e-12
    assert wide[-1] >= 3e3


def test_a_scale_is_logarithmic_only_where_that_shows_more():
    decay = np.exp(-np.linspace(0, 8, 100))
    assert needs_log(decay)
    assert not needs_log(decay - decay.min()), 'zero has no logarithm'
    assert not needs_log(np.linspace(0.4, 0.9, 100))
    assert not needs_log(np.r_[np.full(99, 0.5), 1e-6]), 'one outlier'


def test_phases_start_where_the_ones_before_end():
    assert phase_starts(PHASES) == [('phase1', 0), ('phase2', 60)]


class TestCharts:
    @pytest.fixture
    def lines(self) -> list[Line]:
        first = [
            Line(step, 'phase1', {'loss': 1 - step / 100, 'fstr': 0.01, 'gradient_norm': 1.0}) for step in range(1, 61)
        ]
        return first + [Line(step, 'phase2', {'loss': 3 - step / 100, 'step_time': 1.0}) for step in range(61, 101)]

    def test_only_losses_that_were_logged(self, lines: list[Line]):
        assert [chart.name for chart in draw_charts(lines, PHASES)] == ['loss', 'fstr']
        assert draw_charts([], PHASES) == ()

    def test_each_phase_has_a_curve_of_its_own_at_its_place(self, lines: list[Line]):
        loss, fstr = draw_charts(lines, PHASES)
        assert (len(loss.lines), len(fstr.lines)) == (2, 1)
        first, second = map(coordinates, loss.lines)
        width = charts.WIDTH - charts.LEFT - charts.RIGHT
        assert first[-1, 0] == pytest.approx(charts.LEFT + 0.6 * width, abs=0.1)
        assert second[-1, 0] == pytest.approx(charts.WIDTH - charts.RIGHT, abs=0.1)
        assert (np.diff(first[:, 1]) >= 0).all(), 'a falling loss goes down'
        assert second[:, 1].max() < first[:, 1].min(), 'the larger values are above'
        assert [(tick.label, round(tick.at)) for tick in loss.phases] == [
            ('phase1', charts.LEFT),
            ('phase2', round(charts.LEFT + 0.6 * width)),
        ]
        heights = {tick.label: tick.at for tick in loss.values}
        assert heights['1'] == pytest.approx((heights['0'] + heights['2']) / 2)
        assert heights['0'] > heights['1']

    def test_long_names_of_phases_are_shortened(self, lines: list[Line]):
        phases = dict(zip(('a' * 100, 'skipped', 'b' * 100), PHASES.values(), strict=True))
        first, second = (tick.label for tick in draw_charts(lines, phases)[0].phases)
        assert first == 'a' * (len(first) - 1) + '…'
        assert second == 'b' * (len(second) - 1) + '…'
        assert len(first) > len(second) > 10, 'by the room that is there'

    def test_everything_is_inside(self, lines: list[Line]):
        for chart in draw_charts(lines, PHASES):
            for x, y in np.concatenate([coordinates(points) for points in (*chart.lines, *chart.smooth)]):
                assert charts.LEFT <= x <= charts.WIDTH - charts.RIGHT
                assert charts.TOP <= y <= charts.HEIGHT - charts.BOTTOM

    def test_noise_is_smoothed_and_the_mean_kept(self):
        noise = np.random.default_rng(0).normal(1.0, 0.1, 100)
        (chart,) = draw_charts([Line(i + 1, 'phase1', {'dis': value}) for i, value in enumerate(noise)], PHASES)
        raw, smooth = (coordinates(points[0])[:, 1] for points in (chart.lines, chart.smooth))
        assert smooth.std() < 0.6 * raw.std()
        assert smooth.mean() == pytest.approx(raw.mean(), abs=0.1 * raw.std())
        assert chart.first == noise[0]
        assert chart.last == pytest.approx(noise[-5:].mean()), 'half of a window of 8 of 100, and the last itself'

    def test_long_runs_are_averaged(self):
        lines = [Line(step, 'phase1', {'dis': float(step % 2)}) for step in range(1, 3001)]
        (chart,) = draw_charts(lines, {'phase1': PhaseConfig(steps=3000, learning_rate=1.0, trained=('decoder',))})
        points = coordinates(chart.lines[0])
        assert len(points) == charts.POINTS
        assert np.ptp(points[:, 1]) < 1, 'ten values of 0 and 1 in turns have one mean'

    def test_a_logarithmic_decade_is_as_high_as_another(self):
        lines = [Line(step, 'phase1', {'fstr': 10.0**-step}) for step in range(1, 5)]
        (chart,) = draw_charts(lines, {'phase1': PhaseConfig(steps=4, learning_rate=1.0, trained=('decoder',))})
        assert chart.logarithmic
        assert np.diff(coordinates(chart.lines[0])[:, 1]) == pytest.approx(np.full(3, 142 / 3), abs=0.2)
