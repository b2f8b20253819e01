"""What a measurement ran on."""

import os
import platform

import jax


def machine() -> str:
    """The device that JAX computes on, in words."""
    device = jax.devices()[0]
    if device.platform != 'cpu':
        return f'{device.device_kind}, JAX {jax.__version__}'
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'CPU, {platform.machine()}, {cores} core{"s" if cores != 1 else ""}, JAX {jax.__version__}'
