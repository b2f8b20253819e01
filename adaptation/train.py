"""A run from its config to its adapter, resumable at any step."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from adaptation.adapter import save_adapter, settings_hash
from adaptation.checkpoints import Checkpoints
from adaptation.config import AdaptationConfig
from adaptation.constants import measure_constants
from adaptation.domain_step import DomainConstants, DomainStep, make_domain_step
from adaptation.domains import domain_leaves, first_leaves
from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.inputs import Inputs, load_inputs
from adaptation.leaves import named_leaves, with_leaves
from adaptation.logs import FIRST_STEP_TIME, STEP_TIME, RunLog, TrainingProgress
from adaptation.phases import Phase, phase_at, plan
from adaptation.plan import Plan, banner
from adaptation.reach import no_effect, refuse_phases_without_effect
from adaptation.samples import SampleGrid, make_generate, save_picture, stacked, target_picture
from adaptation.step import METRICS, Constants, Leaves, Step, TrainState, init_state, make_step
from adaptation.streams import DOMAINS, SAMPLE_HEADS, SOURCE_SAMPLES, TRAINING
from adaptation.strokes import refuse_strokes_without_noise, with_first_strokes
from adaptation.workdir import GENERATOR_SETTINGS, Workdir
from eg3d_jax.interrupts import StopRequest


def run(config: AdaptationConfig, workdir: str | Path, *, quiet: bool = False) -> Path:
    """Adapts a generator, from the last checkpoint in the working directory if there is one.

    Args:
        config: the run's settings.
        workdir: where everything is written.
        quiet: no banner and no progress bar.

    Returns:
        The path of the finished `adapter.safetensors`; see `adaptation.load_adapted`.

    Raises:
        ConfigError: settings that cannot be met, a phase that trains nothing, or a working directory of another run.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
        AdaptationError: a loss or gradient that is not finite, a checkpoint that cannot be written or read, or a
            working directory that another process is writing to.
        OSError: the working directory cannot be written.
    """
    inputs = load_inputs(config)
    parameters = first_parameters(config, inputs)
    phases = plan(config, parameters, inputs.generator.config.rendering.neural_resolution)
    this = Plan(config, inputs, phases, Workdir(Path(workdir)))
    refuse_phases_without_effect(phases, inputs.generator)
    refuse_strokes_without_noise(phases, inputs.generator)
    with this.workdir.lock(), StopRequest() as stop:
        settings = settings_hash(inputs.generator.config)
        this.workdir.claim(config, {**inputs.hashes, GENERATOR_SETTINGS: settings})
        return _resume(this, parameters, stop, quiet)


def first_parameters(config: AdaptationConfig, inputs: Inputs) -> dict[str, Array]:
    """All that can be trained, by name, as it is before training: the source's, and what domains add to it."""
    parameters = named_leaves(inputs.generator, nnx.Param)
    if not config.references:
        return parameters
    key = jax.random.fold_in(jax.random.key(config.seed), DOMAINS)
    return first_leaves(parameters, len(config.references), config.domain_rank, key)


def _resume(this: Plan, parameters: dict[str, Array], stop: StopRequest, quiet: bool) -> Path:
    say = (lambda *lines: None) if quiet else (lambda *lines: print(*lines, sep='\n', flush=True))
    with Checkpoints(this.workdir.checkpoints) as checkpoints:
        done = checkpoints.last or 0
        if done == this.steps:
            if not this.adapter.exists():
                _Session(this, checkpoints, stop).save_again()
            say(f'This run is finished: all {done} steps are done. The adapter is {this.adapter}.')
            return this.adapter
        say(*banner(this, parameters, done))
        session = _Session(this, checkpoints, stop)
        started = time.perf_counter()
        with RunLog(this.workdir, done) as log, TrainingProgress(done, this.steps, shown=not quiet) as progress:
            session.train(log, progress)
        say(f'Done in {time.perf_counter() - started:.0f} s.', f'  adapter   {this.adapter}')
        say(f'  pictures  {this.workdir.sample(this.steps)}')
    return this.adapter


class _Session:
    """The part of a run that one process does."""

    def __init__(self, this: Plan, checkpoints: Checkpoints, stop: StopRequest):
        key = jax.random.key(this.config.seed)
        self._this = this
        self._checkpoints = checkpoints
        self._stop = stop
        self._source = this.inputs.generator
        self._generate = make_generate(this.config.truncation_psi)
        self._grid = SampleGrid(
            self._generate,
            self._source,
            target_picture(this.inputs, this.config),
            this.inputs.camera,
            jax.random.fold_in(key, SAMPLE_HEADS),
            heads=this.config.sample_heads,
            batch_size=this.config.batch_size,
        )
        self._source_key = jax.random.fold_in(key, SOURCE_SAMPLES)
        self._key = jax.random.fold_in(key, TRAINING)

    def train(self, log: RunLog, progress: TrainingProgress) -> None:
        """All steps that are left."""
        this, stop = self._this, self._stop
        state = self._start()
        done = int(state.step)
        if done % this.config.intervals.samples == 0 and not (done and this.workdir.sample(done).exists()):
            progress.doing('drawing samples' if done else 'drawing the source')
            self._draw(state, log)
            self._stop_before_steps()
        constants = self._constants(progress)
        for phase in this.phases:
            if done >= phase.end:
                continue
            if done == phase.start:
                state = state._replace(adapted=self._with_first_strokes(state.adapted, phase))
            progress.doing(f'{phase.name} (compiling)')
            step, compiled = self._make_step(phase), False
            while done < phase.end and not stop.requested:
                state, values = self._step(step, state, constants, phase, compiled=compiled)
                done, compiled = done + 1, True
                progress.doing(phase.name)
                progress.stepped(values)
                if done == phase.end:
                    state = init_state(done, state.adapted, phase_at(this.phases, done))
                self._record(done, phase, values, state, log)
            if stop.requested and done < this.steps:
                self._save(done, state)
                raise Interrupted(
                    f'Stopped after step {done} of {this.steps}; everything is saved in {this.workdir.root}.'
                )

    def save_again(self) -> None:
        """Writes the adapter of the last checkpoint."""
        state = self._start()
        self._save(int(state.step), state)

    def _start(self) -> TrainState:
        """The state of the last checkpoint, or the first one."""
        done = self._checkpoints.last or 0
        leaves = first_parameters(self._this.config, self._this.inputs)
        # Copies: the step reuses its state's memory, and the source stays.
        adapted = {name: jnp.array(leaves[name]) for name in self._this.phases[-1].changed}
        state = init_state(done, adapted, phase_at(self._this.phases, done))
        if done:
            state, self._key = self._checkpoints.restore(done, state, self._key)
        return state

    def _with_first_strokes(self, adapted: Leaves, phase: Phase) -> Leaves:
        config = self._this.config
        return with_first_strokes(adapted, phase, [config.references[name].strokes for name in config.domains])

    def _make_step(self, phase: Phase) -> Step | DomainStep:
        domains = len(self._this.config.domains)
        sampling = self._this.sampling
        return make_domain_step(phase, sampling, domains) if domains else make_step(phase, sampling)

    def _constants(self, progress: TrainingProgress) -> Constants | DomainConstants:
        def doing(words: str) -> None:
            self._stop_before_steps()
            progress.doing(words)

        return measure_constants(self._this, self._generate, self._source_key, doing)

    def _stop_before_steps(self) -> None:
        if self._stop.requested:
            raise Interrupted('Stopped before the next step; there is nothing new to save.')

    def _step(
        self,
        step: Step | DomainStep,
        state: TrainState,
        constants: Constants | DomainConstants,
        phase: Phase,
        *,
        compiled: bool,
    ) -> tuple[TrainState, dict[str, float]]:
        started = time.perf_counter()
        state, metrics = step(state, constants, self._key)  # type: ignore[arg-type]  # both of domains, or neither
        values = {name: float(metrics[name]) for name in METRICS if name in metrics}
        _refuse_nan(values, phase, int(state.step), self._checkpoints)
        if int(state.step) == phase.start + 1:
            _refuse_no_gradient(values, phase)
        # The first step of a phase is compiled first, and its time says nothing about the others.
        return state, {**values, STEP_TIME if compiled else FIRST_STEP_TIME: time.perf_counter() - started}

    def _record(self, done: int, phase: Phase, values: dict[str, float], state: TrainState, log: RunLog) -> None:
        """Logs, draws and saves what is due; the checkpoint comes last, so that what it stands for is there."""
        intervals, last = self._this.config.intervals, done == self._this.steps
        if last or done % intervals.log == 0:
            log.scalars(done, phase.name, values)
        if last or done % intervals.samples == 0:
            self._draw(state, log)
        if last or done % intervals.checkpoint == 0:
            self._save(done, state)

    def _draw(self, state: TrainState, log: RunLog) -> None:
        """Draws the samples, unless Ctrl-C is heard; what is missing is drawn when the run is resumed.

        The last picture is drawn to its end: a finished run is not resumed.
        """
        last = int(state.step) == self._this.steps
        picture = self._picture(state, lambda: self._stop.requested and not last)
        if picture is None:
            return
        save_picture(self._this.workdir.sample(int(state.step)), picture)
        log.picture(int(state.step), picture)

    def _picture(self, state: TrainState, stopped: Callable[[], bool]) -> np.ndarray | None:
        """The sample picture, of several domains one below the other; None where it was stopped."""
        references = self._this.inputs.references
        if not references:
            return self._grid.draw(with_leaves(self._source, state.adapted), stopped)
        parts = []
        for code, reference in zip(jnp.eye(len(references)), references.values(), strict=True):
            adapted = with_leaves(self._source, domain_leaves(state.adapted, code))
            part = self._grid.draw(adapted, stopped, reference)
            if part is None:
                return None
            parts.append(part)
        return stacked(parts)

    def _save(self, done: int, state: TrainState) -> None:
        training = {'steps': done, 'finished': done == self._this.steps}
        hashes = self._this.inputs.hashes
        root, domains = self._this.workdir.root, self._this.config.domains
        save_adapter(root, self._source, state.adapted, hashes['generator'], training, domains)
        self._checkpoints.save(state, self._key)


def _refuse_nan(values: dict[str, float], phase: Phase, step: int, checkpoints: Checkpoints) -> None:
    """Stops the run at the first number that is not finite, and says which."""
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if not broken:
        return
    parts = [name for name in broken if name not in ('loss', 'gradient_norm', 'parameter_norm')]
    what = f'the loss {" and ".join(repr(name) for name in parts)}' if parts else f'the {broken[0].replace("_", " ")}'
    kept = (
        'no checkpoint was due yet'
        if checkpoints.last is None
        else f'the checkpoint of step {checkpoints.last} remains'
    )
    # The first step's losses are those of the source, which no learning rate can have spoilt.
    check = 'check the checkpoints and the reference picture, or ' if step == 1 else ''
    raise AdaptationError(
        f'In step {step} ({phase.name}) {what} is {values[(parts or broken)[0]]}; {kept}. To go on, {check}'
        f'lower config.phases.{phase.name}.learning_rate and start again in another --workdir.'
    )


def _refuse_no_gradient(values: dict[str, float], phase: Phase) -> None:
    """Stops a phase that would train nothing at all."""
    if values['gradient_norm'] == 0:
        raise ConfigError([no_effect(phase)])
