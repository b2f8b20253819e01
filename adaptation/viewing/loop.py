"""One thread that draws for all pages: the newest request of each counts, and older ones are dropped.

While requests keep coming, pictures are quick; when a page has been still for a moment, it gets the fine one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

import numpy as np

from adaptation.viewing.drawing import Drawing, View

REST = 0.25  # seconds without a request after which the fine picture is drawn
COUNTED = 20  # frames that the rate is taken over
PAUSE = 1.0  # seconds between frames that belong to no motion: the rate begins anew

Show = Callable[[np.ndarray, View, bool, float], None]


class Loop:
    """Draws what pages ask for.

    Attributes:
        error: what ended the loop, if it was no `stop`.
    """

    def __init__(self, drawing: Drawing):
        self._drawing = drawing
        self.error: Exception | None = None
        self._wanted: dict[Hashable, tuple[View, Show, float]] = {}  # with the time of the request
        self._coarse: dict[Hashable, tuple[View, Show, float]] = {}  # drawn quickly, and not finely yet
        self._frames: deque[float] = deque(maxlen=COUNTED)
        self._condition = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name='drawing', daemon=True)

    def start(self) -> None:
        """Begins to draw."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the picture that is being drawn."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join()

    @property
    def running(self) -> bool:
        """Whether it draws still."""
        return self._thread.is_alive()

    def ask(self, page: Hashable, view: View, show: Show) -> None:
        """Asks for a picture: `show(image, view, fine, frames a second)` is called from the loop's thread."""
        with self._condition:
            self._coarse.pop(page, None)
            self._wanted[page] = (view, show, time.monotonic())
            self._condition.notify()

    def forget(self, page: Hashable) -> None:
        """Drops what a page that has gone had asked for."""
        with self._condition:
            self._wanted.pop(page, None)
            self._coarse.pop(page, None)

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                view, show, fine = work
                image = self._drawing.draw(view, quick=not fine)
                if not fine:
                    self._count()
                show(image, view, fine, self._rate())
        except Exception as error:  # a thread's error would be lost
            self.error = error

    def _next(self) -> tuple[View, Show, bool] | None:
        """The next picture to draw, once there is one; None: the loop has ended."""
        with self._condition:
            while not self._stopped:
                if self._wanted:
                    page = next(iter(self._wanted))
                    view, show, asked = self._coarse[page] = self._wanted.pop(page)
                    return view, show, False
                now = time.monotonic()
                for page, (view, show, asked) in self._coarse.items():
                    if now - asked >= REST:
                        del self._coarse[page]
                        return view, show, True
                self._condition.wait(REST / 4 if self._coarse else None)
        return None

    def _count(self) -> None:
        now = time.monotonic()
        if self._frames and now - self._frames[-1] > PAUSE:
            self._frames.clear()
        self._frames.append(now)

    def _rate(self) -> float:
        """Quick frames a second, lately; 0 where there were not two."""
        if len(self._frames) < 2:
            return 0.0
        return (len(self._frames) - 1) / max(self._frames[-1] - self._frames[0], 1e-6)
