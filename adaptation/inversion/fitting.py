"""The fit of a head to a photograph: one point in w, then one for each layer (W+), then the backbone itself (pivotal
tuning, arXiv 2106.05744), while the camera follows.

Adapters change Tri-D and G2. What is tuned here is the backbone (G1) alone, so that the tuned leaves serve the source
and every adapted generator alike.

L number of w vectors, K coordinates of w, S side of an image, h side of a small rendering.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from adaptation.inversion import poses
from adaptation.inversion.latents import Basis
from adaptation.inversion.objective import Seer, Weights, see, token_distance
from adaptation.leaves import matching, named_leaves, with_leaves
from adaptation.pair import pool
from eg3d_jax import CameraConfig, TriPlaneGenerator
from eg3d_jax.config import RGB_CHANNELS

TUNED = 'backbone.synthesis'
SMALL = 2  # a small rendering has this share of the rays' rows
POSE_EVERY = 4  # steps
WEIGHTS = Weights()
ADAM = {'b1': 0.9, 'b2': 0.99}
EPSILON = 1e-3  # of the locality's share, where planes are constant

Leaves = dict[str, Array]


class Variables(NamedTuple):
    """What is fitted."""

    coordinates: Float[Array, 'K']
    offsets: Float[Array, 'L K']
    tuned: Leaves  # of the backbone, by name


class Rates(NamedTuple):
    """Learning rates, numbers or arrays; 0 leaves the part as it is. Those of tuned leaves are shares of their size."""

    coordinates: ArrayLike = 0.0
    offsets: ArrayLike = 0.0
    tuned: ArrayLike = 0.0


@dataclass(frozen=True)
class Stage:
    """A part of the fit. small: from small renderings alone, without G2. poses: whether the camera is refined."""

    name: str
    steps: int
    rates: Rates
    small: bool = False
    poses: bool = True


STAGES = (
    Stage('start', 40, Rates(coordinates=0.15), small=True),
    Stage('w', 80, Rates(coordinates=0.08)),
    Stage('w+', 60, Rates(coordinates=0.03, offsets=0.05)),
    Stage('tuned', 60, Rates(tuned=0.01), poses=False),
)
SPACES = tuple(stage.name for stage in STAGES[1:])


class Subject(NamedTuple):
    """What does not change: the arguments of every step."""

    generator: TriPlaneGenerator
    basis: Basis
    seer: Seer
    target: Float[Array, '1 S S 3']
    small_target: Float[Array, '1 h h 3']


@dataclass
class Fit:
    """The state of a fit; `losses` of the last step."""

    variables: Variables
    optimizer: Any
    pose: poses.Pose
    stage: int = 0
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)


def initial(subject: Subject, pose: poses.Pose) -> Fit:
    """A fit that begins with the mean head in this pose."""
    leaves = named_leaves(subject.generator, nnx.Param)
    tuned = {name: leaves[name] for name in matching(tuple(leaves), TUNED)}
    layers, size = subject.generator.config.num_ws, len(subject.basis.axes)
    variables = Variables(jnp.zeros(size), jnp.zeros((layers, size)), tuned)
    return Fit(variables, _adam().init(variables), pose)


def ws_of(subject: Subject, variables: Variables) -> Float[Array, '1 L D']:
    """The w vectors."""
    return subject.basis.ws(variables.coordinates, variables.offsets)


def small_target(image: Float[np.ndarray, 'S S 3'], generator: TriPlaneGenerator) -> Float[np.ndarray, 'h h 3']:
    """The photograph at the size of small renderings."""
    side = small_side(generator)
    shape = (side, side, RGB_CHANNELS)
    return np.asarray(jax.image.resize(jnp.asarray(image), shape, 'linear', antialias=True))


def small_side(generator: TriPlaneGenerator) -> int:
    """h."""
    return max(1, generator.config.rendering.neural_resolution // SMALL)


def advance(
    fit: Fit, subject: Subject, camera: CameraConfig, layers: tuple[int, ...], expected: poses.Expected, stage: Stage
) -> None:
    """One step of a stage, in place; behind its last step, the next one begins.

    Args:
        layers: for each encoder, the block whose tokens are compared.
        expected: what is known of the pose.
        stage: the one that the fit is in.
    """
    if stage.poses and fit.step % POSE_EVERY == 0:
        planes = _tuned_planes(subject.generator, fit.variables.tuned, ws_of(subject, fit.variables))
        target = np.asarray(subject.small_target[0])
        fit.pose = poses.refine(subject.generator, planes, target, fit.pose, expected, camera)
    looking = poses.cameras_of(jnp.asarray(fit.pose[None], jnp.float32), camera)
    key = jax.random.fold_in(jax.random.key(fit.stage), fit.step)
    progress = jnp.float32(fit.step / stage.steps)
    step = make_step(stage.small, layers)
    rates = Rates(*map(jnp.float32, stage.rates))
    fit.variables, fit.optimizer, losses = step(fit.variables, fit.optimizer, subject, looking, rates, progress, key)
    fit.losses = {name: float(value) for name, value in losses.items()}
    fit.step += 1
    if fit.step == stage.steps:
        fit.stage, fit.step = fit.stage + 1, 0
        fit.optimizer = _adam().init(fit.variables)


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam(**ADAM)


@jax.jit
def _tuned_planes(generator: TriPlaneGenerator, tuned: Leaves, ws: Array) -> Array:
    return with_leaves(generator, tuned).planes(ws)


@cache
def make_step(small: bool, layers: tuple[int, ...]) -> Callable:
    """The compiled step `(variables, optimizer, subject, camera, rates, progress, key) -> (the first two, losses)`.

    progress: share of the stage that is done; the rates fall to nothing along half a cosine.
    """

    def objective(
        variables: Variables, subject: Subject, looking: Array, rates: Rates, key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        generator = with_leaves(subject.generator, variables.tuned)
        ws = ws_of(subject, variables)
        planes = generator.planes(ws)
        values = {
            'prior': jnp.mean(jnp.square(variables.coordinates)),
            'offsets': jnp.mean(jnp.square(variables.offsets)),
        }
        if small:
            side = subject.small_target.shape[1]
            made = generator.render(planes, looking, resolution=side).feature_image[..., :RGB_CHANNELS]
            values['colour'] = jnp.mean(jnp.abs(made - subject.small_target))
            values['pooled'] = jnp.mean(jnp.square(made - subject.small_target))
        else:
            rendered = generator.render(planes, looking)
            image = generator.superresolve(rendered.feature_image, ws, rendered.points)
            values |= image_losses(image, subject, layers)
            values['locality'] = _locality(generator, subject, key)
        total = sum((getattr(WEIGHTS, name) * value for name, value in values.items()), jnp.zeros(()))
        return total, {'loss': total, **values}

    @jax.jit
    def step(
        variables: Variables,
        optimizer: Any,
        subject: Subject,
        looking: Array,
        rates: Rates,
        progress: Array,
        key: PRNGKeyArray,
    ) -> tuple[Variables, Any, dict[str, Array]]:
        slopes, losses = jax.grad(objective, has_aux=True)(variables, subject, looking, rates, key)
        moves, optimizer = _adam().update(slopes, optimizer, variables)
        falling = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))

        def moved(rate: ArrayLike, scale: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
            return lambda value, move: value - falling * rate * scale(value) * move

        one = jnp.ones_like(falling)
        variables = Variables(
            moved(rates.coordinates, lambda _: one)(variables.coordinates, moves.coordinates),
            moved(rates.offsets, lambda _: one)(variables.offsets, moves.offsets),
            jax.tree.map(moved(rates.tuned, _deviation), variables.tuned, moves.tuned),
        )
        return variables, optimizer, losses

    return step


def image_losses(image: Float[Array, '1 S S 3'], subject: Subject, layers: tuple[int, ...]) -> dict[str, Array]:
    """The parts of the objective that compare pictures."""
    seen = see(subject.seer.encoders, layers, image)
    distances = [token_distance(ours, theirs) for ours, theirs in zip(seen, subject.seer.tokens, strict=True)]
    return {
        'colour': jnp.mean(jnp.abs(image - subject.target)),
        'pooled': jnp.mean(jnp.square(pool(image) - pool(subject.target))),
        'perceptual': sum(distances, jnp.zeros(())) / max(len(distances), 1),
    }


def _locality(tuned: TriPlaneGenerator, subject: Subject, key: PRNGKeyArray) -> Array:
    """How much the tuning changes the planes of a random head, as a share of their variance."""
    coordinates = jax.random.normal(key, (len(subject.basis.axes),))
    ws = subject.basis.ws(coordinates, jnp.zeros((tuned.config.num_ws, len(coordinates))))
    before = subject.generator.planes(ws)
    return jnp.mean(jnp.square(tuned.planes(ws) - before)) / (jnp.var(before) + EPSILON)


def _deviation(leaf: Array) -> Array:
    """The root mean square of a leaf, at least a small one: what its rate is a share of."""
    return jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(leaf))), EPSILON)
