"""What a run tells: a line of JSON and a TensorBoard event for each logged step, a progress bar for whoever watches."""

import json

import numpy as np
from tensorboardX import SummaryWriter

from adaptation.errors import AdaptationError
from adaptation.progress import ProgressBar
from adaptation.workdir import Workdir
from eg3d_jax.files import replacing

SHOWN = ('loss', 'dir', 'dis', 'istr', 'fstr', 'fine', 'palette')  # in the progress bar
STEP_TIME, FIRST_STEP_TIME = 'step_time', 'first_step_time'  # seconds, without and with the compilation of a step


class RunLog:
    """`metrics.jsonl` and TensorBoard events, continued after `step` steps; a context manager.

    Raises:
        AdaptationError: the `metrics.jsonl` of an earlier part of the run is no text.
    """

    def __init__(self, workdir: Workdir, step: int):
        _drop_after(workdir, step)
        self._lines = workdir.metrics.open('a', encoding='utf-8')
        self._events = SummaryWriter(str(workdir.tensorboard), purge_step=step + 1)

    def __enter__(self) -> 'RunLog':
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._lines.close()

    def scalars(self, step: int, phase: str, values: dict[str, float]) -> None:
        """Logs numbers after this many steps."""
        self._lines.write(json.dumps({'step': step, 'phase': phase, **values}) + '\n')
        self._lines.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Logs a [rows, columns, 3] uint8 picture."""
        self._events.add_image('samples', picture, step, dataformats='HWC')
        self._events.flush()


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
