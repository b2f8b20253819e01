"""Generators on the line from a source to what it was adapted to, and beyond."""

from collections.abc import Mapping
from pathlib import Path

from jax import Array

from adaptation.adapter import load_leaves
from adaptation.generation.defaults import STRONGEST
from adaptation.leaves import named_leaves, with_leaves
from eg3d_jax import TriPlaneGenerator


def at_strength(
    source: TriPlaneGenerator,
    adapter: str | Path | Mapping[str, Array],
    strength: float,
    domain: str | Mapping[str, float] | None = None,
) -> TriPlaneGenerator:
    """The generator whose adapted leaves are `(1 - strength) * source + strength * adapted`; all others are shared.

    Args:
        source: the generator that was adapted. It is not changed.
        adapter: what `adaptation.load_adapted` takes, or the adapted leaves by name.
        strength: 0 gives the source exactly and 1 the adapted generator exactly; up to 1.5, the style is exaggerated.
        domain: as for `adaptation.load_adapted`; of leaves, None.

    Raises:
        ValueError: a strength outside of [0, 1.5].
        AdapterError: the adapter is missing or damaged, or was made from another generator.
    """
    if not 0.0 <= strength <= STRONGEST:
        raise ValueError(f'strength must lie in [0, {STRONGEST}], got {strength}')
    adapted = adapter if isinstance(adapter, Mapping) else load_leaves(source, adapter, domain)
    own = named_leaves(source)
    return with_leaves(source, {name: (1.0 - strength) * own[name] + strength * leaf for name, leaf in adapted.items()})
