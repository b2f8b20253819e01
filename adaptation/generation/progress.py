"""A bar for each kind of work, and the place where a request to stop is heard."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from adaptation.errors import Interrupted
from adaptation.progress import ProgressBar
from eg3d_jax.interrupts import StopRequest

Piece = TypeVar('Piece')


class Progress(ProgressBar):
    """A context manager around one kind of work; `done` counts.

    Raises:
        Interrupted: from `done`, once the user has asked to stop.
    """

    def __init__(self, what: str, total: int, unit: str, stop: StopRequest):
        super().__init__(total, unit, what)
        self._stop = stop

    def done(self) -> None:
        """Counts a piece of work that is done."""
        self.advance()
        if self._stop.requested:
            raise Interrupted('Stopped: the files that were finished are whole, and nothing else is left.')

    def counting(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of work, each counted once it has been taken up."""
        for piece in pieces:
            yield piece
            self.done()
