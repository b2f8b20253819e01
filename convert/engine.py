"""From the named arrays of a source to the named arrays of one of our models, by a table of rules.

Every source entry is either used by exactly one rule or ignored by exactly one, with a reason; every array of the
model is filled exactly once and with the shape that it must have. Everything that does not hold is reported at once.
So a table can be read backwards as well: `restore_arrays` gives the source's arrays back, bit for bit.

The source may read its arrays from a file when they are asked for. `convert_arrays` asks for each once, which finds any
damage, and keeps none; those of the model are read again when they are written.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Shaped

from convert.errors import ConversionError, shown
from convert.lazy_arrays import Arrays, LazyArrays

EXACT_IN_FLOAT32 = ('float16', 'bfloat16', 'float32')
FEW_LAYERS = 100  # a model of so many is made in no time, whatever arrays there are


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array of the source is laid out in the model.

    Attributes:
      axes: the source's axes in the order of the model's; None leaves them as they are.
      third: which third of the source's first axis is taken, 0 to 2; None takes all of it.
    """

    axes: tuple[int, ...] | None = None
    third: int | None = None

    def __call__(self, x: Shaped[np.ndarray, '...']) -> Shaped[np.ndarray, '...']:
        """A view of `x`.

        Raises:
          ValueError: `x` has another number of axes, or no thirds.
        """
        if self.axes is not None and x.ndim != len(self.axes):
            raise ValueError(f'expected {len(self.axes)} axes, got {x.ndim}')
        if self.third is not None:
            if x.ndim == 0 or len(x) % 3:
                raise ValueError('the first axis has no thirds')
            x = x[self.third * len(x) // 3 : (self.third + 1) * len(x) // 3]
        return x if self.axes is None else x.transpose(self.axes)

    def backwards(self, x: Shaped[np.ndarray, '...']) -> Shaped[np.ndarray, '...']:
        """What this layout was made from, as a view; of a third, the third alone."""
        return x if self.axes is None else x.transpose(np.argsort(self.axes))


SAME = Layout()
LINEAR = Layout((1, 0))  # [out, in] -> [in, out]
CONVOLUTION = Layout((2, 3, 1, 0))  # [out, in, height, width] -> [height, width, in, out]
FEATURE_MAP = Layout((1, 2, 0))  # [channels, height, width] -> [height, width, channels]


@dataclasses.dataclass(frozen=True)
class Use:
    """A source entry whose name `pattern` matches in full becomes the target `target`, which may refer to groups of the
    pattern (`\\g<0>` is the same name), in the given layout. One entry may fill several targets."""

    pattern: str
    outputs: tuple[tuple[str, Layout], ...]

    @classmethod
    def one(cls, pattern: str, layout: Layout, target: str = r'\g<0>') -> Use:
        """A rule with one target, by default of the same name."""
        return cls(pattern, ((target, layout),))


@dataclasses.dataclass(frozen=True, eq=False)
class Ignore:
    """A source entry whose name `pattern` matches in full is not needed, for this reason; if `expected` is given, only
    because it has this value."""

    pattern: str
    reason: str
    expected: np.ndarray | None = None


Table = tuple[Use | Ignore, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """An array of the model, not read yet: NumPy reads the source's array and lays it out when it needs the values
    (`np.asarray`).

    Attributes:
      source: arrays by their names in the source.
      name: of the one that this is made from.
      layout: in which it becomes the model's.
      dtype: of the values, as in the source.
      shape: in the model.
    """

    source: Arrays
    name: str
    layout: Layout
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.layout(self.source[self.name]), dtype, copy=copy)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes:
      used: the source entries that went into the model.
      ignored: the source entries that did not, by the reason why.
      filled: the model's arrays, all of them.
      values: how many numbers these hold.
      notes: what a user should know besides.
      compared: how many entries were read back from the output and compared, bit for bit (`--check`).
    """

    used: tuple[str, ...]
    ignored: Mapping[str, tuple[str, ...]]
    filled: tuple[str, ...]
    values: int
    notes: tuple[str, ...] = ()
    compared: int = 0

    @property
    def summary(self) -> str:
        """The counts and the notes."""
        return self._lines(listing=False)

    def __str__(self) -> str:
        return self._lines(listing=True)

    def _lines(self, listing: bool) -> str:
        lines = [f'{len(self.used)} entries used to fill {len(self.filled)} arrays ({self.values:,} values)']
        for reason, names in self.ignored.items():
            lines += [f'{len(names)} ignored: {reason}', *(f'  {name}' for name in names if listing)]
        if self.compared:
            lines.append(f'{self.compared} entries read back and compared: the same, bit for bit')
        lines += [f'note: {note}' for note in self.notes]
        return '\n'.join(lines)


def model_shapes(build: Callable[[], nnx.Module]) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's arrays by dotted name, found without making it.

    Raises:
      ConversionError: a source gave the model sizes with which it cannot be made.
    """
    try:
        state = nnx.state(nnx.eval_shape(build))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConversionError(f'asks for a model of impossible sizes: {error}') from error
    return {'.'.join(map(str, path)): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(state)}


def refuse_endless(layers: int, arrays: Arrays) -> None:
    """Refuses a config with many more layers than there are arrays, before a model of so many is made.

    Args:
      layers: of the longest row of them in the config.
      arrays: of the source.

    Raises:
      ConversionError: with both numbers.
    """
    if layers > max(len(arrays), FEW_LAYERS):
        raise ConversionError(f'asks for a network of {shown(layers)} layers, but holds {len(arrays)} arrays.')


def convert_arrays(
    source: Arrays, table: Table, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, Part], Report]:
    """Applies a table.

    Args:
      source: arrays by their names in the source; each is asked for once, and not kept.
      table: the rules.
      shapes: of the model's arrays, by name.

    Returns:
      The model's arrays in the order of `shapes`, still to be read, and the report.

    Raises:
      ConversionError: any misfit; the message lists all of them. Or what the source raises of a damaged array.
    """
    filled: dict[str, Part] = {}
    used: list[str] = []
    ignored: dict[str, list[str]] = {}
    problems: list[str] = []
    for name, array in source.items():
        rules = [rule for rule in table if re.fullmatch(rule.pattern, name)]
        if len(rules) != 1:
            problems.append(f'{name} {list(array.shape)} is {"unknown" if not rules else "claimed by several rules"}')
        elif isinstance(rules[0], Ignore):
            ignored.setdefault(rules[0].reason, []).append(name)
            problems += _unexpected(name, array, rules[0])
        else:
            used.append(name)
            problems += _apply(source, name, array, rules[0], shapes, filled)
    problems += [f'{name} {list(shape)} is missing' for name, shape in shapes.items() if name not in filled]
    if problems:
        raise ConversionError(_listing(problems))
    arrays = {name: filled[name] for name in shapes}
    report = Report(
        used=tuple(used),
        ignored={reason: tuple(names) for reason, names in ignored.items()},
        filled=tuple(arrays),
        values=sum(array.size for array in arrays.values()),
    )
    return arrays, report


def restore_arrays(
    arrays: LazyArrays | Mapping[str, np.ndarray | Part], table: Table, names: Iterable[str]
) -> dict[str, np.ndarray]:
    """The inverse of `convert_arrays`.

    Args:
      arrays: the model's, by name.
      table: the rules that they were converted by.
      names: of the source's entries.

    Returns:
      The used ones of these entries; joint ones are put together from their thirds, all others are views.
    """
    restored = {}
    for name in names:
        rule = next((rule for rule in table if isinstance(rule, Use) and re.fullmatch(rule.pattern, name)), None)
        if rule is not None:
            targets = [(arrays[_target(name, rule, template)], layout) for template, layout in rule.outputs]
            parts = [layout.backwards(np.asarray(array)) for array, layout in targets]
            restored[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)  # tables list thirds in order
    return restored


def differing_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays differ in shape, type or any bit; not-a-numbers are compared as bits as well."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return True
    bits = f'u{one.dtype.itemsize}'
    return not np.array_equal(np.ascontiguousarray(one).view(bits), np.ascontiguousarray(other).view(bits))


def _apply(
    source: Arrays,
    name: str,
    array: np.ndarray,
    rule: Use,
    shapes: Mapping[str, tuple[int, ...]],
    filled: dict[str, Part],
) -> list[str]:
    """Fills what the rule says, also where it does not fit, so that it is not missing as well; returns the problems
    met."""
    inexact = array.dtype.name not in EXACT_IN_FLOAT32
    problems = [f'{name} is {array.dtype.name}, which float32 cannot hold exactly'] if inexact else []
    for template, layout in rule.outputs:
        target = _target(name, rule, template)
        part = Part(source, name, layout, array.dtype, shapes.get(target, array.shape))
        if inexact:
            filled[target] = part
            continue
        if target not in shapes:
            problems.append(f'{name} {list(array.shape)} has no place in the model')
            continue
        if target in filled:
            problems.append(f'{target} would be filled twice')
        if not _fits(array, layout, shapes[target]):
            problems.append(f'{name} {list(array.shape)} does not fit {target} {list(shapes[target])}')
        filled[target] = part
    return problems


def _fits(array: np.ndarray, layout: Layout, shape: tuple[int, ...]) -> bool:
    try:
        return layout(array).shape == shape
    except ValueError:
        return False


def _target(name: str, rule: Use, template: str) -> str:
    match: Any = re.fullmatch(rule.pattern, name)
    return match.expand(template)


def _unexpected(name: str, array: np.ndarray, rule: Ignore) -> list[str]:
    if rule.expected is None or (array.shape == rule.expected.shape and np.allclose(array, rule.expected, atol=1e-6)):
        return []
    return [f'{name} has not the value that the model takes for granted']


def _listing(problems: list[str]) -> str:
    if len(problems) == 1:
        return f'does not fit the model: {problems[0]}.'
    return f'does not fit the model in {len(problems)} places:' + ''.join(f'\n  {problem}' for problem in problems)
