"""A command starts itself again, once, with the allocator's settings."""

import os
import platform
import subprocess
import sys

import pytest

from eg3d_jax.huge_pages import SETTINGS, VARIABLE

PROGRAM = (
    'import os, sys; from eg3d_jax.huge_pages import restart_with_huge_pages; print("start"); sys.stdout.flush();'
    'restart_with_huge_pages(); print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])'
)


def run(**environment: str) -> list[str]:
    plain = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, '-c', PROGRAM, '--flag=a b']
    return subprocess.run(command, env=plain | environment, check=True, capture_output=True, text=True).stdout.split(
        '\n'
    )


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the settings are those of glibc')
def test_it_restarts_once_with_the_same_arguments():
    assert run() == ['start', 'start', f"{SETTINGS} ['--flag=a b']", '']


def test_a_setting_of_the_users_is_left_alone():
    assert run(**{VARIABLE: 'glibc.malloc.hugetlb=0'}) == ['start', "glibc.malloc.hugetlb=0 ['--flag=a b']", '']
