"""Shared fixtures: run-time checks of the shape annotations, a small generator, and the reference's golden outputs."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from jaxtyping import install_import_hook

with install_import_hook('eg3d_jax', 'beartype.beartype'):
    import eg3d_jax

import jax
import jax.numpy as jnp
from flax import nnx

FIXTURES = Path(__file__).parents[1] / 'fixtures'
GENERATOR_SEED, DISCRIMINATOR_SEED = 0, 1
NETWORKS = ('eg3d_ffhq512-128', 'eg3d_shapenetcars128-64')
TRUNCATION_PSI = {'eg3d_ffhq512-128': 0.7, 'eg3d_shapenetcars128-64': 1.0}


@dataclass(frozen=True)
class Reference:
    """A full-size generator with the weights that the golden arrays were computed with."""

    generator: eg3d_jax.TriPlaneGenerator
    arrays: dict[str, jax.Array]  # in the reference's layouts
    truncation_psi: float


@dataclass(frozen=True)
class DiscriminatorReference:
    """A full-size discriminator, with the same."""

    discriminator: eg3d_jax.DualDiscriminator
    arrays: dict[str, jax.Array]


def reference_weight(name: str, shape: list[int], seed: int = GENERATOR_SEED) -> np.ndarray:
    """A state-dict entry, in the reference's layout, as tests/fixtures' arrays were computed with."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    x = rng.standard_normal(shape).astype(np.float32)
    if name.endswith('.affine.bias'):
        return 1 + np.float32(0.1) * x
    if 'mapping.fc' in name:
        return np.float32(100 if name.endswith('weight') else 10) * x
    if name == 'decoder.net.2.weight':
        return 4 * x
    if name == 'decoder.net.2.bias':
        return np.float32(0.1) * x + np.eye(1, len(x), dtype=np.float32)[0] * 3
    if name.endswith(('.bias', 'noise_strength', 'w_avg')):
        return np.float32(0.1) * x
    return x


def channels_last(name: str, array: np.ndarray) -> np.ndarray:
    """A state-dict entry in this project's layout: HWIO kernels, in-by-out linear weights."""
    if name.endswith('.const'):
        return array.transpose(1, 2, 0)
    if name.endswith('.weight'):
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return array


@pytest.fixture(scope='module', params=NETWORKS)
def reference(request: pytest.FixtureRequest) -> Reference:
    description = json.loads((FIXTURES / f'{request.param}.json').read_text())
    config = eg3d_jax.GeneratorConfig.from_init_kwargs(
        description['init_kwargs'], description['neural_rendering_resolution']
    )
    generator = nnx.eval_shape(lambda: eg3d_jax.TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
    fill(generator, description['generator'], GENERATOR_SEED)
    return Reference(generator, golden_arrays(request.param), TRUNCATION_PSI[request.param])


@pytest.fixture(scope='module', params=NETWORKS)
def discriminator_reference(request: pytest.FixtureRequest) -> DiscriminatorReference:
    description = json.loads((FIXTURES / f'{request.param}.json').read_text())
    config = eg3d_jax.DiscriminatorConfig(image_resolution=description['init_kwargs']['img_resolution'])
    discriminator = nnx.eval_shape(lambda: eg3d_jax.DualDiscriminator(config, rngs=nnx.Rngs(0)))
    fill(discriminator, description['discriminator'], DISCRIMINATOR_SEED)
    return DiscriminatorReference(discriminator, golden_arrays(request.param))


def fill(network: nnx.Module, entries: list[list], seed: int) -> None:
    """Gives the network the weights of the golden arrays; its names and shapes must be the published ones."""
    variables = eg3d_jax.weight_names(network)
    shapes = {name: shape for name, shape, _ in entries if not name.endswith('resample_filter')}
    assert set(variables) == set(shapes)
    for name, shape in shapes.items():
        weight = channels_last(name, reference_weight(name, shape, seed))
        assert variables[name].shape == weight.shape, name
        variables[name].set_value(jnp.asarray(weight))


def golden_arrays(network: str) -> dict[str, jax.Array]:
    with np.load(FIXTURES / f'{network}.npz') as arrays:
        return jax.tree.map(jnp.asarray, dict(arrays))


@pytest.fixture(scope='session')
def tiny_config() -> eg3d_jax.GeneratorConfig:
    """Every part of a generator, a few channels wide."""
    return eg3d_jax.GeneratorConfig(
        z_dim=8,
        w_dim=12,
        backbone=eg3d_jax.BackboneConfig(resolution=16, plane_channels=4, channel_base=128, channel_max=8),
        decoder=eg3d_jax.DecoderConfig(hidden_channels=8, feature_channels=6),
        rendering=eg3d_jax.RenderingConfig(neural_resolution=8, depth_resolution=8, importance_resolution=6),
        superresolution=eg3d_jax.SuperresolutionConfig(input_resolution=8, channels=(6, 4)),
    )


@pytest.fixture(scope='session')
def tiny_generator(
    tiny_config: eg3d_jax.GeneratorConfig, random_network: Callable[..., eg3d_jax.TriPlaneGenerator]
) -> eg3d_jax.TriPlaneGenerator:
    return random_network(lambda: eg3d_jax.TriPlaneGenerator(tiny_config, rngs=nnx.Rngs(0)))


@pytest.fixture(scope='session')
def tiny_cameras(tiny_config: eg3d_jax.GeneratorConfig) -> jax.Array:
    return eg3d_jax.cameras.sample_poses(jax.random.key(7), 3, tiny_config.camera)


@pytest.fixture(scope='session')
def tiny_z(tiny_config: eg3d_jax.GeneratorConfig) -> jax.Array:
    return jax.random.normal(jax.random.key(8), (3, tiny_config.z_dim))


@pytest.fixture(scope='session')
def tiny_ws(tiny_generator: eg3d_jax.TriPlaneGenerator, tiny_z: jax.Array, tiny_cameras: jax.Array) -> jax.Array:
    return jax.jit(eg3d_jax.TriPlaneGenerator.mapping)(tiny_generator, tiny_z, tiny_cameras)


@pytest.fixture(scope='session')
def tiny_planes(tiny_generator: eg3d_jax.TriPlaneGenerator, tiny_ws: jax.Array) -> jax.Array:
    return jax.jit(eg3d_jax.TriPlaneGenerator.planes)(tiny_generator, tiny_ws)


@pytest.fixture
def unchecked_annotations():
    """Users have no run-time check of the annotations: the library's own errors have to say what is wrong."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update('jaxtyping_disable', True)
    yield
    jaxtyping.config.update('jaxtyping_disable', before)
