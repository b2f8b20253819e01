"""The dual discriminator: parity with the reference's golden logits, and its parts by themselves."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

import eg3d_jax
from eg3d_jax import CheckpointError, DiscriminatorConfig, DualDiscriminator, load_discriminator, weight_names
from eg3d_jax.convolution import filter_binomial
from eg3d_jax.discriminator import minibatch_deviation

TOLERANCE = 1e-4  # relative to the logit: rounding of float32 through the residual blocks of random weights
IMAGE_SEED, RAW_SEED = [0, 3], [0, 4]
SMALL = DiscriminatorConfig(image_resolution=16, channel_base=64, channel_max=8)


run = jax.jit(DualDiscriminator.__call__)


@pytest.fixture(scope='module')
def small(random_network) -> DualDiscriminator:
    return random_network(lambda: DualDiscriminator(SMALL, rngs=nnx.Rngs(0)))


def pictures(seed: list[int], n: int, side: int) -> jax.Array:
    """Channels last; drawn in the reference's order."""
    x = 0.5 * np.random.default_rng(seed).standard_normal((n, 3, side, side))
    return jnp.asarray(x.transpose(0, 2, 3, 1), jnp.float32)


def test_filter():
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype(np.float32)
    taps = np.array([1, 3, 3, 1]) / 8
    for padding in (1, 2):
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        expected = np.apply_along_axis(lambda row: np.convolve(row, taps, 'valid'), 1, padded)
        expected = np.apply_along_axis(lambda row: np.convolve(row, taps, 'valid'), 2, expected)
        np.testing.assert_allclose(filter_binomial(jnp.asarray(x), padding), expected, atol=1e-6)


def test_minibatch_deviation():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 4, 4, 6)), jnp.float32)
    deviation = minibatch_deviation(x, 4, 2)
    assert deviation.shape == (8, 4, 4, 2)
    group = np.asarray(x)[1::2]  # the samples of a group are those at the same place of each quarter
    for index, channels in enumerate((slice(0, 3), slice(3, 6))):
        expected = np.sqrt(group[..., channels].var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(deviation[1::2, ..., index], expected, rtol=1e-5)
    np.testing.assert_allclose(minibatch_deviation(x[:1], 4, 1), 1e-4, rtol=1e-5)  # a sample alone does not differ
    with pytest.raises(ValueError, match='no groups of 4'):
        minibatch_deviation(x[:6], 4, 1)


def test_clamps_bound_the_logit(random_network):
    def logit(conv_clamp: float | None) -> jax.Array:
        config = DiscriminatorConfig(image_resolution=16, channel_base=64, channel_max=8, conv_clamp=conv_clamp)
        network = random_network(lambda: DualDiscriminator(config, rngs=nnx.Rngs(0)))
        return network(pictures([1], 2, 16) * 100, pictures([2], 2, 8) * 100, jnp.ones((2, 25)))

    assert jnp.all(jnp.abs(logit(None)) > 2 * jnp.abs(logit(0.1)))
    np.testing.assert_array_equal(logit(None), logit(1e9))


def test_a_wrong_size_is_refused(small):
    with pytest.raises(ValueError, match=r'image must have shape \(N, 16, 16, 3\)'):
        small(pictures([1], 2, 8), pictures([2], 2, 8), jnp.ones((2, 25)))


@pytest.mark.parametrize(
    ('raw', 'cameras', 'message'),
    [
        ((2, 8, 8, 8), 2, r'image_raw must have shape \(2, h, h, 3\), got \(2, 8, 8, 8\)'),
        ((1, 8, 8, 3), 2, r'image_raw must have shape \(2, h, h, 3\), got \(1, 8, 8, 3\)'),
        ((2, 8, 4, 3), 2, r'image_raw must have shape \(2, h, h, 3\), got \(2, 8, 4, 3\)'),
        ((8, 8, 3), 2, r'image_raw must have shape \(2, h, h, 3\), got \(8, 8, 3\)'),
        ((2, 8, 8, 3), 1, r'camera must have shape \(2, 25\), got \(1, 25\)'),
    ],
)
def test_what_does_not_fit_the_images_is_refused(unchecked_annotations, small, raw, cameras, message):
    with pytest.raises(ValueError, match=message):
        small(pictures([1], 2, 16), jnp.zeros(raw), jnp.ones((cameras, 25)))


def test_checkpoint(small, tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(SMALL.to_dict()))
    arrays = {name: np.asarray(value[...]) for name, value in weight_names(small).items()}
    save_file(arrays, tmp_path / 'weights.safetensors')
    loaded = load_discriminator(tmp_path)
    assert loaded.config == SMALL
    inputs = pictures([1], 4, 16), pictures([2], 4, 8), jnp.ones((4, 25))
    np.testing.assert_array_equal(run(loaded, *inputs), run(small, *inputs))  # the same program
    with pytest.raises(CheckpointError, match='is no config of a generator: unknown config fields'):
        eg3d_jax.load_generator(tmp_path)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'image_resolution': 48}, 'power of two of at least 8'),
        ({'channel_base': 8}, 'leaves no channel'),
        ({'c_dim': 3}, 'must be 25'),
        ({'deviation_channels': 3}, 'does not divide the 8 channels'),
        ({'deviation_group': 0}, 'must be positive'),
    ],
)
def test_impossible_configs(changes, expected):
    with pytest.raises(ValueError, match=expected):
        DiscriminatorConfig(**{**SMALL.to_dict(), **changes})


def test_published_arguments():
    arguments = {'c_dim': 25, 'img_resolution': 512, 'img_channels': 3}
    published = {
        'channel_base': 32768,
        'channel_max': 512,
        'num_fp16_res': 4,
        'conv_clamp': 256,
        'disc_c_noise': 0,
        'block_kwargs': {},
        'mapping_kwargs': {},
        'epilogue_kwargs': {'mbstd_group_size': 4},
    }
    assert DiscriminatorConfig.from_init_kwargs(arguments) == DiscriminatorConfig()
    assert DiscriminatorConfig.from_init_kwargs(arguments | published) == DiscriminatorConfig()
    with pytest.warns(UserWarning, match='not used: sparkle'):
        DiscriminatorConfig.from_init_kwargs({**arguments, 'sparkle': 1})
    for changes, expected in (
        ({'architecture': 'skip'}, 'architecture'),
        ({'mapping_kwargs': {'shape': 1}}, 'mapping_kwargs shape'),
        ({'img_channels': 1}, 'img_channels'),
    ):
        with pytest.raises(ValueError, match=expected):
            DiscriminatorConfig.from_init_kwargs({**arguments, **changes})
    with pytest.raises(ValueError, match="lack 'c_dim'"):
        DiscriminatorConfig.from_init_kwargs({'img_resolution': 512})


@pytest.mark.usefixtures('optimised')  # to the end of the module, which it is therefore at
def test_parity(discriminator_reference):
    discriminator, arrays = discriminator_reference.discriminator, discriminator_reference.arrays
    side = discriminator.config.image_resolution
    image = pictures(IMAGE_SEED, 1, side)
    image_raw = pictures(RAW_SEED, 1, arrays['image_raw'].shape[-1])
    logits = run(discriminator, image, image_raw, arrays['c'])
    expected = np.asarray(arrays['disc_logits']).ravel()
    np.testing.assert_allclose(np.asarray(logits), expected, rtol=TOLERANCE)
