"""What all tests share: programs that are compiled quickly and kept for other processes, and random networks.

The packages are imported by what needs them: folders set up JAX and the checks of shapes before.
"""

import copy
import gc
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Set before JAX is imported; workers and the commands that tests start inherit them.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# The CPU's newer emitters of fusions and the splitting of each program double the time that compiling takes.
QUICK_TO_COMPILE = '--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'
os.environ['XLA_FLAGS'] = f'{QUICK_TO_COMPILE} {os.environ.get("XLA_FLAGS", "")}'.rstrip()
COMPILED = None
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix='compiled-')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = COMPILED.name
    os.environ['JAX_COMPILATION_CACHE_MAX_SIZE'] = str(2**34)  # bytes; with a limit there is a lock on what is written
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'

MOST_MEMORY = 6 * 2**30  # bytes that a worker holds and yet keeps its programs
MOST_MAPS = 30_000  # memory maps, of which compiled programs take many; Linux grants 65 530, and XLA crashes without


def pytest_unconfigure() -> None:
    if COMPILED is not None:
        COMPILED.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The notebooks, which take minutes each, come first: last, one worker would wait for them."""
    items.sort(key=lambda item: 'notebooks' not in item.path.parts)


@pytest.fixture(autouse=True, scope='module')
def dropped_programs() -> Iterator[None]:
    """Drops compiled programs behind a module after which a worker holds much memory, which several workers share, or
    many memory maps."""
    yield
    memory, maps = Path('/proc/self/statm'), Path('/proc/self/maps')  # of Linux
    if 'jax' not in sys.modules or not memory.exists():
        return
    held = int(memory.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    if held > MOST_MEMORY or maps.read_bytes().count(b'\n') > MOST_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def same_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test draws the same numbers of its module's `RNG`, whatever this process ran before."""
    if hasattr(request.module, 'RNG'):
        monkeypatch.setattr(request.module, 'RNG', copy.deepcopy(request.module.RNG))


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


@pytest.fixture(scope='session')
def tiny_generator() -> Any:
    """A random generator of images of 16 x 16 pixels."""
    import eg3d_jax

    # One plane block, one rendering pass and (below) one transformer block: little to compile, nothing missing.
    config = eg3d_jax.GeneratorConfig(
        z_dim=8,
        w_dim=12,
        backbone=eg3d_jax.BackboneConfig(resolution=4, plane_channels=5, channel_base=64, channel_max=8),
        decoder=eg3d_jax.DecoderConfig(hidden_channels=8, feature_channels=6),
        rendering=eg3d_jax.RenderingConfig(neural_resolution=8, depth_resolution=6, importance_resolution=0),
        superresolution=eg3d_jax.SuperresolutionConfig(input_resolution=8, first_block_doubles=False, channels=(6, 4)),
    )
    return randomised(eg3d_jax.TriPlaneGenerator, config, seed=0, scale=1.0)


@pytest.fixture(scope='session')
def tiny_clips() -> tuple[Any, ...]:
    """Two encoders of different patch sizes."""
    import clip_jax

    text = clip_jax.TextConfig(
        vocab_size=16, context_length=4, width=8, layers=1, heads=1, mlp_width=8, eos_token_id=15
    )
    visions = [
        clip_jax.VisionConfig(image_size=16, patch_size=patch, width=16, layers=1, heads=2, mlp_width=16)
        for patch in (4, 8)
    ]
    configs = [clip_jax.ClipConfig(vision, text, embed_dim=8) for vision in visions]
    return tuple(randomised(clip_jax.Clip, config, seed=1 + i, scale=0.3) for i, config in enumerate(configs))


def randomised(module: type, config: Any, seed: int, scale: float) -> Any:
    """A module with normal random numbers in every leaf."""
    import jax.numpy as jnp
    from flax import nnx

    rng = np.random.default_rng(seed)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0))))
    flat = [
        (path, leaf.replace(jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


@pytest.fixture(scope='session')
def tiny_files(
    tiny_generator: Any,
    tiny_clips: tuple[Any, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A directory with `generator`, `clip0`, `clip1` and `reference.png`."""
    import clip_jax
    import eg3d_jax

    directory = tmp_path_factory.mktemp('tiny')
    eg3d_jax.save_generator(tiny_generator, directory / 'generator')
    for index, clip in enumerate(tiny_clips):
        clip_jax.save_clip(clip, directory / f'clip{index}')
    pixels = np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(directory / 'reference.png')
    return directory
