"""One training step against the method written out plainly, and what it must leave alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import clip_jax
import eg3d_jax
from adaptation import edges, losses
from adaptation import step as step_module
from adaptation.config import AdaptationConfig
from adaptation.crops import crop_images, draw_crops
from adaptation.edges import new_edges_loss
from adaptation.errors import ConfigError
from adaptation.fine_detail import crispness_loss, draw_slices, fine_detail_loss
from adaptation.guidance import Guide, make_guides
from adaptation.leaves import matching, named_leaves, with_leaves
from adaptation.pair import Counterpart, pair_loss
from adaptation.palette import palette_loss
from adaptation.phases import Phase, phase_at, plan
from adaptation.step import (
    LOOK_STREAM,
    Constants,
    Sampling,
    at_step,
    init_state,
    make_step,
    sample_batch,
    without_numbers,
)

KEY = jax.random.key(3)
MakeConfig = Callable[..., AdaptationConfig]
ALL = ('backbone', 'decoder', 'superresolution')


@pytest.fixture(scope='module')
def soft_generator(tiny_generator: eg3d_jax.TriPlaneGenerator) -> eg3d_jax.TriPlaneGenerator:
    """Its images are not saturated. In flat white, tokens are so alike that their distances are mostly rounding."""
    leaves = named_leaves(tiny_generator, nnx.Param)
    loud = [name for name in leaves if name.startswith('superresolution') and '.torgb.' in name]
    assert loud
    return with_leaves(tiny_generator, {name: 0.1 * leaves[name] for name in loud})


@pytest.fixture(scope='module')
def guides(tiny_clips: tuple[clip_jax.Clip, ...]) -> tuple[Guide, ...]:
    keys = jax.random.split(jax.random.key(9))
    reference = jax.random.uniform(keys[0], (20, 20, 3), minval=-1.0, maxval=1.0)
    source = jax.random.uniform(keys[1], (2, 3, 16, 16, 3), minval=-1.0, maxval=1.0)
    # Louder places, for the same reason as the `soft_generator`: no two tokens are alike.
    name = 'vision_model.embeddings.position_embedding.weight'
    encoders = [with_leaves(clip, {name: 10 * named_leaves(clip)[name]}) for clip in tiny_clips]
    return make_guides(encoders, (0, 0), reference, iter(source))


def phases_of(config: AdaptationConfig, generator: eg3d_jax.TriPlaneGenerator) -> tuple[Phase, ...]:
    return plan(config, named_leaves(generator, nnx.Param), generator.config.rendering.neural_resolution)


def sampling_of(config: AdaptationConfig, generator: eg3d_jax.TriPlaneGenerator) -> Sampling:
    camera = generator.config.camera
    return Sampling(config.batch_size, config.truncation_psi, config.conditioning, camera, config.encoder_crop)


@partial(jax.jit, static_argnames='sampling')
@partial(jax.value_and_grad, has_aux=True)
def plain_objective(
    leaves: dict[str, jax.Array],
    constants: Constants,
    weights: dict[str, float],
    sampling: Sampling,
    look_key: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The method without any shortcut: both generators run from latent to image, and every parameter has a gradient."""
    source = constants.source
    batch = sample_batch(jax.random.fold_in(KEY, 0), sampling, source.config.z_dim)
    features, images = [], []
    crop_key, slice_key = jax.random.split(look_key)
    crops = draw_crops(crop_key, sampling.batch_size, sampling.crop)
    for generator in (with_leaves(source, leaves), source):
        ws = generator.mapping(batch.z, batch.conditioning, sampling.truncation_psi)
        rendered = generator.render(generator.planes(ws), batch.camera, batch.key)
        features.append(rendered.feature_image)
        images.append(generator.superresolve(rendered.feature_image, ws))
    values = {'dir': jnp.zeros(()), 'dis': jnp.zeros(()), 'istr': jnp.zeros(())}
    values['fstr'] = losses.feature_structure_loss(*features)
    for guide in constants.guides:
        adapted, origin = (guide.encode(crop_images(image, crops), tokens=True, embed=True) for image in images)
        values['dir'] += losses.direction_loss(adapted.embedding, origin.embedding, guide.domain_direction)
        values['dis'] += losses.distribution_loss(adapted.tokens[0], guide.reference_tokens)
        values['istr'] += losses.image_structure_loss(adapted.tokens[0], origin.tokens[0])
    slices = draw_slices(slice_key)
    values['fine'] = fine_detail_loss(images[0], constants.reference, slices)
    values['crisp'] = crispness_loss(images[0], constants.reference, slices)
    values['palette'] = palette_loss(images[0], constants.reference)
    values['edges'] = new_edges_loss(*images)
    if constants.counterpart is not None:
        adapted, (ws, camera) = with_leaves(source, leaves), constants.counterpart
        rendered = adapted.render(adapted.planes(ws), camera, batch.key)
        values['pair'] = pair_loss(adapted.superresolve(rendered.feature_image, ws), constants.reference)
    return sum(weights[name] * value for name, value in values.items()), values


def look_keys_of(sampling: Sampling, generator: eg3d_jax.TriPlaneGenerator, updates: int) -> jax.Array:
    """Those of the first step's updates."""
    batch = sample_batch(jax.random.fold_in(KEY, 0), sampling, generator.config.z_dim)
    return jax.random.split(jax.random.fold_in(batch.key, LOOK_STREAM), updates)


def head_of(generator: eg3d_jax.TriPlaneGenerator) -> Counterpart:
    """A head as a reference's counterpart."""
    keys = jax.random.split(jax.random.key(11))
    ws = jax.random.normal(keys[0], (1, generator.config.num_ws, generator.config.w_dim))
    return Counterpart(ws, eg3d_jax.cameras.sample_poses(keys[1], 1, generator.config.camera))


def moved(generator: eg3d_jax.TriPlaneGenerator, names: tuple[str, ...]) -> dict[str, jax.Array]:
    """These leaves, away from where the source has them."""
    leaves, rng = named_leaves(generator), np.random.default_rng(4)
    return {
        name: jnp.asarray(np.asarray(leaves[name]) + 0.1 * rng.standard_normal(leaves[name].shape), jnp.float32)
        for name in names
    }


@pytest.mark.parametrize(
    ('changes', 'index'),
    [
        ({}, 0),
        ({}, 1),  # with Tri-D adapted before
        ({'phases__phase2__trained': ALL, 'phases__phase2__weights__fstr': 1.0}, 1),
        ({'encoder_crop': 0.3}, 1),
        ({'phases__phase1__weights__fine': 3.0}, 0),
        ({'phases__phase2__weights': {'dir': 0.0, 'dis': 0.0, 'istr': 0.0, 'fstr': 0.0, 'fine': 2.0}}, 1),
        ({'phases__phase1__weights__crisp': 3.0}, 0),
        ({'phases__phase1__weights__palette': 3.0}, 0),
        ({'phases__phase2__weights': {'dir': 0.0, 'dis': 0.0, 'istr': 0.0, 'fstr': 0.0, 'palette': 2.0}}, 1),
        ({'phases__phase2__weights__edges': 3.0}, 1),
        ({'phases__phase1__weights__pair': 3.0}, 0),
        ({'phases__phase2__trained': ALL, 'phases__phase2__weights__pair': 3.0}, 1),
        ({'phases__phase2__weights': {'dir': 0.0, 'dis': 0.0, 'istr': 0.0, 'fstr': 0.0, 'pair': 2.0}}, 1),
    ],
    ids=[
        'Tri-D',
        'G2',
        'all',
        'crops',
        'fine detail too',
        'fine detail alone',
        'crispness too',
        'palette too',
        'palette alone',
        'new edges too',
        'pair too',
        'pair and all',
        'pair alone',
    ],
)
def test_step_is_the_plain_method(
    changes: dict[str, Any],
    index: int,
    tiny_config: MakeConfig,
    soft_generator: eg3d_jax.TriPlaneGenerator,
    guides: tuple[Guide, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    """With all that is shared and left out for speed, it has the values and gradients of the plain computation."""
    monkeypatch.setattr(edges, 'ALLOWED', 0.0)  # the soft generator's edges are gentle
    monkeypatch.setattr(step_module, '_make_program', step_module._make_program.__wrapped__)  # kept for no other test
    config = tiny_config(**changes)
    phase, sampling = phases_of(config, soft_generator)[index], sampling_of(config, soft_generator)
    reference = jax.random.uniform(jax.random.key(7), (soft_generator.config.image_resolution,) * 2 + (3,)) - 0.5
    constants = Constants(soft_generator, guides, reference, head_of(soft_generator))
    weights = vars(phase.settings.weights)
    adapted = moved(soft_generator, phase.changed)
    before = {name: np.array(leaf) for name, leaf in adapted.items()}
    leaves = {**named_leaves(soft_generator, nnx.Param), **adapted}
    (look_key,) = look_keys_of(sampling, soft_generator, 1)
    (loss, values), gradients = plain_objective(leaves, constants, weights, sampling, look_key)
    gradients = {name: np.asarray(gradients[name], np.float64) for name in phase.trained}
    state, metrics = make_step(phase, sampling)(init_state(0, adapted, phase), constants, KEY)

    assert values.keys() & metrics.keys() == {name for name, weight in weights.items() if weight}
    for name in values.keys() & metrics.keys():
        assert values[name] > 0, name
        np.testing.assert_allclose(metrics[name], values[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-4)
    norm = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients.values()))
    np.testing.assert_allclose(metrics['gradient_norm'], norm, rtol=1e-3)
    assert int(state.step) == 1
    for name, leaf in state.adapted.items():
        if name not in phase.trained:
            np.testing.assert_array_equal(leaf, before[name], err_msg=name)
            continue
        # Adam's first step: the learning rate against the sign of the gradient, where that is clear.
        clear = np.abs(gradients[name]) > 1e-3 * norm
        expected = before[name] - phase.settings.learning_rate * np.sign(gradients[name])
        np.testing.assert_allclose(np.asarray(leaf)[clear], expected[clear], atol=1e-5, err_msg=name)


@pytest.mark.parametrize('index', [0, 1], ids=['Tri-D', 'G2'])
def test_updates_in_a_row_are_steps_on_one_batch(
    index: int, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator, guides: tuple[Guide, ...]
):
    constants = Constants(tiny_generator, guides)
    states, metrics = [], []
    for updates, calls in ((1, 3), (3, 1)):
        config = tiny_config(**{f'phases__phase{index + 1}__updates': updates})
        phase = phases_of(config, tiny_generator)[index]
        step = make_step(phase, sampling_of(config, tiny_generator))
        state, seen = init_state(0, moved(tiny_generator, phase.changed), phase), []
        for _ in range(calls):  # the number of steps done chooses the batch
            state, values = step(state._replace(step=jnp.int32(0)), constants, KEY)
            seen.append(values)
        states.append(state)
        metrics.append({name: np.mean([values[name] for values in seen]) for name in seen[0]})
    for name, leaf in states[0].adapted.items():  # rounding can turn the sign of a small gradient, and Adam's step
        np.testing.assert_allclose(states[1].adapted[name], leaf, rtol=1e-3, atol=1e-3, err_msg=name)
    for name, value in metrics[0].items():
        np.testing.assert_allclose(metrics[1][name], value, rtol=1e-3, err_msg=name)


def test_each_update_looks_anew(
    tiny_config: MakeConfig, soft_generator: eg3d_jax.TriPlaneGenerator, guides: tuple[Guide, ...]
):
    """Through crops and along slices of its own: where nothing moves, metrics are means over the looks."""
    config = tiny_config(
        encoder_crop=0.3,
        phases__phase2__updates=3,
        phases__phase2__learning_rate=1e-12,
        phases__phase2__weights__fine=3.0,
    )
    phase, sampling = phases_of(config, soft_generator)[1], sampling_of(config, soft_generator)
    reference = jax.random.uniform(jax.random.key(7), (soft_generator.config.image_resolution,) * 2 + (3,)) - 0.5
    constants, weights = Constants(soft_generator, guides, reference), vars(phase.settings.weights)
    adapted = moved(soft_generator, phase.changed)
    leaves = {**named_leaves(soft_generator, nnx.Param), **adapted}
    each = [
        plain_objective(leaves, constants, weights, sampling, key)[0][1]
        for key in look_keys_of(sampling, soft_generator, 3)
    ]
    _, metrics = make_step(phase, sampling)(init_state(0, adapted, phase), constants, KEY)
    for name in ('dir', 'dis', 'istr', 'fine'):
        values = [float(values[name]) for values in each]
        assert np.ptp(values) > 1e-3 * np.mean(values), name
        np.testing.assert_allclose(metrics[name], np.mean(values), rtol=1e-4, err_msg=name)


def test_the_learning_rate_falls_along_half_a_cosine(
    tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator, guides: tuple[Guide, ...]
):
    config = tiny_config(
        phases__phase1__steps=3, phases__phase2__steps=8, phases__phase2__final_rate=0.25, phases__phase2__updates=1
    )
    phase = phases_of(config, tiny_generator)[1]
    numbers, _ = without_numbers(phase)
    rates = [float(at_step(numbers, phase, jnp.int32(step)).learning_rate) for step in (3, 7, 11)]
    np.testing.assert_allclose(rates, phase.settings.learning_rate * np.array([1, 0.625, 0.25]), rtol=1e-5)

    # and the step is as long: Adam's first is the learning rate itself
    state = init_state(7, moved(tiny_generator, phase.changed), phase)
    before = {name: np.array(leaf) for name, leaf in state.adapted.items()}
    after, _ = make_step(phase, sampling_of(config, tiny_generator))(state, Constants(tiny_generator, guides), KEY)
    longest = max(np.abs(np.asarray(after.adapted[name]) - before[name]).max() for name in phase.trained)
    np.testing.assert_allclose(longest, rates[1], rtol=1e-2)


def plane_scatters(jaxpr: Any, channels: int) -> int:
    """How many operations add into an array of this many channels at computed places, as the planes' gradient does."""
    found = 0
    for equation in jaxpr.eqns:
        found += equation.primitive.name == 'scatter-add' and equation.outvars[0].aval.shape[-1:] == (channels,)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')):
            inner = getattr(inner, 'jaxpr', inner)
            found += plane_scatters(inner, channels) if hasattr(inner, 'eqns') else 0
    return found


def test_runs_that_differ_in_numbers_alone_are_compiled_once(
    tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Phase] = []
    monkeypatch.setattr(step_module, '_make_program', lambda phase, sampling: asked.append(phase))
    changes: list[dict[str, Any]] = [
        {},
        {'phases__phase1__learning_rate': 0.5, 'phases__phase1__weights__dis': 7.0, 'phases__phase1__steps': 9},
        {'phases__phase1__weights__dis': 0.0},
        {'phases__phase1__updates': 2},
    ]
    for change in changes:
        config = tiny_config(**{'phases__phase1__weights__dis': 2.0, 'phases__phase1__updates': 1, **change})
        make_step(phases_of(config, tiny_generator)[0], sampling_of(config, tiny_generator))
    same, other_numbers, without_a_loss, more_updates = asked
    assert other_numbers == same
    assert len({same, without_a_loss, more_updates}) == 3


def test_only_a_trained_backbone_is_differentiated(
    tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator, guides: tuple[Guide, ...]
):
    config = tiny_config(phases__phase2__trained=ALL, phases__phase2__weights__fstr=1.0)
    channels = tiny_generator.config.backbone.plane_channels
    counts = {}
    for phase in phases_of(config, tiny_generator):
        step = make_step(phase, sampling_of(config, tiny_generator))
        leaves = named_leaves(tiny_generator)
        state = init_state(0, {name: leaves[name] for name in phase.changed}, phase)
        program = jax.make_jaxpr(step)(state, Constants(tiny_generator, guides), KEY)
        counts[phase.name] = plane_scatters(program.jaxpr, channels)
    assert counts['phase1'] == 0
    assert counts['phase2'] > 0


def test_steps_draw_from_their_own_keys(tiny_generator: eg3d_jax.TriPlaneGenerator):
    camera = tiny_generator.config.camera
    batches = [
        sample_batch(jax.random.fold_in(KEY, step), Sampling(2, 1.0, conditioning, camera, 0.0), 8)
        for step, conditioning in ((0, 'same'), (1, 'same'), (0, 'frontal'))
    ]
    assert not np.allclose(batches[0].z, batches[1].z)
    assert not np.allclose(batches[0].camera, batches[1].camera)
    np.testing.assert_array_equal(batches[0].z, batches[2].z)
    np.testing.assert_array_equal(batches[0].conditioning, batches[0].camera)
    frontal = batches[2].conditioning.reshape(2, 25)[:, [3, 7]]  # x and y of the camera's place
    np.testing.assert_allclose(frontal, 0, atol=1e-6)


class TestPlan:
    def test_says_what_each_phase_trains_and_what_has_changed(
        self, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator
    ):
        first, second = phases_of(tiny_config(), tiny_generator)
        names = tuple(named_leaves(tiny_generator, nnx.Param))
        assert set(first.trained) == {f'decoder.net.{i}.{kind}' for i in (0, 2) for kind in ('weight', 'bias')}
        assert set(second.trained) == set(matching(names, 'superresolution'))
        assert set(second.changed) == set(first.trained) | set(second.trained)
        assert (first.start, first.end, second.start, second.end) == (0, 2, 2, 4)

    def test_buffers_are_not_trained(self, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator):
        config = tiny_config(phases__phase1__trained=ALL)
        trained = phases_of(config, tiny_generator)[0].trained
        assert set(named_leaves(tiny_generator)) - set(trained) == set(named_leaves(tiny_generator, eg3d_jax.Buffer))

    def test_phases_without_steps_are_left_out(
        self, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator
    ):
        (only,) = phases_of(tiny_config(phases__phase1__steps=0), tiny_generator)
        assert (only.name, only.start) == ('phase2', 0)
        assert all(name.startswith('superresolution.') for name in only.changed)

    def test_phase_at_a_step(self, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator):
        phases = phases_of(tiny_config(), tiny_generator)
        names = [phase.name if (phase := phase_at(phases, step)) else None for step in range(5)]
        assert names == ['phase1', 'phase1', 'phase2', 'phase2', None]

    def test_refuses_a_path_that_matches_nothing(
        self, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator
    ):
        config = tiny_config(phases__phase1__trained=('decoder', 'decoder.net.0.weigh'))
        with pytest.raises(ConfigError, match=r"config\.phases\.phase1\.trained: 'decoder\.net\.0\.weigh' matches no"):
            phases_of(config, tiny_generator)

    def test_refuses_features_that_do_not_pool(
        self, tiny_config: MakeConfig, tiny_generator: eg3d_jax.TriPlaneGenerator
    ):
        config = tiny_config(phases__phase1__render_resolution=33)
        with pytest.raises(ConfigError, match=r'config\.phases\.phase1\.render_resolution: .* multiple of 2'):
            phases_of(config, tiny_generator)


def test_paths_end_at_dots():
    assert matching(('a.b', 'a.bc', 'ab'), 'a') == ('a.b', 'a.bc')
    assert matching(('a.b', 'a.bc', 'ab'), 'a.b') == ('a.b',)
