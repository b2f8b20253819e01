"""What the generator is trained on: targets true to the world, parts of pictures true to the whole, resumable runs."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from eg3d_jax import PRESETS, TriPlaneGenerator, cameras, load_generator, save_generator
from eg3d_jax.config import BackboneConfig
from eg3d_jax.mapping import MappingNetwork
from eg3d_jax.superresolution import Superresolution
from miniature import generator_training, views, world
from miniature.field_targets import FACE, field_targets
from miniature.generator_losses import (
    MARGIN,
    PATCH,
    gradient_difference,
    inner_pixels,
    patch_corners,
    picture_targets,
    superresolve_patch,
)
from miniature.generator_training import (
    RATES,
    TRAINED,
    Stage,
    _optimiser,
    _some_w,
    carry_over,
    fitted_readout,
    picture_batch,
    readout_error,
    ready_mapping,
)
from miniature.mapping_construction import construct_mapping
from miniature.training import fit, read_recipe


@pytest.fixture(scope='module')
def seen() -> tuple[world.Heads, jax.Array, world.Buffers]:
    heads = world.sample(jax.random.key(5), 2)
    camera = cameras.sample_poses(jax.random.key(6), 2, PRESETS['miniature'].camera)
    return heads, camera, jax.jit(world.buffers, static_argnums=2)(heads, camera, 32)


def test_field_targets_agree_with_the_world(seen):
    heads, camera, buffers = seen
    targets = field_targets(buffers, camera, jax.random.key(7))
    hit = np.asarray(buffers.mask).reshape(2, -1)
    distance, colour = jax.jit(world.query)(heads, targets.points)
    band, behind, near, far = np.split(np.asarray(distance), 4, axis=1)
    assert hit.mean() > 0.2
    assert np.mean(behind[hit] < 0) > 0.93  # thin parts and grazing rays leave a solid soon
    assert np.mean(near > 0) > 0.97
    assert np.mean(far > 0) > 0.97
    assert np.abs(band[hit]).max() < 0.03
    difference = np.abs(np.split(np.asarray(colour - targets.colour), 4, axis=1)[0])
    assert np.mean(difference[hit]) < 0.05
    assert set(np.unique(targets.filled)) == {0.0, 1.0}


def test_picture_targets_are_means_over_pixels(seen):
    _, _, buffers = seen
    targets = picture_targets(buffers, jnp.full((2, 2), 0.25))
    assert targets.image.shape == (2, 16, 16, 3)
    assert targets.raw.shape == (2, 8, 8, 3)
    np.testing.assert_allclose(targets.raw.mean((1, 2)), buffers.colour.mean((1, 2)), atol=1e-5)
    assert bool(jnp.all((targets.hit == 1) <= (targets.depth < buffers.depth.max())))


@pytest.fixture(scope='module')
def corners() -> tuple[jax.Array, np.ndarray]:
    camera = cameras.sample_poses(jax.random.key(6), 2048, PRESETS['miniature'].camera)
    return camera, np.asarray(patch_corners(camera, 64, jax.random.key(0)))


def test_patches_lie_on_the_pixel_grid_inside_the_picture(corners):
    _, corner = corners
    np.testing.assert_allclose(corner * 64, np.round(corner * 64), atol=1e-4)
    assert corner.min() >= 0
    assert corner.max() <= 1 - PATCH


def test_patches_lie_around_the_face_the_hair_and_the_chest_in_turns(corners):
    camera, corner = corners
    face, hair, chest = (corner[turn::4] + PATCH / 2 for turn in range(3))
    seen_at = np.asarray(views.project(camera, jnp.array(FACE)))[::4]
    assert np.abs(face - seen_at).max() < 0.24 / 2 + 1 / 64
    assert face[:, 1].mean() - hair[:, 1].mean() > 0.1
    assert np.mean(chest[:, 1] == 1 - PATCH / 2) > 0.5
    assert face[:, 1].max() < 1 - PATCH / 2


def test_patches_see_the_pictures_edges(corners):
    _, corner = corners
    corner = corner[3::4]  # anywhere
    assert 0.1 < np.mean(corner[:, 0] == 0) < 0.3
    assert 0.1 < np.mean(corner[:, 1] == 1 - PATCH) < 0.3


class Enlarged(NamedTuple):
    """A feature image, and what G2 makes of it."""

    g2: Superresolution
    features: jax.Array
    ws: jax.Array
    whole: jax.Array


@pytest.fixture(scope='module')
def enlarged(random_network) -> Enlarged:
    config = PRESETS['miniature']
    g2 = random_network(lambda: Superresolution(config, rngs=nnx.Rngs(0)))
    features = jax.random.normal(jax.random.key(1), (1, 64, 64, 16))
    ws = jnp.ones((1, config.num_ws, config.w_dim))
    whole = jax.jit(Superresolution.__call__, static_argnames='noise_mode')(g2, features, ws, noise_mode='none')
    return Enlarged(g2, features, ws, whole)


def test_pixels_that_count_are_those_where_g2_sees_as_much_as_in_the_whole_picture(enlarged: Enlarged):
    """Away from a part's border, or on that of the picture."""
    g2, features, ws, whole = enlarged
    column, row, side = 0, 20, round(64 * PATCH)  # at the picture's left edge
    part = jax.jit(superresolve_patch)(g2, features[:, row : row + side, column : column + side], ws)
    truth = whole[:, 2 * row : 2 * (row + side), 2 * column : 2 * (column + side)]
    inner = np.asarray(inner_pixels(jnp.array([[column / 64, row / 64]]), 2 * side))[0, ..., 0] == 1
    error = np.abs(np.asarray(part - truth))[0].mean(axis=-1)
    assert error[~inner].mean() > 20 * error[inner].mean()  # what is further away hardly matters
    assert inner[MARGIN:-MARGIN, :-MARGIN].all()
    assert inner.sum() == (2 * side - 2 * MARGIN) * (2 * side - MARGIN)


def test_gradient_difference_is_of_the_pixels_that_count():
    image, target = jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 4, 4, 3)).at[:, :, 3].set(1.0)
    assert float(gradient_difference(image, target)) == pytest.approx(4 / 12)
    counted = jnp.ones((1, 4, 4, 1)).at[:, :, 3].set(0.0)
    assert float(gradient_difference(image, target, counted)) == 0.0


def test_g2_on_a_patch_is_g2_on_the_whole_away_from_the_border(enlarged: Enlarged):
    g2, features, ws, whole = enlarged
    part = jax.jit(superresolve_patch)(g2, features[:, 16:48, 16:48], ws)
    inner = slice(12, -12)
    np.testing.assert_allclose(part[:, inner, inner], whole[:, 32:96, 32:96][:, inner, inner], atol=1e-4)


def test_an_interrupted_fit_resumes_to_the_same_numbers(tmp_path: Path):
    def step(state: jax.Array, index: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        state = state * 0.9 + jax.random.normal(jax.random.fold_in(jax.random.key(0), index))
        return state, {'value': state}

    whole, _ = fit(step, jnp.zeros(()), 12, tmp_path / 'whole', name='test', checkpoint_every=5)

    class Awaited:
        """A number that Ctrl-C keeps from being waited for, when the new state is there already."""

        def __init__(self, value: jax.Array):
            self.value = value

        def block_until_ready(self) -> None:
            signal.raise_signal(signal.SIGINT)

        def __float__(self) -> float:
            return float(self.value)

    def interrupted(state: jax.Array, index: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        state, metrics = step(state, index)
        return state, {'value': Awaited(metrics['value'])} if int(index) == 7 else metrics

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, jnp.zeros(()), 12, tmp_path / 'parts', name='test', checkpoint_every=5)
    signal.signal(signal.SIGINT, before)
    assert sorted(path.name for path in (tmp_path / 'parts').iterdir() if path.name.isdecimal()) == ['5', '8']
    parts, _ = fit(step, jnp.zeros(()), 12, tmp_path / 'parts', name='test', checkpoint_every=5)
    assert float(parts) == float(whole)


def test_a_number_that_is_not_finite_stops_the_run(tmp_path: Path):
    def step(state: jax.Array, index: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return state, {'good': state, 'bad': jnp.where(index < 19, 1.0, jnp.nan)}

    with pytest.raises(FloatingPointError, match='bad not finite at step 20'):
        fit(step, jnp.zeros(()), 40, tmp_path, name='test')


def test_a_state_that_is_not_finite_is_not_saved_by_an_interruption(tmp_path: Path):
    def step(state: jax.Array, index: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        if int(index) == 7:
            signal.raise_signal(signal.SIGINT)
        return state, {'value': jnp.where(index < 6, 1.0, jnp.nan)}

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with pytest.raises(FloatingPointError, match='value not finite at step 8'):
        fit(step, jnp.zeros(()), 40, tmp_path, name='test', checkpoint_every=5)
    signal.signal(signal.SIGINT, before)
    assert [path.name for path in tmp_path.iterdir() if path.name.isdecimal()] == ['5']


def test_a_step_moves_every_kind_of_leaf_by_its_rate():
    stage = Stage('test', picture_batch, lambda *_: (jnp.zeros(()), {}), steps=1000, learning_rate=1e-2)
    params = {
        'backbone': {'const': jnp.ones((4, 4, 8))},
        'decoder': {'weight': jnp.ones((5, 7))},
        'superresolution': {'weight': jnp.ones((3, 3, 4, 16)), 'affine': jnp.ones((12, 8)), 'bias': jnp.ones(8)},
    }
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    gradients = tree.unflatten([jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)])
    optimiser = _optimiser(stage, params)
    state, update = optimiser.init(params), jax.jit(optimiser.update)
    for _ in range(101):  # to the end of the warm-up
        updates, state = update(gradients, state, params)
    moved = jax.tree.map(lambda u: float(jnp.sqrt(jnp.mean(jnp.square(u)))) / stage.learning_rate, updates)
    assert moved['decoder']['weight'] == pytest.approx(RATES['decoder'], rel=0.1)
    for part in (moved['backbone']['const'], *moved['superresolution'].values()):
        assert part == pytest.approx(1.0, rel=0.25)  # Muon's matrices are orthogonal to about so much
    kernel = np.asarray(updates['superresolution']['weight']).reshape(-1, 16)
    values = np.linalg.svd(kernel, compute_uv=False)
    assert values.max() / values.min() < 2, 'a kernel moves alike in all directions'


def test_all_but_the_mapping_network_is_trained():
    generator = nnx.eval_shape(lambda: TriPlaneGenerator(PRESETS['miniature'], rngs=nnx.Rngs(0)))
    trained = {path for path, _ in nnx.to_flat_state(nnx.state(generator, TRAINED))}
    left = {path for path, _ in nnx.to_flat_state(nnx.state(generator, nnx.Param))} - trained
    assert {path[0] for path in trained} == {'backbone', 'decoder', 'superresolution'}
    assert left
    assert all(path[:2] == ('backbone', 'mapping') for path in left)


def test_a_result_ends_between_the_initial_and_the_trained_weights(
    random_network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    small = BackboneConfig(resolution=8, plane_channels=4, channel_base=64, channel_max=8)
    config = replace(PRESETS['miniature'], w_dim=8, backbone=small)
    initial = random_network(lambda: TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
    save_generator(initial, tmp_path / 'initial')
    (tmp_path / 'initial' / 'recipe.json').write_text('{}')

    def one_more(
        stages: Any, workdir: Path, seed: int, generator: TriPlaneGenerator
    ) -> tuple[TriPlaneGenerator, float]:
        nnx.update(generator, jax.tree.map(lambda leaf: leaf + 1, nnx.state(generator)))
        return generator, 60.0

    monkeypatch.setattr(generator_training, 'CONFIG', config)
    monkeypatch.setattr(generator_training, 'train', one_more)
    monkeypatch.setattr(generator_training, 'measure', lambda directory: {})
    flags = [f'--initial={tmp_path / "initial"}', f'--output={tmp_path / "out"}', f'--workdir={tmp_path / "work"}']
    assert generator_training.main([*flags, '--average=0.25']) == 0
    before, after = (nnx.to_flat_state(nnx.state(one)) for one in (initial, load_generator(tmp_path / 'out')))
    for (path, leaf), (_, mean) in zip(before, after, strict=True):
        if path[0] == 'superresolution' and path[-2:] != ('torgb', 'weight') and mean.ndim == 4:
            continue  # kernels, which are scaled
        np.testing.assert_allclose(mean[...], leaf[...] + 0.75, rtol=2e-3, atol=2e-3, err_msg=str(path))  # float16
    assert read_recipe(tmp_path / 'out')['settings']['average'] == 0.25


@pytest.mark.parametrize('flags', [['--average=0.5'], ['--average=1', '--initial=miniature/weights/generator']])
def test_shares_of_initial_weights_are_checked(flags: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with pytest.raises(SystemExit) as ended:
        generator_training.main([*flags, f'--output={tmp_path / "out"}', f'--workdir={tmp_path / "work"}'])
    assert ended.value.code == 2
    assert '--average: ' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_styles_are_carried_over_to_another_mapping_network(random_network):
    """Where the new w is a linear function of the old one, the generator paints the same planes."""
    small = BackboneConfig(resolution=8, plane_channels=4, channel_base=64, channel_max=8)
    config = replace(PRESETS['miniature'], w_dim=8, backbone=small)
    generator = random_network(lambda: TriPlaneGenerator(config, rngs=nnx.Rngs(0)))
    paint = jax.jit(TriPlaneGenerator.planes)
    before = _some_w(generator, 64, seed=3)
    ws = jnp.repeat(before[:2, None], generator.config.num_ws, axis=1)
    planes = paint(generator, ws)
    turn = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (8, 8)))[0]
    after, other_ws = before @ turn + 0.3, ws @ turn + 0.3
    assert np.abs(paint(generator, other_ws) - planes).max() > 0.1
    carry_over(generator, before, after)
    np.testing.assert_allclose(paint(generator, other_ws), planes, atol=1e-4 * float(np.abs(planes).max()))


def test_attributes_are_read_off_a_constructed_mapping_network(random_network):
    small = BackboneConfig(resolution=8, plane_channels=4, channel_base=64, channel_max=8)
    generator = random_network(
        lambda: TriPlaneGenerator(replace(PRESETS['miniature'], backbone=small), rngs=nnx.Rngs(0))
    )
    before = _some_w(generator, 64, seed=0)
    ready_mapping(generator, 0, carry=False)
    w = np.asarray(_some_w(generator, 20_000, seed=0))
    others = jax.random.normal(jax.random.key(9), (4096, 64))
    assert readout_error(generator, fitted_readout(generator, 0), others) < 0.008
    assert np.abs(w.mean(axis=0)).mean() < 0.6  # what the layers behind are made for: about normal
    assert 0.6 < w.std() < 1.2
    weights = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(generator.backbone.mapping, nnx.Param))]
    assert max(np.abs(weight).max() for weight in weights) < 30_000  # half precision ends at 65,504
    ready_mapping(generator, 0, carry=True)
    np.testing.assert_array_equal(_some_w(generator, 20_000, seed=0), w)  # it is good already
    assert not np.allclose(before, w[:64])


def test_worn_colours_are_read_off_a_constructed_mapping_network(random_network):
    """A hat's colour on heads with that hat alone is a product of attributes, of which no linear function is."""
    mapping = random_network(lambda: MappingNetwork(PRESETS['miniature'], rngs=nnx.Rngs(0)))
    construct_mapping(mapping)
    z = jax.random.normal(jax.random.key(3), (20_000, 64))
    w = np.asarray(mapping(z, jnp.zeros((len(z), 25)))[:, 0])
    heads = world.from_latent(z)
    worn, attributes = (np.asarray(told(heads)) for told in (world.worn_colours, world.attributes))

    def unexplained(x: np.ndarray, told: np.ndarray) -> np.ndarray:
        x = np.append(x, np.ones((len(x), 1)), axis=1)
        half = len(x) // 2
        read = x[half:] @ np.linalg.lstsq(x[:half], told[:half], rcond=None)[0]
        return np.mean(np.square(read - told[half:]), axis=0) / (told[half:].var(axis=0) + 1e-3)

    assert unexplained(w, worn).max() < 0.04
    assert unexplained(attributes, worn).mean() > 0.1
    assert unexplained(w, attributes).mean() < 0.007


def test_other_mapping_networks_are_not_constructed(random_network):
    narrow = random_network(lambda: TriPlaneGenerator(replace(PRESETS['miniature'], w_dim=128), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match='at least 254 channels; this one has 4 and 128'):
        construct_mapping(narrow.backbone.mapping)
