"""Seeds: how a command names them, and the latent that each stands for."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

SEEDS = 2**32  # one more than the largest seed
MOST_SEEDS = 100_000  # of one command: more is a slip of the pen
FORMS = "give seeds as '7', '0-15', '3,5,8' or a mixture such as '0-3,8'"

_PART = re.compile(r'(\d+)(?:-(\d+))?')


def parse_seeds(text: str, most: int = MOST_SEEDS) -> tuple[int, ...]:
    """The seeds that a text names, `most` of them at most, in its order and without repetitions.

    Raises:
        ValueError: it names none; the message says which forms there are.
    """
    seeds: dict[int, None] = {}
    for part in text.split(','):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f'{part.strip() or text!r} names no seeds: {FORMS}')
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise ValueError(f'the range {part.strip()} ends before it begins: {FORMS}')
        if last >= SEEDS:
            raise ValueError(f'{last} is no seed: seeds are smaller than 2^32')
        if len(seeds) + last - first >= most:
            raise ValueError(f'{text} names more than {most:,} seeds: ask for fewer at a time')
        seeds |= dict.fromkeys(range(first, last + 1))
    return tuple(seeds)


def latents(seeds: Sequence[int], z_dim: int) -> Float[np.ndarray, 'N Z']:
    """The latents of seeds, each independent of the others: normally distributed, [N, z_dim].

    They are those of NumPy's legacy generator, whose stream never changes and with which EG3D's seeds are drawn: with a
    published network, seed 0 is the head that is known by this number.
    """
    drawn = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return np.asarray(drawn, np.float32).reshape(-1, z_dim)
