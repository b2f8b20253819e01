"""What a run's directory says about the run, finished or not."""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation.adapter import INFO_FILE, WEIGHTS_FILE
from adaptation.config import AdaptationConfig, read_config
from adaptation.errors import AdaptationError, ConfigError
from adaptation.logs import STEP_TIME
from adaptation.workdir import Workdir
from eg3d_jax.files import read_json


@dataclass(frozen=True)
class Line:
    """A logged step: its number, counted from 1, its phase, and the numbers logged by name."""

    step: int
    phase: str
    values: dict[str, float]


@dataclass(frozen=True)
class Record:
    """What a run left behind.

    Attributes:
        workdir: its directory.
        config: its settings.
        hashes: of its inputs, by the config field that names them.
        lines: the logged steps, in their order.
        adapted: steps behind the adapter that is there; None: there is none yet.
        adapter_bytes: size of the adapter's weights; 0 without one.
    """

    workdir: Workdir
    config: AdaptationConfig
    hashes: dict[str, str]
    lines: tuple[Line, ...]
    adapted: int | None
    adapter_bytes: int

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(phase.steps for phase in self.config.phases.values())

    @property
    def finished(self) -> bool:
        """Whether its adapter is that of its last step."""
        return self.adapted == self.steps

    @property
    def step_seconds(self) -> float | None:
        """The median time of a step, compilation left out; None where none was logged."""
        times = [line.values[STEP_TIME] for line in self.lines if STEP_TIME in line.values]
        return statistics.median(times) if times else None


def read_record(root: Path) -> Record:
    """Reads a run's directory, except for its pictures and its adapter's weights.

    Raises:
        ConfigError: there is no such directory, or it is no run's.
        AdaptationError: one of its files is damaged.
        OSError: one cannot be read.
    """
    workdir = Workdir(root)
    if not root.is_dir():
        raise ConfigError([f'--workdir: there is no directory {root}: give that of a run of adaptation.main.'])
    for path in (workdir.config, workdir.inputs):
        if not path.is_file():
            raise ConfigError([f'--workdir: {root} holds no {path.name}, so it is no run: give the directory of one.'])
    config, hashes = _read_config(workdir.config), _read_group(workdir.inputs)
    weights = root / WEIGHTS_FILE
    return Record(workdir, config, hashes, read_lines(workdir.metrics), _steps_adapted(root), _size(weights))


def _read_config(path: Path) -> AdaptationConfig:
    values = _read_group(path)
    try:
        return read_config(values)
    except ConfigError as error:
        raise AdaptationError(f'{path} is damaged: {"; ".join(error.problems)}.') from None


def _read_group(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except ValueError as error:
        raise AdaptationError(f'{error}.') from None
    if not isinstance(values, dict):
        raise AdaptationError(f'{path} is damaged: it holds no group of fields.')
    return values


def _steps_adapted(root: Path) -> int | None:
    """How many steps the adapter stands for, if its weights are there."""
    if not (root / WEIGHTS_FILE).is_file():
        return None
    info = root / INFO_FILE
    steps = _read_group(info).get('steps') if info.is_file() else None
    if type(steps) is not int or steps < 0:
        raise AdaptationError(f'{info} is missing or damaged, it says no number of steps: copy both files again.')
    return steps


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def read_lines(path: Path) -> tuple[Line, ...]:
    """The logged lines; the last one may be cut short, as in a run that was killed."""
    if not path.is_file():
        return ()
    try:
        texts = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise AdaptationError(f'{path} is damaged ({error}): move it away to do without the losses.') from None
    lines: list[Line] = []
    for number, text in enumerate(texts, start=1):
        line = _read_line(text)
        if line is not None and (not lines or line.step > lines[-1].step):
            lines.append(line)
        elif line is not None or number < len(texts):
            raise AdaptationError(
                f'{path} is damaged: line {number} is no logged step that follows the one before; '
                'move the file away to do without the losses.'
            )
    return tuple(lines)


def _read_line(text: str) -> Line | None:
    """A logged step, or None where the text is none."""
    try:
        values = json.loads(text)
        step, phase = values.pop('step'), values.pop('phase')
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    numbers = all(type(value) in (int, float) and math.isfinite(value) for value in values.values())
    if type(step) is not int or not isinstance(phase, str) or not numbers:
        return None
    return Line(step, phase, {name: float(value) for name, value in values.items()})
