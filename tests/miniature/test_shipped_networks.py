"""The shipped networks: each has its recipe, and still does on new heads what the recipe says."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import clip_jax
import eg3d_jax
from miniature import weights_directory, world
from miniature.clip_training_data import STYLES

pytestmark = pytest.mark.usefixtures('optimised')

NETWORKS = ('generator', 'clip_patch8', 'clip_patch16', 'judge')
LARGEST_TOTAL = 12 * 2**20  # bytes of all networks together
FACES = slice(32, 96)  # the middle of a picture of 128 pixels


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_comes_with_its_recipe(name):
    recipe = json.loads((weights_directory(name) / 'recipe.json').read_text())
    assert recipe['command'].startswith('python -m miniature.')
    assert f'miniature/weights/{name}' in recipe['command']
    assert recipe['quality']
    while not recipe['training_minutes']:  # of what only scaled kernels
        recipe = recipe['initial']
    assert recipe['settings'].keys() >= {'seed'}
    assert recipe['quality']


def test_the_networks_are_small():
    sizes = [(weights_directory(name) / 'weights.safetensors').stat().st_size for name in NETWORKS]
    assert sum(sizes) < LARGEST_TOTAL


def test_the_generator_draws_the_head_of_a_latent(gallery):
    """It knows which head a latent stands for: its pictures are nearer to that head's than to any other's."""
    generator = eg3d_jax.load_generator(weights_directory('generator'))
    z = jax.random.normal(jax.random.key(31), (gallery.count, generator.config.z_dim))
    cameras = eg3d_jax.cameras.orbit_cameras(
        jnp.full(gallery.count, 0.3), jnp.zeros(gallery.count), generator.config.camera
    )
    true = np.asarray(world.render(world.from_latent(z), cameras, 'photo', 128))
    made = np.clip(np.asarray(jax.jit(lambda g, z, c: g(z, c).image)(generator, z, cameras)), -1, 1)
    errors = np.square(made[:, None] - true[None])[:, :, FACES, FACES].mean(axis=(2, 3, 4)) / 4  # colours in [0, 1]
    assert (errors.argmin(axis=1) == np.arange(gallery.count)).all()
    psnr = -10 * np.log10(np.diag(errors).mean())
    soft = ndimage.gaussian_filter(true, (0, 8, 8, 0))  # heads without any features
    blurred = -10 * np.log10(np.square(soft - true)[:, FACES, FACES].mean() / 4)
    assert psnr > blurred, (psnr, blurred)


@pytest.mark.parametrize('name', ['clip_patch8', 'clip_patch16'])
def test_an_encoder_tells_styles_by_their_names(gallery, name):
    directory = weights_directory(name)
    clip, tokenize = clip_jax.load_clip(directory), clip_jax.load_tokenizer(directory)
    prompts = jax.jit(clip_jax.Clip.encode_text)(clip, jnp.asarray(tokenize(world.class_prompts('style'))))
    encode = jax.jit(lambda clip, x: clip.encode_image(clip_jax.preprocess(x, clip.config.vision.image_size)).embedding)
    right = []
    for style, images in gallery.pictures(128).items():
        told = np.asarray(encode(clip, images) @ prompts.T).argmax(axis=-1)
        right += [STYLES[index] == style for index in told]
    assert np.mean(right) >= 0.95
