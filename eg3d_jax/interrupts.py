"""Ctrl-C that waits for the end of a step, also where it ends what reads our standard error first."""

import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A context in which a first SIGINT or SIGTERM only sets `requested`; a second one ends the program at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> 'StopRequest':
        if threading.current_thread() is threading.main_thread():  # Python handles signals in no other
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        standard_error = StandardError()
        standard_error.write('\nStopping when this step is done and saved; once more stops at once.\n')
        standard_error.flush()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class StandardError:
    """Standard error to write progress to. Where its reader is gone, as Ctrl-C ends the `tee` of a pipe before the
    program, what is written is lost instead of the work."""

    def write(self, text: str) -> int:
        """Writes, if anybody reads it."""
        with suppress(BrokenPipeError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes, likewise."""
        with suppress(BrokenPipeError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
