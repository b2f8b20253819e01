"""Tables of names: EG3D's generator and dual discriminator -> ours, which are the same; and their constants."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from convert.engine import CONVOLUTION, FEATURE_MAP, LINEAR, SAME, Ignore, Table, Use

_TAPS = np.array([1, 3, 3, 1], np.float32)
RESAMPLE_FILTER = np.outer(_TAPS, _TAPS) / _TAPS.sum() ** 2
FILTERS = Ignore(r'(.*\.)?resample_filter', 'resample_filter is a constant of the code', RESAMPLE_FILTER)

BLOCK = r'(backbone\.synthesis\.b\d+|superresolution\.block[01])'
LAYER = rf'{BLOCK}\.(conv0|conv1|torgb)'

# What differs between the two sides is the layout alone.
GENERATOR: Table = (
    Use.one(r'backbone\.mapping\.(embed|fc\d+)\.weight', LINEAR),
    Use.one(r'backbone\.mapping\.((embed|fc\d+)\.bias|w_avg)', SAME),
    Use.one(r'backbone\.synthesis\.b4\.const', FEATURE_MAP),
    Use.one(rf'{LAYER}\.weight', CONVOLUTION),
    Use.one(rf'{LAYER}\.affine\.weight', LINEAR),
    Use.one(rf'{LAYER}\.(affine\.)?bias', SAME),
    Use.one(rf'{BLOCK}\.conv[01]\.(noise_strength|noise_const)', SAME),
    Use.one(r'decoder\.net\.[02]\.weight', LINEAR),
    Use.one(r'decoder\.net\.[02]\.bias', SAME),
    FILTERS,
)
DISCRIMINATOR: Table = (
    Use.one(r'b\d+\.(fromrgb|conv|conv0|conv1|skip)\.weight', CONVOLUTION),
    Use.one(r'b\d+\.(fromrgb|conv|conv0|conv1)\.bias', SAME),
    Use.one(r'(mapping\.(embed|fc\d+)|b4\.(fc|out))\.weight', LINEAR),
    Use.one(r'(mapping\.(embed|fc\d+)|b4\.(fc|out))\.bias', SAME),
    FILTERS,
)
DISCRIMINATOR_MARK = 'b4.out.weight'  # a name that only a discriminator has


def discriminator_filters(names: Iterable[str]) -> list[str]:
    """The published names of a discriminator's filters, as `generator_filters` does."""
    modules = {match[0] for name in names if (match := re.match(r'b\d+\.(fromrgb|conv\d?|skip)(?=\.)', name))}
    modules |= {module.partition('.')[0] for module in modules} - {'b4'}
    return sorted(['resample_filter', *(f'{module}.resample_filter' for module in modules)])


def generator_filters(names: Iterable[str], first_block_doubles: bool) -> list[str]:
    """The published names of a generator's filters, each a buffer with the value RESAMPLE_FILTER.

    Args:
      names: of its other arrays.
      first_block_doubles: whether its super-resolution is the one for 512 pixels, whose class has no filter itself.
    """
    modules = {match[0] for name in names if (match := re.match(rf'{BLOCK}(\.conv[01])?(?=\.)', name))}
    modules |= {match[1] for name in names if (match := re.match(BLOCK, name))}
    modules |= set() if first_block_doubles else {'superresolution'}
    return sorted(f'{module}.resample_filter' for module in modules)
