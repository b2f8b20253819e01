"""Several domains in one generator: codes, leaves, the step, whole runs, adapters, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import clip_jax
import eg3d_jax
from adaptation import AdapterError, ConfigError, counterpart, load_adapted, train
from adaptation.adapter import load_domains, load_leaves
from adaptation.config import AdaptationConfig, DomainConfig, LossFactors, read_config
from adaptation.domain_codes import DomainError, code_of, parse_code
from adaptation.domain_step import domain_constants, make_domain_step
from adaptation.domains import domain_leaves, first_leaves, misfitting
from adaptation.errors import Interrupted
from adaptation.fine_detail import at_size_of_images
from adaptation.guidance import domain_guides, make_guides
from adaptation.leaves import named_leaves
from adaptation.pair import Counterpart
from adaptation.phases import plan
from adaptation.step import Constants, Sampling, init_state, make_step

Generator = eg3d_jax.TriPlaneGenerator
NAMES = ('ink', 'oil')
KEY = jax.random.key(4)

make_first_leaves = jax.jit(first_leaves, static_argnames=('domains', 'rank'))
make_domain_leaves = jax.jit(domain_leaves)


def trained_leaves(generator: Generator, domains: int = 2) -> dict[str, jax.Array]:
    """First leaves, of which each was then moved."""
    leaves = make_first_leaves(named_leaves(generator, nnx.Param), domains, 2, KEY)
    rng = np.random.default_rng(1)
    moved = {name: np.asarray(leaf) + rng.standard_normal(leaf.shape) for name, leaf in leaves.items()}
    return {name: jnp.asarray(leaf, jnp.float32) for name, leaf in moved.items()}


@pytest.fixture
def domain_values(tiny_values: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The tiny config with two references."""
    del tiny_values['reference']
    for index, name in enumerate(NAMES):
        pixels = np.random.default_rng(index).integers(0, 256, (18 + index, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{name}.png')
    tiny_values['references'] = {name: {'image': str(tmp_path / f'{name}.png')} for name in NAMES}
    tiny_values['references']['oil']['factors'] = {'dis': 0.5}
    tiny_values['domain_rank'] = 2
    return tiny_values


def test_codes_are_read_and_refused() -> None:
    assert parse_code('ink') == {'ink': 1.0}
    assert parse_code('ink:0.5, oil:-2') == {'ink': 0.5, 'oil': -2.0}
    np.testing.assert_array_equal(code_of('oil:0.25', NAMES), [0.0, 0.25])
    np.testing.assert_array_equal(code_of({'oil': 2.0, 'ink': -1.0}, NAMES), [-1.0, 2.0])
    for text in ('', 'ink:', 'ink:x', 'ink,ink', 'ink:inf', 'ink,,oil'):
        with pytest.raises(DomainError, match='names no domain'):
            parse_code(text)
    with pytest.raises(DomainError, match=r"no domain 'wax'.*ink, oil"):
        code_of('wax', NAMES)


def test_all_domains_begin_as_the_source(tiny_generator: Generator) -> None:
    source = named_leaves(tiny_generator, nnx.Param)
    leaves = make_first_leaves(source, 3, 2, KEY)
    for code in ([1.0, 0.0, 0.0], [0.3, -2.0, 5.0]):
        made = make_domain_leaves(leaves, jnp.asarray(code))
        assert made.keys() == source.keys()
        assert all(np.array_equal(made[name], leaf) for name, leaf in source.items())  # what is added is exactly 0


def test_leaves_are_linear_in_the_code_and_of_low_rank(tiny_generator: Generator) -> None:
    leaves = trained_leaves(tiny_generator)
    ink, oil, middle = (make_domain_leaves(leaves, jnp.asarray(code)) for code in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]))
    kernels = 0
    for name in ink:
        np.testing.assert_allclose(middle[name], (ink[name] + oil[name]) / 2, atol=1e-4)  # rounding of sums of order 10
        if f'{name}.own_left' in leaves:
            kernels += 1
            added = np.asarray(ink[name] - leaves[name]).reshape(-1, ink[name].shape[-1])
            assert np.linalg.matrix_rank(added, tol=1e-3) == 2
    assert kernels > 3
    assert not misfitting({name: np.asarray(leaf) for name, leaf in leaves.items()}, named_leaves(tiny_generator), 2)
    assert misfitting({name: np.asarray(leaf) for name, leaf in leaves.items()}, named_leaves(tiny_generator), 3)


def test_the_guides_of_each_domain_are_those_of_its_reference(tiny_clips: tuple[clip_jax.Clip, ...]) -> None:
    rng = np.random.default_rng(2)
    references = [jnp.asarray(rng.uniform(-1, 1, (size, size, 3)), jnp.float32) for size in (18, 20)]
    images = [jnp.asarray(rng.uniform(-1, 1, (2, 16, 16, 3)), jnp.float32) for _ in range(2)]
    found = domain_guides(tiny_clips, (0, 0), references, iter(images))
    for guides, reference in zip(found, references, strict=True):
        alone = make_guides(tiny_clips, (0, 0), reference, iter(images))
        for guide, other in zip(guides, alone, strict=True):
            np.testing.assert_allclose(guide.domain_direction, other.domain_direction, atol=1e-5)  # order of sums
            np.testing.assert_allclose(guide.reference_tokens, other.reference_tokens, atol=1e-5)


@pytest.mark.parametrize('phase_number', [0, 1])
def test_the_losses_are_those_of_each_domain_alone(
    phase_number: int,
    domain_values: dict[str, Any],
    tiny_generator: Generator,
    tiny_clips: tuple[clip_jax.Clip, ...],
) -> None:
    for settings in domain_values['phases'].values():
        settings['weights'] |= {'fine': 1.5, 'crisp': 0.75, 'palette': 2.5, 'edges': 4.5, 'pair': 3.5}
    config = read_config(domain_values)
    source = named_leaves(tiny_generator, nnx.Param)
    leaves = jax.device_get(make_first_leaves(source, 2, 2, KEY))
    rng = np.random.default_rng(3)
    references = [jnp.asarray(rng.uniform(-1, 1, (16, 16, 3)), jnp.float32) for _ in NAMES]
    guides = domain_guides(tiny_clips, (0, 0), references)
    camera = tiny_generator.config.camera
    sampling = Sampling(2, 1.0, 'same', camera, 0.2)
    moved = {name: leaf for name, leaf in trained_leaves(tiny_generator).items() if not name.startswith('backbone')}
    moved = {name: leaves[name] + 0.05 * (np.asarray(leaf) - leaves[name]) for name, leaf in moved.items()}
    phase = plan(config, leaves, 8)[phase_number]
    changed = {name: jnp.array(moved[name]) for name in phase.changed}
    state = init_state(0, changed, phase)
    domains = [DomainConfig(), DomainConfig(factors=LossFactors(dis=0.5), rate=0.25)]
    detailed = at_size_of_images(references, tiny_generator.config.image_resolution)
    looking = eg3d_jax.cameras.sample_poses(KEY, 2, camera)
    heads = [
        Counterpart(jnp.asarray(rng.standard_normal((1, tiny_generator.config.num_ws, 12)), jnp.float32), one[None])
        for one in looking
    ]
    constants = domain_constants(tiny_generator, guides, domains, list(detailed), heads)
    alone = []
    for domain in range(2):
        single = plan(config, source, 8)[phase_number]
        own = make_domain_leaves(changed, jnp.eye(2)[domain])
        own = {name: jnp.array(own[name]) for name in single.changed}
        step = make_step(single, sampling)
        its = Constants(tiny_generator, guides[domain], detailed[domain], heads[domain])
        alone.append(step(init_state(0, own, single), its, KEY)[1])
    before = {name: np.array(leaf) for name, leaf in changed.items()}
    after, metrics = make_domain_step(phase, sampling, 2)(state, constants, KEY)
    for name in ('dir', 'dis', 'istr', 'fine', 'crisp', 'palette', 'edges', 'pair'):
        mean = (alone[0][name] + alone[1][name]) / 2
        assert mean > 0 or (name, phase_number) == ('edges', 0)  # Tri-D makes none here
        np.testing.assert_allclose(metrics[name], mean, rtol=1e-3)  # other programs, other rounding
    weights = phase.settings.weights
    expected = (alone[0]['loss'] + alone[1]['loss'] - 0.5 * weights.dis * alone[1]['dis']) / 2
    np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-3)
    for name in before:
        trained = name in phase.trained
        assert trained or np.array_equal(before[name], after.adapted[name])
    own = [name for name in phase.trained if name.endswith(('.own_right', '.own')) and before[name].size > 8]
    for name in own:  # of every domain, not of one alone, each at its rate: Adam's first step is as long everywhere
        fast, slow = (np.abs(np.asarray(after.adapted[name])[k] - before[name][k]).max() for k in range(2))
        assert fast == pytest.approx(phase.settings.learning_rate, rel=0.05), name
        assert slow == pytest.approx(0.25 * fast, rel=0.05), name


def test_what_each_domain_has_whole_is_not_shared(domain_values: dict[str, Any], tiny_generator: Generator) -> None:
    leaves = make_first_leaves(named_leaves(tiny_generator, nnx.Param), 2, 2, KEY)
    trained = {name for phase in plan(read_config(domain_values), leaves, 8) for name in phase.trained}
    shared = {name for name in trained if '.own' not in name}
    assert shared
    assert all(f'{name}.own_left' in trained for name in shared)
    assert any(f'{name}.own' in trained for name in leaves.keys() - trained)


def test_a_run_stops_resumes_and_holds_its_domains(
    domain_values: dict[str, Any], tiny_generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain_values['phases']['phase2']['weights'] |= {'fine': 0.5, 'pair': 2.0}
    monkeypatch.setattr(counterpart, 'STEPS', 2)
    config = read_config(domain_values)
    whole = train.run(config, tmp_path / 'whole', quiet=True)
    record = train._Session._record

    def stop_after_3(self: Any, done: int, *rest: Any) -> None:
        record(self, done, *rest)
        if done == 3:
            self._stop.requested = True

    monkeypatch.setattr(train._Session, '_record', stop_after_3)
    with pytest.raises(Interrupted):
        train.run(config, tmp_path / 'stopped', quiet=True)
    monkeypatch.setattr(train._Session, '_record', record)
    resumed = train.run(config, tmp_path / 'stopped', quiet=True)
    first, names = load_domains(tiny_generator, whole)
    second, _ = load_domains(tiny_generator, resumed)
    assert names == NAMES
    assert all(np.array_equal(first[name], second[name]) for name in first)  # the same program on the same numbers

    lines = [json.loads(line) for line in (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()]
    for name in ('fine', 'pair'):
        assert [name in line for line in lines] == [False, False, True, True]
    with Image.open(tmp_path / 'whole' / 'pairs.png') as picture:
        assert picture.size == (2 * 16, 2 * 16 + 4)  # for each domain its reference and its head, 16 pixels; a gap of 4

    ink, oil = (load_leaves(tiny_generator, whole, name) for name in NAMES)
    assert any(np.any(ink[name] != oil[name]) for name in ink)
    middle = load_leaves(tiny_generator, whole, {'ink': 0.5, 'oil': 0.5})
    np.testing.assert_allclose(
        middle['decoder.net.0.bias'], (ink['decoder.net.0.bias'] + oil['decoder.net.0.bias']) / 2, atol=1e-5
    )
    adapted = load_adapted(tiny_generator, whole, 'oil')
    np.testing.assert_array_equal(named_leaves(adapted)['decoder.net.0.bias'], oil['decoder.net.0.bias'])
    with Image.open(tmp_path / 'whole' / 'samples' / '000004.png') as picture:
        rows = picture.height
    with pytest.raises(AdapterError, match=r'several domains \(ink, oil\)'):
        load_leaves(tiny_generator, whole)
    with pytest.raises(AdapterError, match="no domain 'wax'"):
        load_leaves(tiny_generator, whole, 'wax')
    assert rows == 2 * (2 * 16 + 4) + 4  # two blocks of two rows of images of 16 pixels, gaps of 4
    info = json.loads((tmp_path / 'whole' / 'adapter.json').read_text())
    assert (info['format'], info['domains']) == (2, ['ink', 'oil'])
    info['domains'].append('wax')
    (tmp_path / 'whole' / 'adapter.json').write_text(json.dumps(info))
    with pytest.raises(AdapterError, match='does not fit the generator'):
        load_leaves(tiny_generator, whole, 'ink')


@pytest.mark.parametrize(
    ('changes', 'problem'),
    [
        ({'references': {'ink': {'image': 'a.png'}}}, 'one domain alone'),
        ({'reference': {'image': 'a.png'}}, 'beside references'),
        ({'references': {'ink': {'image': 'a.png'}, 'oil': {}}}, 'references.oil.image: is not set'),
        ({'references': {'ink': {'image': 'a.png'}, 'o:l': {'image': 'b.png'}}}, 'is no name of a domain'),
        ({'target_text': 'a', 'source_text': 'b'}, 'texts guide one domain alone'),
        ({'domain_rank': 0}, 'domain_rank: must be at least 1'),
        ({'references': {'ink': {'image': 'a.png'}, 'oil': {'image': 'b.png', 'rate': 0.0}}}, 'must be above 0'),
    ],
)
def test_configs_of_no_sense_are_refused(changes: dict[str, Any], problem: str, domain_values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_config({**domain_values, **changes})


def test_the_shipped_config_is_one() -> None:
    from adaptation.main import load_experiment

    config = read_config(load_experiment(Path(__file__).parents[2] / 'configs' / 'three_styles.py'))
    assert config.domains == ('cartoon', 'sketch', 'ukiyoe')
    assert isinstance(config, AdaptationConfig)
    assert read_config(config.to_dict()) == config


def test_one_style_has_no_domain(
    tiny_config: Callable[..., AdaptationConfig], tiny_generator: Generator, tmp_path: Path
) -> None:
    from adaptation.adapter import save_adapter
    from adaptation.leaves import fingerprint

    leaves = {'decoder.net.0.bias': named_leaves(tiny_generator)['decoder.net.0.bias']}
    save_adapter(tmp_path, tiny_generator, leaves, fingerprint(tiny_generator), {})
    with pytest.raises(AdapterError, match='one style alone'):
        load_leaves(tiny_generator, tmp_path, 'ink')
