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


def chosen_code(domain: str | Mapping[str, float] | None, domains: Sequence[str]) -> Float[np.ndarray, 'K'] | None:
    """The code that is chosen of an adapter; None: it holds one style, and none is chosen.

    Args:
        domain: as for `code_of`; None: nothing is said.
        domains: the names of all; none of them: the adapter holds one style.

    Raises:
        DomainError: nothing is chosen where there are several, something where there is one style, or as for `code_of`.
    """
    if not domains:
        if domain is not None:
            raise DomainError('it holds one style alone: leave the domain (--domain) out.')
        return None
    if domain is None:
        first, second, *_ = (*domains, *domains)
        raise DomainError(
            f'it holds several domains ({", ".join(domains)}): name one by domain, on a command line by '
            f'--domain={first} or --domain={first}:0.5,{second}:0.5.'
        )
    return code_of(domain, domains)


def without_zeros(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights other than 0, sorted by name: equal codes have equal ones."""
    return {name: weight for name, weight in sorted(weights.items()) if weight}


def in_words(weights: Mapping[str, float]) -> str:
    """'sketch', or '0.5 sketch 0.5 ukiyoe'."""
    if list(weights.values()) == [1.0]:
        return next(iter(weights))
    return ' '.join(f'{weight:g} {name}' for name, weight in weights.items())


def directory_name(weights: Mapping[str, float]) -> str:
    """A name of a directory for what is made with a code: 'sketch', or 'sketch=0.5+ukiyoe=0.5'."""
    weights = without_zeros(weights) or weights
    if list(weights.values()) == [1.0]:
        return next(iter(weights))
    return '+'.join(f'{name}={weight:g}' for name, weight in weights.items())
