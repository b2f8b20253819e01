"""A bar with the time left for each kind of work, and the place where a request to stop is heard."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

from adaptation.errors import Interrupted
from adaptation.interrupts import StopRequest

Piece = TypeVar('Piece')

SECONDS_BETWEEN_LINES = 15.0  # where the bar's output is no terminal and each update is a line of its own


def seconds_between_updates() -> float:
    """Of a bar on the standard error output."""
    return 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES


class Progress:
    """A context manager around one kind of work; `done` counts.

    Raises:
        Interrupted: from `done`, once the user has asked to stop.
    """

    def __init__(self, what: str, total: int, unit: str, stop: StopRequest):
        self._bar: Any = tqdm(
            total=total, desc=what, unit=unit, dynamic_ncols=True, mininterval=seconds_between_updates()
        )
        self._stop = stop

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def done(self) -> None:
        """Counts a piece of work that is done."""
        self._bar.update()
        if self._stop.requested:
            raise Interrupted('Stopped: the files that were finished are whole, and nothing else is left.')

    def counting(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of work, each counted once it has been taken up."""
        for piece in pieces:
            yield piece
            self.done()
