"""A run from its config to its adapter, resumable at any step."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PRNGKeyArray

from adaptation.adapter import WEIGHTS_FILE, save_adapter, settings_hash
from adaptation.checkpoints import Checkpoints
from adaptation.config import AdaptationConfig
from adaptation.counterpart import STEPS as LOOKS
from adaptation.counterpart import draw_counterpart, find_counterpart, load_counterparts, save_counterparts
from adaptation.domain_step import DomainConstants, DomainStep, domain_constants, make_domain_step
from adaptation.domains import domain_leaves, first_leaves
from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.fine_detail import at_size_of_images
from adaptation.guidance import Guide, domain_guides, embed_source, make_guides
from adaptation.inputs import Inputs, load_inputs
from adaptation.leaves import named_leaves, with_leaves
from adaptation.logs import FIRST_STEP_TIME, STEP_TIME, RunLog, TrainingProgress
from adaptation.pair import Counterpart
from adaptation.phases import Phase, phase_at, plan
from adaptation.reach import no_effect, refuse_phases_without_effect
from adaptation.samples import (
    LARGEST_TILE,
    Generate,
    SampleGrid,
    make_generate,
    save_picture,
    stacked,
    target_picture,
    tile,
)
from adaptation.step import METRICS, Constants, Leaves, Sampling, Step, TrainState, init_state, make_step, sample_batch
from adaptation.streams import DOMAINS, SAMPLE_HEADS, SOURCE_SAMPLES, TRAINING
from adaptation.strokes import refuse_strokes_without_noise, with_first_strokes
from adaptation.workdir import GENERATOR_SETTINGS, Workdir
from eg3d_jax.interrupts import StopRequest

ALONE = ''  # in the place of a domain's name, where there is one reference


@dataclass(frozen=True)
class Plan:
    """What a run is made of, before anything is computed."""

    config: AdaptationConfig
    inputs: Inputs
    phases: tuple[Phase, ...]
    workdir: Workdir

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self.phases[-1].end

    @property
    def sampling(self) -> Sampling:
        """What it trains on."""
        config = self.config
        return Sampling(
            config.batch_size, config.truncation_psi, config.conditioning, self.inputs.camera, config.encoder_crop
        )

    @property
    def adapter(self) -> Path:
        """The run's result."""
        return self.workdir.root / WEIGHTS_FILE


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


def banner(this: Plan, parameters: dict[str, Array], done: int) -> list[str]:
    """What is about to happen."""
    config, inputs = this.config, this.inputs
    device = jax.devices()[0]
    visions = [clip.config.vision for clip in inputs.encoders]
    lines = [
        f'generator  {config.generator}: {_count(parameters.values())} parameters, '
        f'{inputs.generator.config.image_resolution} x {inputs.generator.config.image_resolution} pixels',
        *(
            f'encoder    patches of {vision.patch_size} in {vision.image_size} pixels, tokens after block {layer}'
            for vision, layer in zip(visions, inputs.layers, strict=True)
        ),
    ]
    if inputs.reference is not None:
        lines.append(f'reference  {config.reference.image}, {inputs.reference.shape[0]} pixels square')
    for name, picture in inputs.references.items():
        lines.append(f'{name:<9}  {config.references[name].image}, {picture.shape[0]} pixels square')
    if config.has_text:
        share = '' if inputs.reference is None else f', a share of {config.text_weight:g} of the direction'
        lines.append(
            f'texts      {config.target_text!r} instead of {config.source_text!r}, '
            f'{len(config.prompt_templates)} templates{share}'
        )
    for phase in this.phases:
        weights = ', '.join(f'{name} {value:g}' for name, value in vars(phase.settings.weights).items() if value)
        lines.append(
            f'{phase.name:<9}  {phase.settings.steps} steps train {_count(parameters[name] for name in phase.trained)} '
            f'parameters ({", ".join(phase.settings.trained)}) at rate {phase.settings.learning_rate:g}; {weights}'
        )
    lines.append(f'device     {device.platform} ({device.device_kind}), batches of {config.batch_size}')
    lines.append(f'workdir    {this.workdir.root}' + (f', resumed after step {done} of {this.steps}' if done else ''))
    return lines


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
        progress.doing('measuring the source domain')
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
        """The guides; the mean source embedding is the costly part and is left out where no phase asks for it."""
        this = self._this
        inputs = this.inputs
        asked = [phase.settings.weights for phase in this.phases]
        measured = any(weights.dir or weights.pair for weights in asked)
        images = _source_images(this, self._generate, self._source_key) if measured else iter(())
        embeddings = embed_source(inputs.encoders, self._until_stopped(images))
        if inputs.references:
            return self._domain_constants(embeddings, progress)
        reference = None if inputs.reference is None else jnp.asarray(inputs.reference)
        guides = make_guides(
            inputs.encoders,
            inputs.layers,
            reference,
            (),
            inputs.text_directions,
            this.config.text_weight,
            this.config.direction_whitening,
            embeddings,
        )
        _refuse_no_direction(guides)
        compared = self._compared({} if reference is None else {ALONE: reference})
        found = self._counterparts(compared, embeddings, progress)
        return Constants(self._source, guides, compared.get(ALONE), found.get(ALONE))

    def _domain_constants(self, embeddings: Sequence[Array], progress: TrainingProgress) -> DomainConstants:
        config, inputs = self._this.config, self._this.inputs
        pictures = {name: jnp.asarray(picture) for name, picture in inputs.references.items()}
        guides = domain_guides(
            inputs.encoders, inputs.layers, list(pictures.values()), (), config.direction_whitening, embeddings
        )
        _refuse_no_direction([guide for group in guides for guide in group])
        domains = [config.references[name] for name in config.domains]
        compared = self._compared(pictures)
        found = self._counterparts(compared, embeddings, progress)
        return domain_constants(self._source, guides, domains, list(compared.values()), list(found.values()))

    def _compared(self, references: Mapping[str, Array]) -> dict[str, Array]:
        """The references whose fine detail, palette or pair any phase asks for, at the size they are compared at."""
        asked = [phase.settings.weights for phase in self._this.phases]
        if not any(weights.fine or weights.palette or weights.pair for weights in asked):
            return {}
        resolution = self._this.inputs.generator.config.image_resolution
        return dict(zip(references, at_size_of_images(list(references.values()), resolution), strict=True))

    def _counterparts(
        self, references: Mapping[str, Array], embeddings: Sequence[Array], progress: TrainingProgress
    ) -> dict[str, Counterpart]:
        """The source's heads in the references, found once in a run, where any phase asks for the pair."""
        this = self._this
        if not any(phase.settings.weights.pair for phase in this.phases):
            return {}
        path, inputs = this.workdir.counterparts, this.inputs
        marks = [array.tobytes() for array in map(np.asarray, (*references.values(), *embeddings))]
        key = hashlib.sha256(b'|'.join([inputs.hashes['generator'].encode(), *marks])).hexdigest()
        found = load_counterparts(path, list(references), key)
        if found is None:
            found = {}
            for name, reference in references.items():
                stepped = partial(self._looked_for, progress, name)
                found[name] = find_counterpart(
                    self._source, inputs.encoders, inputs.layers, embeddings, reference, inputs.camera, stepped
                )
            save_counterparts(path, found, key)
        if not this.workdir.pairs.exists():
            save_picture(this.workdir.pairs, self._pairs(references, found))
        return found

    def _looked_for(self, progress: TrainingProgress, name: str, done: int) -> None:
        self._stop_before_steps()
        progress.doing(f"finding {name or 'the reference'}'s own head ({done} of {LOOKS})")

    def _pairs(self, references: Mapping[str, Array], found: Mapping[str, Counterpart]) -> np.ndarray:
        """Each reference beside the source's head in it."""
        side = min(self._source.config.image_resolution, LARGEST_TILE)
        rows = []
        for name, reference in references.items():
            head = draw_counterpart(self._source, found[name])[0]
            rows.append(np.concatenate([tile(np.asarray(image), side) for image in (reference, head)], axis=1))
        return stacked(rows)

    def _until_stopped(self, batches: Iterator[Array]) -> Iterator[Array]:
        for batch in batches:
            self._stop_before_steps()
            yield batch

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


def _source_images(this: Plan, generate: Generate, key: PRNGKeyArray) -> Iterator[Array]:
    """Batches of source images, as many as the config asks for, rounded up to whole batches."""
    config, z_dim = this.config, this.inputs.generator.config.z_dim
    for index in range(math.ceil(config.source_samples / config.batch_size)):
        batch = sample_batch(jax.random.fold_in(key, index), this.sampling, z_dim)
        yield generate(this.inputs.generator, batch.z, batch.camera, batch.conditioning)


def _refuse_no_direction(guides: Iterable[Guide]) -> None:
    if not all(bool(jnp.isfinite(guide.domain_direction).all()) for guide in guides):
        raise AdaptationError(
            'The source images, the reference or the texts have no finite embedding: check the checkpoints.'
        )


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


def _count(leaves: Iterable[Array]) -> str:
    return f'{sum(leaf.size for leaf in leaves):,}'
