"""The page itself: everything that it shows, put into its template.

Whatever comes from files is escaped by the template engine; the page loads nothing, runs nothing, and says so to the
browser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import degrees
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8

from adaptation.config import MINIATURE, AdaptationConfig, flatten
from adaptation.reporting import charts
from adaptation.reporting.charts import draw_charts, phase_starts
from adaptation.reporting.command import Reproduction
from adaptation.reporting.evaluation import REPORTED_FID, Evaluation, Metric
from adaptation.reporting.heads import Gallery, Pair, Turn
from adaptation.reporting.pictures import still, swinging
from adaptation.reporting.records import Record

SWING_SECONDS = 1.6  # of a turning head, from one side to the other
STRIP = 7  # views in a strip, at most
MINUS = '\N{MINUS SIGN}'
ARROWS = {'lower': '↓', 'higher': '↑', None: ''}


@dataclass(frozen=True)
class Style:
    """What a report shows of a style.

    Attributes:
        name: of the domain; '': the run's only style.
        reference: the picture of the target domain.
        gallery: heads drawn; None: there is no adapter yet.
    """

    name: str
    reference: UInt8[np.ndarray, 'R R 3']
    gallery: Gallery | None


@dataclass(frozen=True)
class Contents:
    """What a report is made of.

    Attributes:
        record: of the run.
        styles: one, or each domain of several.
        sample: the last sample picture of a run without an adapter, if it has drawn one.
        evaluations: by what was measured: '', or the domains and mixtures of them.
        reproduction: how to repeat the run.
        command: that made this report.
        evaluate: commands that measure what was not measured yet.
    """

    record: Record
    styles: tuple[Style, ...]
    sample: UInt8[np.ndarray, 'H W 3'] | None
    evaluations: Mapping[str, Evaluation]
    reproduction: Reproduction
    command: str
    evaluate: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A metric in the table: what each evaluation found, None where it has no such metric."""

    name: str
    title: str
    better: str | None
    cells: tuple[Metric | None, ...]


@dataclass(frozen=True)
class Note:
    """What a metric is, and of how many samples it is, in the evaluations that say so."""

    title: str
    about: str
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Figure:
    """A head as data URIs.

    Attributes:
        number: its place in the sequence.
        source: pictures of the source generator.
        adapted: the same of the adapted one.
        labels: the angles of these views, of a turning head.
        clip: a turning head that moves, the source above the adapted generator.
        still: the clip's middle, for readers who want nothing to move.
    """

    number: int
    source: tuple[str, ...]
    adapted: tuple[str, ...]
    labels: tuple[str, ...] = ()
    clip: str = ''
    still: str = ''


@dataclass(frozen=True)
class Part:
    """A style as data URIs.

    Attributes:
        name: of the domain, or ''.
        image: the file of its reference picture; '' where texts guided.
        reference: what is shown of it.
        candidates, reach: as in the gallery, the latter in whole degrees.
        curated, random, turns: the gallery's heads.
    """

    name: str
    image: str
    reference: str
    candidates: int
    reach: int
    curated: tuple[Figure, ...]
    random: tuple[Figure, ...]
    turns: tuple[Figure, ...]


def render(contents: Contents) -> str:
    """The report as one HTML page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader('adaptation.reporting'),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {'number': number, 'duration': duration, 'arrow': ARROWS.__getitem__}
    record = contents.record
    return environment.get_template('page.html').render(
        contents=contents,
        record=record,
        config=record.config,
        name=record.workdir.root.resolve().name,
        notice=notice(record),
        parts=[_part(style, record.config) for style in contents.styles],
        sample=None if contents.sample is None else still(contents.sample),
        rows=metric_rows(tuple(contents.evaluations.values())),
        notes=metric_notes(tuple(contents.evaluations.values())),
        charts=draw_charts(record.lines, record.config.phases),
        chart=charts,
        starts=phase_starts(record.config.phases),
        reported=REPORTED_FID,
        miniature=record.config.generator == MINIATURE,
        fields=config_fields(record.config),
    )


def notice(record: Record) -> str:
    """What the reader must know first: that the run is not finished; '' if it is."""
    if record.finished:
        return ''
    logged = record.lines[-1].step if record.lines else 0
    if record.adapted is None:
        what = 'there is no adapter yet, so no adapted heads are shown'
    else:
        what = f'the adapted heads are those after step {record.adapted} of {record.steps}'
    losses = f'the losses go up to step {logged}' if logged else 'no losses are logged'
    return f'This run is not finished: {what}; {losses}.'


def config_fields(config: AdaptationConfig) -> list[tuple[str, str, bool]]:
    """Each field's dotted name, its value as text, and whether it differs from the default."""
    defaults = flatten(AdaptationConfig().to_dict())
    return [
        (name, _text(value), name not in defaults or defaults[name] != value)
        for name, value in flatten(config.to_dict()).items()
    ]


def metric_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """A row for each metric that any evaluation has, in the order of the first that has it."""
    columns = [{metric.name: metric for metric in evaluation.metrics} for evaluation in evaluations]
    every = {metric.name: metric for evaluation in reversed(evaluations) for metric in evaluation.metrics}
    names = dict.fromkeys(metric.name for evaluation in evaluations for metric in evaluation.metrics)
    return [
        Row(name, every[name].title, every[name].better, tuple(column.get(name) for column in columns))
        for name in names
    ]


def metric_notes(evaluations: Sequence[Evaluation]) -> list[Note]:
    """What the metrics are, each definition once."""
    samples: dict[tuple[str, str], set[int]] = {}
    for row in metric_rows(evaluations):
        for metric in filter(None, row.cells):
            samples.setdefault((metric.title, metric.about), set()).add(metric.samples)
    return [Note(title, about, tuple(sorted(counts))) for (title, about), counts in samples.items()]


def number(value: float) -> str:
    """A measured number to four significant digits."""
    if abs(value) >= 1e4:
        return f'{value:,.0f}'.replace('-', MINUS)
    return f'{value:.4g}'.replace('-', MINUS)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 10:
        return f'{seconds:.2g} s'
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 100 else f'{minutes / 60:.1f} h'


def _part(style: Style, config: AdaptationConfig) -> Part:
    gallery = style.gallery
    return Part(
        name=style.name,
        image=config.references[style.name].image if style.name else config.reference.image,
        reference=still(style.reference),
        candidates=gallery.candidates if gallery else 0,
        reach=round(degrees(gallery.reach)) if gallery else 0,
        curated=_pairs(gallery.curated) if gallery else (),
        random=_pairs(gallery.random) if gallery else (),
        turns=tuple(_turn(turn, gallery.reach) for turn in gallery.turns) if gallery else (),
    )


def _pairs(pairs: Sequence[Pair]) -> tuple[Figure, ...]:
    return tuple(Figure(pair.number, (still(pair.source),), (still(pair.adapted),)) for pair in pairs)


def _turn(turn: Turn, reach: float) -> Figure:
    """A strip of a turning head, and a clip of it: the source above the adapted generator."""
    views = len(turn.source)
    shown = range(0, views, max(1, (views - 1) // (STRIP - 1)))
    both = np.concatenate([turn.source, turn.adapted], axis=1)
    angles = np.degrees(np.linspace(-reach, reach, views))
    return Figure(
        number=turn.number,
        source=tuple(still(turn.source[view]) for view in shown),
        adapted=tuple(still(turn.adapted[view]) for view in shown),
        labels=tuple(_angle(round(angles[view])) for view in shown),
        clip=swinging(both, SWING_SECONDS),
        still=still(both[views // 2]),
    )


def _angle(whole_degrees: int) -> str:
    return f'{whole_degrees:+d}°'.replace('-', MINUS) if whole_degrees else '0°'


def _text(value: Any) -> str:
    if value is None:
        return 'none'
    if isinstance(value, list):
        return ', '.join(map(str, value))
    return f'{value:g}' if isinstance(value, float) else str(value)
