"""What a run tells in TensorBoard events, and that a full disk is told of."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from adaptation.logs import RunLog
from adaptation.workdir import Workdir

FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from adaptation.logs import RunLog
from adaptation.workdir import Workdir

with RunLog(Workdir(Path(sys.argv[1])), 0) as log:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # bytes of a file
    log.scalars(1, 'phase1', {'loss': 1.0})
    if sys.argv[2] == 'picture':
        log.picture(1, np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    for step in range(2, 400):
        log.scalars(step, '', {name: 1.0 for name in 'abcdefghijklmnopqrst'})
"""


def events(directory: Path) -> list[Event]:
    """What the one file of events holds."""
    (file,) = directory.iterdir()
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack('Q', content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))  # between two checksums of 4 bytes
        content = content[16 + length :]
    return found


def test_events_hold_numbers_and_pictures(tmp_path: Path):
    workdir = Workdir(tmp_path)
    with RunLog(workdir, 3) as log:
        log.scalars(4, 'phase1', {'loss': 0.5, 'dir': 0.25})
        log.picture(4, np.zeros((4, 6, 3), np.uint8))
    version, start, *told = events(workdir.tensorboard)
    assert version.file_version == 'brain.Event:2'
    assert (start.step, start.session_log.status) == (4, SessionLog.START)
    assert all(event.step == 4 and event.wall_time > 0 for event in told)
    *numbers, picture = (event.summary.value[0] for event in told)
    assert {value.tag: value.simple_value for value in numbers} == {'loss': 0.5, 'dir': 0.25}
    assert (picture.tag, picture.image.height, picture.image.width) == ('samples', 4, 6)


@pytest.mark.skipif(sys.platform == 'win32', reason='no limits of processes')
@pytest.mark.parametrize('first', ['picture', 'numbers'])
def test_a_full_disk_ends_the_run_and_does_not_hang(first: str, tmp_path: Path):
    command = [sys.executable, '-c', FULL_DISK, str(tmp_path), first]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == 'OSError: [Errno 27] File too large'
