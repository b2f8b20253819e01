"""A wider generator that begins where a narrower one ended."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from eg3d_jax import PRESETS, TriPlaneGenerator, cameras, save_generator
from eg3d_jax.config import BackboneConfig, DecoderConfig, GeneratorConfig
from miniature.generator_training import main
from miniature.widening import widened


def config(channel_base: int, **changes) -> GeneratorConfig:
    small = BackboneConfig(resolution=16, plane_channels=4, channel_base=channel_base, channel_max=12)
    return replace(PRESETS['miniature'], **{'w_dim': 8, 'backbone': small, **changes})


@pytest.fixture(scope='module')
def narrow(random_network) -> TriPlaneGenerator:
    return random_network(lambda: TriPlaneGenerator(config(64), rngs=nnx.Rngs(0)))


def test_a_wider_generator_paints_the_same_planes(narrow: TriPlaneGenerator):
    wide = widened(narrow, config(160), seed=1)
    z = jax.random.normal(jax.random.key(2), (2, 64))
    camera = cameras.sample_poses(jax.random.key(3), 2, narrow.config.camera)
    paint = jax.jit(lambda g: g.planes(g.mapping(z, camera), noise_mode='none'))
    before = np.asarray(paint(narrow))
    np.testing.assert_allclose(paint(wide), before, atol=1e-4 * np.abs(before).max())
    assert wide.backbone.synthesis.b16.conv1.weight.shape[-2:] == (10, 10)
    assert wide.config == config(160)


def test_its_new_channels_learn(narrow: TriPlaneGenerator):
    """What the old channels have of the new ones begins at zero, with a gradient that is not."""
    wide = widened(narrow, config(160), seed=1)
    z = jax.random.normal(jax.random.key(2), (1, 64))
    ws = narrow.mapping(z, jnp.zeros((1, 25)))
    graphdef, params, rest = nnx.split(wide, nnx.Param, ...)
    slope = jax.jit(jax.grad(lambda p: (nnx.merge(graphdef, p, rest).planes(ws, noise_mode='none') ** 2).sum()))(params)
    new_to_old = np.s_[..., 4:, :4]
    assert not np.asarray(wide.backbone.synthesis.b16.conv1.weight[...])[new_to_old].any()
    assert np.abs(np.asarray(slope.backbone.synthesis.b16.conv1.weight[...])[new_to_old]).max() > 0


def test_a_generator_is_not_narrowed(narrow: TriPlaneGenerator):
    with pytest.raises(ValueError, match=r'not narrowed: backbone\.synthesis\.b.* is of shape'):
        widened(narrow, config(32), seed=1)


def test_a_generator_is_not_given_other_layers(narrow: TriPlaneGenerator):
    deeper = BackboneConfig(resolution=32, plane_channels=4, channel_base=128, channel_max=12)
    with pytest.raises(ValueError, match=r'not to other layers: backbone\.synthesis\.b32'):
        widened(narrow, config(64, backbone=deeper), seed=1)
    with pytest.raises(ValueError, match='not narrowed: decoder'):
        widened(narrow, config(64, decoder=DecoderConfig(hidden_channels=8, feature_channels=16)), seed=1)


def test_a_decoder_is_not_widened(narrow: TriPlaneGenerator):
    with pytest.raises(ValueError, match=r'not what decoder\..* reads: 32 to 48'):
        widened(narrow, config(160, decoder=DecoderConfig(hidden_channels=48, feature_channels=16)), seed=1)


def test_an_initial_generator_of_another_kind_is_refused(
    narrow: TriPlaneGenerator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_generator(narrow, tmp_path)
    (tmp_path / 'recipe.json').write_text('{}')
    with pytest.raises(SystemExit) as ended:
        main([f'--initial={tmp_path}', f'--output={tmp_path / "out"}', f'--workdir={tmp_path / "work"}'])
    assert ended.value.code == 2
    assert '--initial: a generator is widened' in capsys.readouterr().err
    assert not (tmp_path / 'work').exists()
