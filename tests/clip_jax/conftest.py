"""Checks the shape annotations of the library while its tests run."""

import numpy as np
import pytest
from jaxtyping import install_import_hook

install_import_hook('clip_jax', 'beartype.beartype')


@pytest.fixture(scope='session')
def random_clip():
    """Callable: config -> a model with random weights, made without compiling a draw for each shape."""
    from flax import nnx

    from clip_jax import Clip, from_weights

    def make(config, seed=0):
        rng = np.random.default_rng(seed)
        leaves = nnx.to_flat_state(nnx.state(nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0)))))
        weights = {'.'.join(map(str, path)): np.asarray(0.3 * rng.standard_normal(leaf.shape)) for path, leaf in leaves}
        return from_weights(config, weights)

    return make
