"""What `python -m adaptation.evaluate` measured, and what the paper reports."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation.domain_codes import directory_name, in_words
from adaptation.errors import AdaptationError, ConfigError
from eg3d_jax.files import read_json

FILE = 'evaluation.json'
FORMAT = 1
BETTER = ('lower', 'higher', None)

# FID against images of the target domain, as arXiv 2410.08824 reports it.
REPORTED_FID = {'Cartoons': 132.6, 'Sketches': 59.59, 'Ukiyo-e': 118.7}


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Attributes:
        name: as in the file.
        title: for people.
        value: what was measured.
        interval: its confidence interval, if one was computed.
        better: whether a 'lower' or a 'higher' value is better; None: neither.
        samples: how many images it was computed from.
        about: what it is, in a sentence.
    """

    name: str
    title: str
    value: float
    interval: tuple[float, float] | None
    better: str | None
    samples: int
    about: str


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation: its metrics, and how they were measured; domain: weights by domain, of a run of several."""

    samples: int
    seed: int
    machine: str
    seconds: float
    command: str
    metrics: tuple[Metric, ...]
    domain: dict[str, float] | None = None


def read_evaluation(directory: Path) -> Evaluation:
    """Reads the evaluation in a directory.

    Raises:
        ConfigError: there is none.
        AdaptationError: it is damaged, or of another format.
        OSError: it cannot be read.
    """
    path = directory / FILE
    if not path.is_file():
        raise ConfigError([f'--evaluation: there is no {path}: make it with python -m adaptation.evaluate.'])
    try:
        values = read_json(path)
    except ValueError as error:
        raise _damaged(str(error)) from None
    fields = _Fields(path, '', values)
    if (found := fields.take('format', _is_count, 'a whole number')) != FORMAT:
        raise _damaged(f'{path} is of format {found}, and this report reads format {FORMAT}')
    return Evaluation(
        samples=fields.take('samples', _is_count, 'a whole number'),
        seed=fields.take('seed', _is_count, 'a whole number'),
        machine=fields.take('machine', _is_text, 'a text'),
        seconds=float(fields.take('seconds', _is_number, 'a number')),
        command=fields.take('command', _is_text, 'a text'),
        metrics=tuple(
            _read_metric(_Fields(path, f'metrics[{index}].', metric))
            for index, metric in enumerate(fields.take('metrics', _is_list, 'a list'))
        ),
        domain=fields.take('domain', _is_code, 'weights by domain') if 'domain' in values else None,
    )


def read_evaluations(directory: Path, domains: Sequence[str]) -> dict[str, Evaluation]:
    """Reads the evaluations of a run of several domains by what each measured: the domains first, then mixtures.

    Args:
        directory: holds a directory for each evaluation, or one evaluation itself; nothing has to be there.
        domains: of the run.

    Raises:
        AdaptationError: an evaluation is damaged, or of another format.
        OSError: one cannot be read.
    """
    places = sorted(file.parent for file in (*directory.glob(FILE), *directory.glob(f'*/{FILE}')))
    order = [directory_name({name: 1.0}) for name in domains]
    places.sort(key=lambda place: order.index(place.name) if place.name in order else len(order))
    found = [(place.name, read_evaluation(place)) for place in places]
    return {name if each.domain is None else in_words(each.domain): each for name, each in found}


def _read_metric(fields: '_Fields') -> Metric:
    interval = fields.take('interval', _is_interval, 'two numbers or null')
    return Metric(
        name=fields.take('name', _is_text, 'a text'),
        title=fields.take('title', _is_text, 'a text'),
        value=float(fields.take('value', _is_number, 'a number')),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        better=fields.take('better', lambda value: value in BETTER, '"lower", "higher" or null'),
        samples=fields.take('samples', _is_count, 'a whole number'),
        about=fields.take('about', _is_text, 'a text'),
    )


class _Fields:
    """A group of fields, each checked as it is taken."""

    def __init__(self, path: Path, prefix: str, values: Any):
        if not isinstance(values, dict):
            raise _damaged(f'{path} is damaged: {prefix.rstrip(".") or "it"} is no group of fields')
        self._path, self._prefix, self._values = path, prefix, values

    def take(self, name: str, fits: Callable[[Any], bool], expected: str) -> Any:
        if name not in self._values:
            raise _damaged(f'{self._path} is damaged: {self._prefix}{name} is missing')
        value = self._values[name]
        if not fits(value):
            raise _damaged(f'{self._path} is damaged: {self._prefix}{name}: expected {expected}, got {value!r}')
        return value


def _damaged(what: str) -> AdaptationError:
    return AdaptationError(f'{what}: measure again with python -m adaptation.evaluate, or move the file away.')


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_code(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_number(weight) for weight in value.values())


def _is_interval(value: Any) -> bool:
    return value is None or (_is_list(value) and len(value) == 2 and all(_is_number(end) for end in value))
