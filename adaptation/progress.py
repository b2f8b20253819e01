"""The progress bar of all commands, with the time left, on standard error."""

import sys
from typing import Any, TypeVar

from tqdm import tqdm

from eg3d_jax.interrupts import StandardError

Bar = TypeVar('Bar', bound='ProgressBar')

SECONDS_BETWEEN_LINES = 15.0  # where standard error is no terminal and each update is a line of its own


class ProgressBar:
    """Counts pieces of work; a context manager.

    Args:
        total: number of pieces.
        unit: what one of them is called.
        what: the kind of work, shown before the bar.
        done: pieces that an earlier run did: no part of the rate.
        shown: whether there is a bar at all.
    """

    def __init__(self, total: int, unit: str, what: str | None = None, *, done: int = 0, shown: bool = True):
        self._what = what
        self._bar: Any = tqdm(
            total=total,
            unit=unit,
            desc=what,
            initial=done,
            disable=not shown,
            dynamic_ncols=True,
            file=StandardError(),
            mininterval=0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES,
        )

    def __enter__(self: Bar) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def doing(self, what: str) -> None:
        """Says what is going on, before it is done."""
        if what != self._what:  # the bar is drawn anew for what is new
            self._what = what
            self._bar.set_description_str(what, refresh=sys.stderr.isatty())

    def note(self, text: str) -> None:
        """What stands behind the bar from the next piece on."""
        self._bar.set_postfix_str(text, refresh=False)

    def expect(self, total: int) -> None:
        """Sets the number of pieces, where it turns out after the start."""
        self._bar.total = total

    def advance(self, count: int = 1) -> None:
        """Counts pieces."""
        self._bar.update(count)

    def advance_untimed(self, count: int = 1) -> None:
        """Counts pieces that were compiled as well, say: they are no part of the rate and the time left."""
        if self._bar.disable:
            return
        self._bar.n += count
        self._bar.initial += count
        self._bar.refresh()
        self._bar.unpause()
