"""Huge pages for XLA's buffers on a CPU.

XLA allocates the temporary buffers of each call anew. glibc takes large ones from the kernel and gives them back each
time, so that every call pays for the page faults of hundreds of megabytes. Kept in the heap, and in huge pages, the
same buffers cost nothing: gradients of convolutions ran 1.5 to 3 times as fast (`benchmarks/huge_pages.py`).
"""

import os
import platform
import sys

VARIABLE = 'GLIBC_TUNABLES'
KEPT_BYTES = 2**40  # freed memory up to this stays in the heap
GROWTH_BYTES = 2**28  # the heap grows by so much at a time
SETTINGS = ':'.join(
    f'glibc.malloc.{name}={value}'
    for name, value in {
        'hugetlb': 1,
        'mmap_max': 0,
        'trim_threshold': KEPT_BYTES,
        'top_pad': GROWTH_BYTES,
    }.items()
)


def restart_with_huge_pages() -> None:
    """Start the running program again, once, with an allocator that suits XLA; call it first thing in a command.

    Does nothing where the C library is not glibc, or where GLIBC_TUNABLES is set already (set it to anything, to keep
    the allocator as it is).
    """
    if VARIABLE in os.environ or platform.libc_ver()[0] != 'glibc':
        return
    os.environ[VARIABLE] = SETTINGS
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
