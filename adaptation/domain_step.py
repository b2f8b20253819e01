"""One training step over several domains: the same batch of heads in every domain, the gradients added.

What the domains share is computed once: the source's images and their encodings, and all stages before the first
changed one. The domains follow one another in a scan, so that one program of one domain's size serves all.

K domains, T patch tokens, C channels of a token, D channels of an embedding, S side of a reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from adaptation.config import DomainConfig, LossFactors
from adaptation.domains import domain_leaves, is_own
from adaptation.guidance import Guide
from adaptation.leaves import with_leaves
from adaptation.pair import Counterpart
from adaptation.phases import Phase
from adaptation.step import (
    Leaves,
    Look,
    Metrics,
    Numbers,
    Sampling,
    Stages,
    TrainState,
    advance_pair,
    advance_stages,
    at_step,
    last_stage,
    look_keys,
    make_look,
    optimizer,
    sample_batch,
    stage_losses,
    without_numbers,
)
from adaptation.strokes import without_strokes, without_strokes_of_some
from eg3d_jax import TriPlaneGenerator


class DomainConstants(NamedTuple):
    """What training does not change.

    guides: of any domain; their references and directions are replaced by those of the domain at hand.
    tokens, directions: of all domains, for each guide.
    factors: what each domain multiplies the weights of the losses by.
    rates: and the learning rate, of its own leaves.
    strokes: whether each domain takes part in a phase's strokes.
    references: the pictures whose fine detail or palette or whose pairs are asked for; None where none is.
    counterparts: the source's heads in them; None where no pair is asked for.
    """

    source: TriPlaneGenerator
    guides: tuple[Guide, ...]
    tokens: tuple[Float[Array, 'K _ _'], ...]
    directions: tuple[Float[Array, 'K _'], ...]
    factors: dict[str, Float[Array, 'K']]
    rates: Float[Array, 'K']
    strokes: Bool[Array, 'K']
    references: Float[Array, 'K S S 3'] | None = None
    counterparts: Counterpart | None = None  # each array with K before its own axes


DomainStep = Callable[[TrainState, DomainConstants, PRNGKeyArray], tuple[TrainState, Metrics]]


def domain_constants(
    source: TriPlaneGenerator,
    guides: Sequence[tuple[Guide, ...]],
    domains: Sequence[DomainConfig],
    references: Sequence[Float[Array, 'S S 3']] = (),
    counterparts: Sequence[Counterpart] = (),
) -> DomainConstants:
    """The constants of a run, from the guides, the settings, the picture and its head of each domain."""
    each = list(zip(*guides, strict=True))  # of each encoder, the guides of all domains
    tokens = tuple(
        jnp.stack([guide.reference_tokens for guide in group if guide.reference_tokens is not None]) for group in each
    )
    directions = tuple(jnp.stack([guide.domain_direction for guide in group]) for group in each)
    names = vars(LossFactors())
    factors = {name: jnp.asarray([getattr(one.factors, name) for one in domains], jnp.float32) for name in names}
    rates = jnp.asarray([one.rate for one in domains], jnp.float32)
    strokes = jnp.asarray([one.strokes for one in domains])
    pictures = jnp.stack(references) if len(references) else None
    heads = jax.tree.map(lambda *parts: jnp.stack(parts), *counterparts) if counterparts else None
    return DomainConstants(source, guides[0], tokens, directions, factors, rates, strokes, pictures, heads)


def make_domain_step(phase: Phase, sampling: Sampling, domains: int) -> DomainStep:
    """The compiled step of a phase, as `step.make_step` makes it; `state.adapted` is as `adaptation.domains` says.

    The metrics are means over the domains.
    """
    numbers, same = without_numbers(phase)
    program = _make_program(same, sampling, domains)

    def step(state: TrainState, constants: DomainConstants, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        return program(state, constants, at_step(numbers, phase, state.step), key)

    return step


@cache
def _make_program(
    phase: Phase, sampling: Sampling, domains: int
) -> Callable[[TrainState, DomainConstants, Numbers, PRNGKeyArray], tuple[TrainState, Metrics]]:
    """The compiled step of all phases that differ in their `Numbers`, name, start and length alone."""
    weights = phase.settings.weights  # 1 where a loss is asked for

    @partial(jax.jit, donate_argnums=0)
    def program(
        state: TrainState, constants: DomainConstants, numbers: Numbers, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        source, indices = constants.source, jnp.arange(domains)
        transformation = optimizer(numbers.learning_rate)
        batch = sample_batch(jax.random.fold_in(key, state.step), sampling, source.config.z_dim)
        advance = partial(advance_stages, batch=batch, phase=phase, psi=sampling.truncation_psi)

        stop = last_stage(weights)
        source_stages = advance(source, (), stop)
        shared = source_stages[: phase.first_changed]
        look_at = make_look(source_stages, constants.guides, sampling, weights)

        def pair_of(domain: Int[Array, '']) -> Callable[..., Stages]:
            counterpart = jax.tree.map(lambda part: part[domain], constants.counterparts)
            return partial(advance_pair, counterpart=counterpart, key=batch.key, phase=phase)

        def before_trained(domain: Int[Array, '']) -> tuple[Stages, Stages]:
            generator = with_leaves(source, domain_leaves(state.adapted, jax.nn.one_hot(domain, domains)))
            own = advance(generator, shared, phase.first_trained)[len(shared) :]
            return own, pair_of(domain)(generator, (), phase.first_trained)

        fixed = jax.lax.map(before_trained, indices)

        def objective(
            trained: Leaves, domain: Int[Array, ''], fixed: tuple[Stages, Stages], look: Look
        ) -> tuple[Array, Metrics]:
            held = without_strokes_of_some(without_strokes(trained, phase), constants.strokes)
            leaves = domain_leaves({**state.adapted, **held}, jax.nn.one_hot(domain, domains))
            generator, (own, of_pair) = with_leaves(source, leaves), fixed
            adapted = advance(generator, (*shared, *own), stop)
            drawn = pair_of(domain)(generator, of_pair, stop)
            reference = None if constants.references is None else constants.references[domain]
            guides = _guides_of(constants, domain)
            values = stage_losses(adapted, source_stages, look, guides, weights, reference, drawn)
            weighted = [
                numbers.weights[name] * constants.factors[name][domain] * value for name, value in values.items()
            ]
            return sum(weighted, jnp.zeros(())), values

        def update(
            carry: tuple[Leaves, optax.OptState], key: PRNGKeyArray
        ) -> tuple[tuple[Leaves, optax.OptState], Metrics]:
            (trained, opt_state), look = carry, look_at(key)

            def add_domain(total: Leaves, each: tuple[Array, tuple[Stages, Stages]]) -> tuple[Leaves, Metrics]:
                (loss, values), gradients = jax.value_and_grad(objective, has_aux=True)(trained, *each, look)
                say = constants.rates[each[0]]
                added = jax.tree.map(lambda one, gradient: one + say * gradient, total, gradients)
                return added, {'loss': loss, **values}

            gradients, values = jax.lax.scan(add_domain, jax.tree.map(jnp.zeros_like, trained), (indices, fixed))
            updates, opt_state = transformation.update(gradients, opt_state, trained)
            # Adam does not mind how large a gradient is: a rate has to come behind it.
            updates = {name: _at_rates(name, update, constants.rates) for name, update in updates.items()}
            trained = optax.apply_updates(trained, updates)
            norms = {'gradient_norm': optax.tree.norm(gradients), 'parameter_norm': optax.tree.norm(trained)}
            return (trained, opt_state), {**jax.tree.map(jnp.mean, values), **norms}

        carry = ({name: state.adapted[name] for name in phase.trained}, state.optimizer)
        (trained, opt_state), each = jax.lax.scan(update, carry, look_keys(batch, phase))
        metrics = jax.tree.map(jnp.mean, each)
        return TrainState(state.step + 1, {**state.adapted, **trained}, opt_state), metrics

    return program


def _guides_of(constants: DomainConstants, domain: Int[Array, '']) -> tuple[Guide, ...]:
    return tuple(
        replace(guide, reference_tokens=tokens[domain], domain_direction=directions[domain])
        for guide, tokens, directions in zip(constants.guides, constants.tokens, constants.directions, strict=True)
    )


def _at_rates(name: str, update: Float[Array, '...'], rates: Float[Array, 'K']) -> Float[Array, '...']:
    """A leaf's update, that of each domain's own part at the domain's rate."""
    return update * rates.reshape(-1, *(1,) * (update.ndim - 1)) if is_own(name) else update
