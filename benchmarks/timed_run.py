"""A training run whose seconds are kept beside its result."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptation.adapter import WEIGHTS_FILE
from adaptation.config import read_config
from adaptation.train import run
from eg3d_jax.files import read_json, write_json

CLOCK_FILE = 'seconds.json'


def timed_run(config: Mapping[str, Any], directory: Path) -> float:
    """Runs what the config says in the directory, unless that is done; the wall-clock seconds that it took.

    A run that was broken off is not gone on with: its seconds would be those of the rest alone.

    Raises:
        ConfigError: the directory holds a finished run of another config, generator or reference.
    """
    clock = directory / CLOCK_FILE
    done = clock.exists() and (directory / WEIGHTS_FILE).exists()
    if not done:
        shutil.rmtree(directory, ignore_errors=True)
    started = time.perf_counter()
    run(read_config(config), directory, quiet=True)  # of one that is done it sees whose it is, and no more
    if not done:
        write_json(clock, {'seconds': time.perf_counter() - started})
    return float(read_json(clock)['seconds'])
