"""The phases of a run: which parameters each trains, and what that leaves constant."""

from collections.abc import Iterable
from dataclasses import dataclass

from adaptation.config import AdaptationConfig, PhaseConfig
from adaptation.domains import trains
from adaptation.errors import ConfigError
from adaptation.leaves import matching
from adaptation.losses import pooling_window

# What an image is made by, in order; the generator's leaves at or below each name belong to it.
PIPELINE = ('backbone.mapping', 'backbone.synthesis', 'decoder', 'superresolution')


@dataclass(frozen=True)
class Phase:
    """One phase of the plan.

    Attributes:
        name, settings: as in the config.
        start: number of steps that come before it in the run.
        trained: names of the parameters that it trains.
        changed: names of those that any phase so far trains, this one included, and of what they are added to:
            elsewhere the adapted generator is still equal to the source.
    """

    name: str
    settings: PhaseConfig
    start: int
    trained: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def end(self) -> int:
        """Number of steps done when it is over."""
        return self.start + self.settings.steps

    @property
    def first_trained(self) -> int:
        """The first stage of the PIPELINE that it trains: gradients reach back to its parameters and no further."""
        return _first_stage(self.trained)

    @property
    def first_changed(self) -> int:
        """The first stage of the PIPELINE that differs from the source: before it, both share one computation."""
        return _first_stage(self.changed)


def plan(config: AdaptationConfig, parameters: Iterable[str], resolution: int) -> tuple[Phase, ...]:
    """The phases that have steps, in order.

    Args:
        parameters: names of all that can be trained, and of what these are added to.
        resolution: side of the generator's own feature image.

    Raises:
        ConfigError: a path prefix that matches no parameter, or a feature image that FSSM cannot pool.
    """
    names = tuple(parameters)
    known = frozenset(names)
    problems: list[str] = []
    phases: list[Phase] = []
    start, changed = 0, set[str]()
    for name, settings in config.phases.items():
        if settings.steps == 0:
            continue
        trained = set[str]()
        for prefix in settings.trained:
            found = matching(names, prefix)
            if not found:
                problems.append(f'config.phases.{name}.trained: {prefix!r} matches no parameter of the generator')
            trained.update(found)
        side = settings.render_resolution or resolution
        if settings.weights.fstr and side % pooling_window(side):
            problems.append(
                f'config.phases.{name}.render_resolution: a feature image of side {side} does not pool evenly; '
                f'give a multiple of {pooling_window(side)}'
            )
        changed |= trained
        moved = sorted(leaf for leaf in trained if trains(leaf, known))
        phases.append(Phase(name, settings, start, tuple(moved), tuple(sorted(changed))))
        start += settings.steps
    if problems:
        raise ConfigError(problems)
    return tuple(phases)


def phase_at(phases: tuple[Phase, ...], step: int) -> Phase | None:
    """The phase that does the next step after `step` of them; None when all are done."""
    return next((phase for phase in phases if step < phase.end), None)


def _first_stage(names: tuple[str, ...]) -> int:
    return min(index for index, stage in enumerate(PIPELINE) if any(matching(names, stage)))
