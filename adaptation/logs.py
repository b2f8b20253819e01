"""What a run tells: a line of JSON and a TensorBoard event for each logged step, a progress bar for whoever watches."""

import json
import time
from typing import Any

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar

from adaptation.errors import AdaptationError
from adaptation.progress import ProgressBar
from adaptation.workdir import Workdir
from eg3d_jax.files import replacing

SHOWN = ('loss', 'dir', 'dis', 'istr', 'fstr', 'fine', 'crisp', 'palette', 'edges', 'pair')  # in the progress bar
STEP_TIME, FIRST_STEP_TIME = 'step_time', 'first_step_time'  # seconds, without and with the compilation of a step


class RunLog:
    """`metrics.jsonl` and TensorBoard events, continued after `step` steps; a context manager.

    Raises:
        AdaptationError: the `metrics.jsonl` of an earlier part of the run is no text.
        OSError: by any method: the disk is full, or the like.
    """

    def __init__(self, workdir: Workdir, step: int):
        _drop_after(workdir, step)
        self._lines = workdir.metrics.open('a', encoding='utf-8')
        # No SummaryWriter: it writes in a thread, which a full disk ends unheard, and then waits for that for ever.
        workdir.tensorboard.mkdir(exist_ok=True)
        self._events = EventsWriter(str(workdir.tensorboard / 'events'))
        start = SessionLog(status=SessionLog.START)  # TensorBoard forgets what an earlier part logged from here on
        self._add(step + 1, session_log=start)

    def __enter__(self) -> 'RunLog':
        return self

    def __exit__(self, *_: object) -> None:
        with self._lines:  # closed even where the events cannot be
            self._events.close()

    def scalars(self, step: int, phase: str, values: dict[str, float]) -> None:
        """Logs numbers after this many steps."""
        self._lines.write(json.dumps({'step': step, 'phase': phase, **values}) + '\n')
        self._lines.flush()
        for name, value in values.items():
            self._add(step, summary=scalar(name, value))

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Logs a [rows, columns, 3] uint8 picture."""
        self._add(step, summary=image('samples', picture, dataformats='HWC'))
        self._events.flush()

    def _add(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))


class TrainingProgress(ProgressBar):
    """A bar with the losses and the time left; `step` steps are done."""

    def __init__(self, step: int, total: int, *, shown: bool):
        super().__init__(total, 'step', done=step, shown=shown)

    def stepped(self, values: dict[str, float]) -> None:
        """Counts a step and shows its losses. A step that was compiled is left out of the rate and the time left."""
        self.note(' '.join(f'{name} {values[name]:.3f}' for name in SHOWN if name in values))
        if FIRST_STEP_TIME in values:
            self.advance_untimed()
        else:
            self.advance()


def _drop_after(workdir: Workdir, step: int) -> None:
    """Removes the lines of steps that an interrupted run did after its last checkpoint."""
    if not workdir.metrics.exists():
        return
    try:
        lines = workdir.metrics.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise AdaptationError(
            f'{workdir.metrics} is damaged ({error}): move it away to resume without the numbers logged so far.'
        ) from None
    kept = []
    for line in lines:
        try:
            if json.loads(line)['step'] <= step:
                kept.append(line + '\n')
        except (ValueError, KeyError, TypeError):  # the last line of a run that was killed may be cut short
            break
    with replacing(workdir.metrics) as temporary:
        temporary.write_text(''.join(kept), encoding='utf-8')
