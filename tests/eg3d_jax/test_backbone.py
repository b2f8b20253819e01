"""G1: planes of a coarser resolution are what its first blocks have painted."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax.backbone import SynthesisNetwork
from eg3d_jax.convolution import upsample

paint = jax.jit(SynthesisNetwork.__call__, static_argnames=('noise_mode', 'resolution'))


def test_finer_planes_are_the_coarse_ones_enlarged_where_finer_blocks_are_blank(tiny_generator, tiny_ws, tiny_planes):
    synthesis = copy.deepcopy(tiny_generator.backbone.synthesis)
    *_, last = synthesis.block_resolutions
    torgb = getattr(synthesis, f'b{last}').torgb
    torgb.weight[...] = jnp.zeros_like(torgb.weight[...])
    torgb.bias[...] = jnp.zeros_like(torgb.bias[...])
    coarse = paint(synthesis, tiny_ws, resolution=last // 2)
    assert coarse.shape[2:4] == (last // 2, last // 2)
    enlarged = jax.jit(jax.vmap(upsample, in_axes=1, out_axes=1))(coarse)
    np.testing.assert_allclose(paint(synthesis, tiny_ws), enlarged, atol=1e-5)
    assert not np.allclose(tiny_planes, enlarged, atol=1e-2)


@pytest.mark.parametrize('noise_mode', ['const', 'none'])
def test_the_whole_resolution_is_the_default(tiny_generator, tiny_ws, noise_mode):
    synthesis = tiny_generator.backbone.synthesis
    whole = paint(synthesis, tiny_ws, noise_mode=noise_mode, resolution=synthesis.block_resolutions[-1])
    np.testing.assert_array_equal(whole, paint(synthesis, tiny_ws, noise_mode=noise_mode))  # the same program
