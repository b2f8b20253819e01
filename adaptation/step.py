"""One training step: a pure function of the state, compiled once for each phase.

The adapted generator's image is made in stages (see `phases.PIPELINE`). Those before the first changed one are the
source's own; those before the first trained one are computed without a gradient; only the rest is differentiated. What
does not depend on the trained parameters is computed once for all updates of a step; but each update looks at the batch
anew, through crops and along slices of its own, so that only what every look sees pays.

N batch, Z channels of z, S side of a reference.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int, Key, PRNGKeyArray

from adaptation import losses
from adaptation.config import LossWeights
from adaptation.crops import Crops, crop_images, draw_crops
from adaptation.edges import new_edges_loss
from adaptation.fine_detail import Slices, crispness_loss, draw_slices, fine_detail_loss
from adaptation.guidance import Guide
from adaptation.leaves import with_leaves
from adaptation.pair import Counterpart, pair_loss
from adaptation.palette import palette_loss
from adaptation.phases import PIPELINE, Phase
from adaptation.strokes import without_strokes
from clip_jax import ImageEncoding
from eg3d_jax import CameraConfig, TriPlaneGenerator, cameras

METRICS = ('loss', *vars(LossWeights()), 'gradient_norm', 'parameter_norm')  # in the order of the log
ADAM_B1 = 0.0  # as in GAN training: no momentum
ADAM_B2 = 0.99

Leaves = dict[str, Array]
Stages = tuple[Any, ...]  # the outputs of the PIPELINE so far: ws, planes, RenderOutput, image
FEATURES = PIPELINE.index('decoder')
IMAGE = PIPELINE.index('superresolution')
LOOK_STREAM = 1  # of a batch's key, which renders as it is


class TrainState(NamedTuple):
    """What training changes.

    step: number of steps done.
    adapted: every leaf that any phase of the run trains, by name; elsewhere the adapted generator is the source.
    optimizer: Adam's state for the leaves of the current phase.
    """

    step: Int[Array, '']
    adapted: Leaves
    optimizer: optax.OptState


class Constants(NamedTuple):
    """What training does not change. It enters the step as an argument, so that it is no part of the program.

    reference: the picture whose fine detail or palette or whose pair is asked for; None where none is.
    counterpart: the source's head in the reference; None where no pair is asked for.
    """

    source: TriPlaneGenerator
    guides: tuple[Guide, ...]
    reference: Float[Array, 'S S 3'] | None = None
    counterpart: Counterpart | None = None


@dataclass(frozen=True)
class Sampling:
    """What latents and cameras are trained on; the fields are the config's."""

    batch_size: int
    truncation_psi: float
    conditioning: str
    camera: CameraConfig  # the distribution
    crop: float  # share of an image's side that is cut off at most before the encoders see it


class Batch(NamedTuple):
    """Latents, the cameras that look, those that the mapping is told, and the key of the ray samples."""

    z: Float[Array, 'N Z']
    camera: Float[Array, 'N 25']
    conditioning: Float[Array, 'N 25']
    key: PRNGKeyArray


class Look(NamedTuple):
    """How one update sees a batch.

    crops: what the encoders see of each image; None: all of it.
    origins: what each guide makes of that of the source's images; nothing where images are not made.
    slices: what fine detail and crispness are compared along; None where neither is asked for.
    """

    crops: Crops | None
    origins: tuple[ImageEncoding, ...]
    slices: Slices | None


Metrics = dict[str, Float[Array, '']]
Step = Callable[[TrainState, Constants, PRNGKeyArray], tuple[TrainState, Metrics]]


def optimizer(learning_rate: ArrayLike) -> optax.GradientTransformation:
    """Adam, without momentum."""
    return optax.chain(optax.scale_by_adam(b1=ADAM_B1, b2=ADAM_B2), optax.scale(-jnp.asarray(learning_rate)))


def init_state(step: int, adapted: Leaves, phase: Phase | None) -> TrainState:
    """The state at the start of a phase; None: after the last one."""
    trained = {} if phase is None else {name: adapted[name] for name in phase.trained}
    opt_state = () if phase is None else optimizer(phase.settings.learning_rate).init(trained)
    return TrainState(jnp.asarray(step, jnp.int32), adapted, opt_state)


def sample_batch(key: PRNGKeyArray, sampling: Sampling, z_dim: int) -> Batch:
    """Latents from N(0, I) and cameras from the distribution."""
    z_key, camera_key, render_key = jax.random.split(key, 3)
    n = sampling.batch_size
    z = jax.random.normal(z_key, (n, z_dim))
    looking = cameras.sample_poses(camera_key, n, sampling.camera)
    conditioning = looking if sampling.conditioning == 'same' else frontal_cameras(n, sampling.camera)
    return Batch(z, looking, conditioning, render_key)


def frontal_cameras(n: int, camera: CameraConfig) -> Float[Array, 'N 25']:
    """n times the camera at the middle of the distribution."""
    return cameras.orbit_cameras(jnp.full(n, camera.yaw_mean), jnp.full(n, camera.pitch_mean), camera)


class Numbers(NamedTuple):
    """The settings of a phase that are arguments of its program: runs that differ in them alone are compiled once."""

    learning_rate: Float[Array, '']
    weights: dict[str, Float[Array, '']]  # of the losses above 0


def without_numbers(phase: Phase) -> tuple[Numbers, Phase]:
    """The numbers of a phase, and what is left of it, which is equal for all phases that share a program."""
    settings = phase.settings
    numbers = Numbers(
        jnp.asarray(settings.learning_rate, jnp.float32),
        {name: jnp.asarray(weight, jnp.float32) for name, weight in vars(settings.weights).items() if weight},
    )
    asked_for = LossWeights(**{name: float(bool(weight)) for name, weight in vars(settings.weights).items()})
    same = replace(settings, steps=1, learning_rate=1.0, final_rate=1.0, weights=asked_for)
    return numbers, replace(phase, name='', start=0, settings=same)


def at_step(numbers: Numbers, phase: Phase, step: Int[Array, '']) -> Numbers:
    """The numbers of a phase at one of its steps, counted over the run: the learning rate falls along half a cosine."""
    progress = (step - phase.start) / phase.settings.steps
    final = phase.settings.final_rate
    share = final + (1 - final) * (1 + jnp.cos(jnp.pi * progress)) / 2
    return numbers._replace(learning_rate=numbers.learning_rate * share)


def make_step(phase: Phase, sampling: Sampling) -> Step:
    """The compiled step of a phase: `(state, constants, key) -> (state, metrics)`; the state's memory is reused.

    The metrics are each loss before its weight (summed over the encoders), 'loss' their weighted sum, and the norms of
    the gradient and of the trained parameters: means over the step's updates.
    """
    numbers, same = without_numbers(phase)
    program = _make_program(same, sampling)

    def step(state: TrainState, constants: Constants, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        return program(state, constants, at_step(numbers, phase, state.step), key)

    return step


@cache
def _make_program(
    phase: Phase, sampling: Sampling
) -> Callable[[TrainState, Constants, Numbers, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """The compiled step of all phases that differ in their `Numbers`, name, start and length alone."""
    weights = phase.settings.weights  # 1 where a loss is asked for

    @partial(jax.jit, donate_argnums=0)
    def program(
        state: TrainState, constants: Constants, numbers: Numbers, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        source, transformation = constants.source, optimizer(numbers.learning_rate)
        batch = sample_batch(jax.random.fold_in(key, state.step), sampling, source.config.z_dim)
        advance = partial(advance_stages, batch=batch, phase=phase, psi=sampling.truncation_psi)

        stop = last_stage(weights)
        source_stages = advance(source, (), stop)
        shared = source_stages[: phase.first_changed]
        fixed = advance(with_leaves(source, state.adapted), shared, phase.first_trained)
        pair = partial(advance_pair, counterpart=constants.counterpart, key=batch.key, phase=phase)
        pair_fixed = pair(with_leaves(source, state.adapted), (), phase.first_trained)
        look_at = make_look(source_stages, constants.guides, sampling, weights)

        def objective(trained: Leaves, look: Look) -> tuple[Array, Metrics]:
            generator = with_leaves(source, {**state.adapted, **without_strokes(trained, phase)})
            adapted = advance(generator, fixed, stop)
            drawn = pair(generator, pair_fixed, stop)
            values = stage_losses(adapted, source_stages, look, constants.guides, weights, constants.reference, drawn)
            weighted = [numbers.weights[name] * value for name, value in values.items()]
            return sum(weighted, jnp.zeros(())), values

        def update(
            carry: tuple[Leaves, optax.OptState], key: PRNGKeyArray
        ) -> tuple[tuple[Leaves, optax.OptState], Metrics]:
            trained, opt_state = carry
            (loss, values), gradients = jax.value_and_grad(objective, has_aux=True)(trained, look_at(key))
            updates, opt_state = transformation.update(gradients, opt_state, trained)
            trained = optax.apply_updates(trained, updates)
            norms = {'gradient_norm': optax.tree.norm(gradients), 'parameter_norm': optax.tree.norm(trained)}
            return (trained, opt_state), {'loss': loss, **values, **norms}

        carry = ({name: state.adapted[name] for name in phase.trained}, state.optimizer)
        keys = look_keys(batch, phase)
        if phase.settings.updates == 1:
            (trained, opt_state), metrics = update(carry, keys[0])
        else:
            (trained, opt_state), each = jax.lax.scan(update, carry, keys)
            metrics = jax.tree.map(jnp.mean, each)
        return TrainState(state.step + 1, {**state.adapted, **trained}, opt_state), metrics

    return program


def last_stage(weights: LossWeights) -> int:
    """How far images have to go: feature images are enough for the feature structure alone."""
    return 1 + (IMAGE if weights.of_images else FEATURES)


def advance_stages(
    generator: TriPlaneGenerator, done: Stages, stop: int, *, batch: Batch, phase: Phase, psi: float
) -> Stages:
    """Takes a batch from where it is through the stages before `stop`."""
    while len(done) < stop:
        done = (*done, _stage(generator, done, batch, phase, psi))
    return done


def advance_pair(
    generator: TriPlaneGenerator,
    done: Stages,
    stop: int,
    *,
    counterpart: Counterpart | None,
    key: PRNGKeyArray,
    phase: Phase,
) -> Stages:
    """The same of the reference's counterpart, whose first stage is known; nothing where the phase asks for no pair."""
    if not phase.settings.weights.pair:
        return ()
    assert counterpart is not None, 'a run finds the counterpart where a phase asks for the pair'
    batch = Batch(jnp.zeros((1, generator.config.z_dim)), counterpart.camera, counterpart.camera, key)
    return advance_stages(generator, done or (counterpart.ws,), stop, batch=batch, phase=phase, psi=1.0)


def _stage(generator: TriPlaneGenerator, done: Stages, batch: Batch, phase: Phase, psi: float) -> Any:
    """The output of the next stage."""
    match done:
        case ():
            return generator.mapping(batch.z, batch.conditioning, psi)
        case (ws,):
            return generator.planes(ws)
        case (_, planes):
            return generator.render(planes, batch.camera, batch.key, phase.settings.render_resolution)
        case (ws, _, rendered):
            return generator.superresolve(rendered.feature_image, ws, rendered.points)
    raise ValueError(f'an image has {len(PIPELINE)} stages, {len(done)} are done')


def look_keys(batch: Batch, phase: Phase) -> Key[Array, '_']:
    """A key for the look of each update of a step."""
    return jax.random.split(jax.random.fold_in(batch.key, LOOK_STREAM), phase.settings.updates)


def make_look(
    source: Stages, guides: tuple[Guide, ...], sampling: Sampling, weights: LossWeights
) -> Callable[[PRNGKeyArray], Look]:
    """The look of a key at a batch, of which the source's stages are done; without crops, they are encoded once."""
    encode = partial(encode_stages, source, guides, embed=bool(weights.dir), tokens=bool(weights.istr))
    whole = () if sampling.crop else encode(None)

    def look(key: PRNGKeyArray) -> Look:
        crop_key, slice_key = jax.random.split(key)
        crops = draw_crops(crop_key, sampling.batch_size, sampling.crop)
        origins = whole if crops is None else encode(crops)
        return Look(crops, origins, draw_slices(slice_key) if weights.fine or weights.crisp else None)

    return look


def encode_stages(
    stages: Stages, guides: tuple[Guide, ...], crops: Crops | None, *, embed: bool, tokens: bool
) -> tuple[ImageEncoding, ...]:
    """What each guide makes of the images, or of their crops; nothing where the stages end at feature images."""
    if len(stages) <= IMAGE:
        return ()
    seen = crop_images(stages[IMAGE], crops)
    return tuple(guide.encode(seen, tokens=tokens, embed=embed) for guide in guides)


def stage_losses(
    adapted: Stages,
    source: Stages,
    look: Look,
    guides: tuple[Guide, ...],
    weights: LossWeights,
    reference: Float[Array, 'S S 3'] | None,
    pair: Stages = (),
) -> Metrics:
    """Each loss of a weight above 0, before it; those of encodings are summed over the guides.

    pair: the stages of the adapted generator's image of the counterpart, where that is asked for.
    """
    values = {name: jnp.zeros(()) for name, weight in vars(weights).items() if weight}
    if weights.fstr:
        values['fstr'] += losses.feature_structure_loss(adapted[FEATURES].feature_image, source[FEATURES].feature_image)
    for name, loss in (('fine', fine_detail_loss), ('crisp', crispness_loss)):
        if name in values:
            assert reference is not None, 'read_config refuses fine detail without a reference'
            assert look.slices is not None
            values[name] += loss(adapted[IMAGE], reference, look.slices)
    if weights.palette:
        assert reference is not None, 'read_config refuses a palette without a reference'
        values['palette'] += palette_loss(adapted[IMAGE], reference)
    if weights.edges:
        values['edges'] += new_edges_loss(adapted[IMAGE], source[IMAGE])
    if weights.pair:
        assert reference is not None, 'read_config refuses a pair without a reference'
        values['pair'] += pair_loss(pair[IMAGE], reference)
    encodings = encode_stages(
        adapted, guides, look.crops, embed=bool(weights.dir), tokens=bool(weights.dis or weights.istr)
    )
    for guide, found, origin in zip(guides if encodings else (), encodings, look.origins, strict=True):
        if found.embedding is not None and origin.embedding is not None:
            values['dir'] += losses.direction_loss(found.embedding, origin.embedding, guide.domain_direction)
        if weights.dis:
            assert guide.reference_tokens is not None, 'read_config refuses TDL without a reference'
            values['dis'] += losses.distribution_loss(found.tokens[0], guide.reference_tokens)
        if weights.istr:
            values['istr'] += losses.image_structure_loss(found.tokens[0], origin.tokens[0])
    return values
