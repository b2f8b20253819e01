"""Which parameters a generator's images depend on at all."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.interpreters import partial_eval
from jaxtyping import Array

from adaptation.domains import shared_name
from adaptation.errors import ConfigError
from adaptation.leaves import named_leaves, with_leaves
from adaptation.phases import Phase
from eg3d_jax import TriPlaneGenerator


def refuse_phases_without_effect(phases: tuple[Phase, ...], generator: TriPlaneGenerator) -> None:
    """Refuses phases none of whose parameters changes an image, such as the strengths of a noise that is off.

    Only phases that train parts of stages are looked at: of a whole stage, something always has an effect.

    Raises:
        ConfigError: naming each such phase.
    """
    partial = [phase for phase in phases if all('.' in prefix for prefix in phase.settings.trained)]
    if not partial:
        return
    used = used_parameters(generator)
    problems = [no_effect(phase) for phase in partial if not used.intersection(map(shared_name, phase.trained))]
    if problems:
        raise ConfigError(problems)


def no_effect(phase: Phase) -> str:
    """Says that a phase trains nothing."""
    return (
        f'config.phases.{phase.name}: its losses have no gradient in {", ".join(phase.settings.trained)}: '
        'train other parts of the generator, or give dir or dis a weight'
    )


def used_parameters(generator: TriPlaneGenerator) -> frozenset[str]:
    """Names of the parameters that the program of an image reads; nothing is computed."""

    def image(leaves: dict[str, Array], generator: TriPlaneGenerator, z: Array, camera: Array) -> Array:
        return with_leaves(generator, leaves)(z, camera).image

    parameters = named_leaves(generator, nnx.Param)
    z, camera = jnp.zeros((1, generator.config.z_dim)), jnp.zeros((1, generator.config.c_dim))
    program = jax.make_jaxpr(image)(parameters, generator, z, camera).jaxpr
    _, read = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    names = sorted(parameters)  # the order in which JAX takes a dictionary apart
    return frozenset(name for name, is_read in zip(names, read[: len(names)], strict=True) if is_read)
