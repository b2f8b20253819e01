"""What all tests share: programs that are compiled quickly and kept for other processes, and random networks."""

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

# Set before JAX is imported; workers and the commands that tests start inherit them.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
COMPILED = None
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix='compiled-')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = COMPILED.name
    os.environ['JAX_COMPILATION_CACHE_MAX_SIZE'] = str(2**34)  # bytes; with a limit there is a lock on what is written
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'


def pytest_unconfigure() -> None:
    if COMPILED is not None:
        COMPILED.cleanup()


@pytest.fixture(scope='module')
def optimised() -> Iterator[None]:
    """For modules whose programs run so long that optimising them pays; elsewhere, compiling is most of the time."""
    import jax

    before = jax.config.values['jax_disable_most_optimizations']
    jax.config.update('jax_disable_most_optimizations', False)
    yield
    jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(scope='session')
def random_network() -> Callable[[Callable[[], Any]], Any]:
    """Callable: a constructor of a network of `eg3d_jax` -> the network, its weights of the constructor's scales, and
    what would start at zero random as well; made without compiling a draw for each shape."""
    import jax.numpy as jnp
    from flax import nnx

    def make(construct: Callable[[], Any]) -> Any:
        network = nnx.eval_shape(construct)
        for path, variable in nnx.to_flat_state(nnx.state(network)):
            variable.set_value(jnp.asarray(weight('.'.join(map(str, path)), variable.shape), jnp.float32))
        return network

    def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
        x = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith('.affine.bias'):
            return 1 + 0.2 * x
        if name.endswith(('bias', 'noise_strength', 'w_avg')):
            return 0.2 * x
        return 100 * x if 'mapping.fc' in name else x  # their learning rate is a hundredth

    return make
