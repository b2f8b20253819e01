"""How many heads at a time: as many as the memory holds, up to where more of them gain nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jax
import psutil

LARGEST = {'cpu': 8}  # on a CPU a larger batch is no faster
LARGEST_ELSEWHERE = 32
SHARE = 0.6  # of the free memory that a batch may take

CGROUP_LIMITS = (  # (limit, use) of the memory of a container, of both versions of cgroups
    (Path('/sys/fs/cgroup/memory.max'), Path('/sys/fs/cgroup/memory.current')),
    (
        Path('/sys/fs/cgroup/memory/memory.limit_in_bytes'),
        Path('/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    ),
)

Programs = TypeVar('Programs')


def largest_batch(samples: int) -> int:
    """Where the search begins."""
    return min(LARGEST.get(jax.default_backend(), LARGEST_ELSEWHERE), samples)


def free_memory() -> int:
    """Bytes that this process may still take on the device, or on the host where that is the device."""
    statistics = jax.local_devices()[0].memory_stats() if jax.default_backend() != 'cpu' else None
    if statistics and 'bytes_limit' in statistics:
        return int(statistics['bytes_limit'] - statistics.get('bytes_in_use', 0))
    free = int(psutil.virtual_memory().available)
    for limit, used in CGROUP_LIMITS:
        try:
            free = min(free, int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # no such limit ('max', or no such file)
            continue
    return max(free, 0)


def program_memory(compiled: jax.stages.Compiled) -> int:
    """Bytes that a compiled program takes besides its arguments; 0 where the backend does not tell."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0
    return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def fit_batch(compile_for: Callable[[int], tuple[Programs, int]], batch: int, budget: int) -> tuple[Programs, int]:
    """Programs for the largest batch that fits, and its size.

    Args:
        compile_for: from a batch size to its programs and the bytes that they take.
        batch: the first one tried; smaller ones are guessed from what it takes, which grows with the batch.
        budget: bytes that are there.

    Returns:
        The programs for a batch of 1 where even those do not fit: the guess may be wrong, and nothing smaller is left.
    """
    while True:
        try:
            programs, needed = compile_for(batch)
        except jax.errors.JaxRuntimeError as error:  # compilers of accelerators refuse what does not fit
            if 'RESOURCE_EXHAUSTED' not in str(error) or batch == 1:
                raise
            batch //= 2
            continue
        if needed <= budget or batch == 1:
            return programs, batch
        batch = max(min(batch * budget // needed, batch - 1), 1)
