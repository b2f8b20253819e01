"""G1: planes of a coarser resolution are what its first blocks have painted."""

import copy

import jax.numpy as jnp
import numpy as np
import pytest

from eg3d_jax.convolution import upsample


def test_finer_planes_are_the_coarse_ones_enlarged_where_finer_blocks_are_blank(tiny_generator, tiny_z, tiny_cameras):
    ws = tiny_generator.mapping(tiny_z, tiny_cameras)
    synthesis = copy.deepcopy(tiny_generator.backbone.synthesis)
    *_, last = synthesis.block_resolutions
    torgb = getattr(synthesis, f'b{last}').torgb
    painted = synthesis(ws)
    torgb.weight[...] = jnp.zeros_like(torgb.weight[...])
    torgb.bias[...] = jnp.zeros_like(torgb.bias[...])
    coarse = synthesis(ws, resolution=last // 2)
    assert coarse.shape[2:4] == (last // 2, last // 2)
    enlarged = jnp.stack([upsample(plane) for plane in jnp.unstack(coarse, axis=1)], axis=1)
    np.testing.assert_allclose(synthesis(ws), enlarged, atol=1e-5)
    assert not np.allclose(painted, enlarged, atol=1e-2)


@pytest.mark.parametrize('noise_mode', ['const', 'none'])
def test_the_whole_resolution_is_the_default(tiny_generator, tiny_z, tiny_cameras, noise_mode):
    synthesis = tiny_generator.backbone.synthesis
    ws = tiny_generator.mapping(tiny_z, tiny_cameras)
    whole = synthesis(ws, noise_mode=noise_mode, resolution=synthesis.block_resolutions[-1])
    np.testing.assert_array_equal(whole, synthesis(ws, noise_mode=noise_mode))
