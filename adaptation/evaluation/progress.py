"""A bar with the time left, on standard error."""

import sys
from typing import Any

from tqdm import tqdm

from adaptation.logs import SECONDS_BETWEEN_LINES


class SampleProgress:
    """Counts samples or pictures; a context manager. The first batch, which may be compiled, is no part of the rate."""

    def __init__(self, what: str, done: int, total: int, unit: str, *, shown: bool):
        seconds = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
        self._bar: Any = tqdm(
            desc=what, total=total, initial=done, disable=not shown, unit=unit, dynamic_ncols=True, mininterval=seconds
        )
        self._begun = False

    def __enter__(self) -> 'SampleProgress':
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def doing(self, what: str) -> None:
        """Says what is going on."""
        self._bar.set_description_str(what, refresh=sys.stderr.isatty())

    def advance(self, count: int) -> None:
        """Counts a batch."""
        if self._begun or self._bar.disable:
            self._bar.update(count)
            return
        self._begun = True
        self._bar.n += count
        self._bar.initial += count
        self._bar.refresh()
        self._bar.unpause()
