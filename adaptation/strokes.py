"""The strengths of strokes in training: who may change them, and where they begin. See `eg3d_jax.hatching`.

K domains.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from adaptation.domains import Leaves, is_own, shared_name
from adaptation.errors import ConfigError
from adaptation.phases import Phase
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.hatching import is_strength

FIRST_STRENGTH = 0.2  # about what sketches end with


def refuse_strokes_without_noise(phases: tuple[Phase, ...], generator: TriPlaneGenerator) -> None:
    """Refuses phases that ask for strokes where G2's noise is off, as in the published networks, or where they train
    none of its strengths.

    Raises:
        ConfigError: naming each such phase.
    """
    asking = [phase for phase in phases if phase.settings.strokes]
    if generator.config.superresolution.noise_mode == 'none':
        problems = [
            f"config.phases.{phase.name}.strokes: this generator's super-resolution has its noise off: give its "
            f'config.json "noise_mode": "hatching" under "superresolution", or leave strokes out'
            for phase in asking
        ]
    else:
        problems = [
            f"config.phases.{phase.name}.strokes: {', '.join(phase.settings.trained)} holds no strength of G2's noise: "
            f'train superresolution, or leave strokes out'
            for phase in asking
            if not any(map(is_strength, phase.trained))
        ]
    if problems:
        raise ConfigError(problems)


def with_first_strokes(adapted: Leaves, phase: Phase, strokes: Sequence[bool] = ()) -> Leaves:
    """The leaves at the start of a phase: strengths at 0 that it asks strokes of begin at `FIRST_STRENGTH`.

    At 0, what strokes look like has no gradient, and what the strengths would gain by them hardly one: which way they
    go, and whether they go at all, is left to chance.

    Args:
        adapted: before the phase.
        strokes: whether each domain takes part in strokes; empty in a run without domains.
    """
    if not phase.settings.strokes:
        return adapted

    def first(name: str, leaf: Array) -> Array:
        if not is_strength(name) or name not in phase.trained:
            return leaf
        bare, starts = leaf == 0, FIRST_STRENGTH * jnp.asarray(strokes or 1.0, leaf.dtype)
        if is_own(name):
            bare &= adapted[shared_name(name)] == 0
        return jnp.where(bare, starts, leaf)

    return {name: first(name, leaf) for name, leaf in adapted.items()}


def without_strokes(trained: Leaves, phase: Phase) -> Leaves:
    """The trained leaves. No gradient reaches the strengths of G2's noise, unless the phase asks for strokes or names
    a strength itself."""

    def held(name: str) -> bool:
        return is_strength(name) and not phase.settings.strokes and shared_name(name) not in phase.settings.trained

    return {name: jax.lax.stop_gradient(leaf) if held(name) else leaf for name, leaf in trained.items()}


def without_strokes_of_some(trained: Leaves, strokes: Bool[Array, 'K']) -> Leaves:
    """The trained leaves. No gradient reaches the strengths of G2's noise of domains that strokes are not for."""
    return {
        name: jnp.where(strokes, leaf, jax.lax.stop_gradient(leaf)) if is_strength(name) and is_own(name) else leaf
        for name, leaf in trained.items()
    }
