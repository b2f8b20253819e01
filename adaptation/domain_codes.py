"""Domains by name, and the codes that they stand for; read without waiting for JAX.

K domains.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float


class DomainError(ValueError):
    """A domain that an adapter does not have, or weights that are none."""


def parse_code(text: str) -> dict[str, float]:
    """Weights by domain from 'sketch' or 'sketch:0.5,ukiyoe:0.5'; a name without a number counts 1.

    Raises:
        DomainError: the text is nothing of the kind.
    """
    weights: dict[str, float] = {}
    for part in text.split(','):
        name, colon, number = (piece.strip() for piece in part.partition(':'))
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not name or not math.isfinite(weight) or name in weights:
            raise DomainError(f"{text!r} names no domain: give a name, or weights such as 'sketch:0.5,ukiyoe:0.5'.")
        weights[name] = weight
    return weights


def code_of(domain: str | Mapping[str, float], domains: Sequence[str]) -> Float[np.ndarray, 'K']:
    """The code of a domain or of a weighted sum of domains.

    Args:
        domain: a name, or weights of names as a dictionary or as `parse_code` reads them. Weights of sum 1 lie between
            the domains (or beyond, where some are negative).
        domains: the names of all.

    Raises:
        DomainError: a domain that is not among them, or a weight that is not finite.
    """
    weights = parse_code(domain) if isinstance(domain, str) else domain
    for name, weight in weights.items():
        if name not in domains:
            raise DomainError(f'there is no domain {name!r}: it holds {", ".join(domains)}.')
        if not math.isfinite(weight):
            raise DomainError(f'the weight of {name} is {weight}: give a finite number.')
    return np.asarray([weights.get(name, 0.0) for name in domains], np.float32)
