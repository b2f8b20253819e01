"""A run of several domains in the commands that measure, show, mix, invert and export, and films of the way between."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from safetensors.numpy import load_file

import adaptation
import eg3d_jax
from adaptation import evaluate, mix, report, view
from adaptation.adapter import AdapterError, load_domains, load_leaves, save_adapter
from adaptation.config import LossWeights, PhaseConfig, read_config
from adaptation.domain import main as domain
from adaptation.domain_codes import DomainError, chosen_code, directory_name, in_words, without_zeros
from adaptation.domain_films import domain_film_frames
from adaptation.domain_images import images_of_codes
from adaptation.domains import first_leaves
from adaptation.errors import Interrupted
from adaptation.evaluation import runner
from adaptation.evaluation.features import CLIP
from adaptation.evaluation.programs import SIDES, Pair
from adaptation.evaluation.run import load_run
from adaptation.generation.poses import closed_path, pose_cameras
from adaptation.generation.rendering import to_pixels
from adaptation.generation.seeds import latents
from adaptation.inputs import load_inputs
from adaptation.invert import main as invert
from adaptation.leaves import matching, named_leaves
from adaptation.phases import plan
from adaptation.reporting import page
from adaptation.reporting.evaluation import Evaluation, Metric
from adaptation.reporting.heads import images
from adaptation.step import frontal_cameras, without_numbers
from adaptation.viewing.drawing import named_styles
from adaptation.workdir import Workdir
from convert import ConversionError
from convert.export import export

Generator = eg3d_jax.TriPlaneGenerator
SIDE = 16  # of the tiny generator's images
BIAS = 'decoder.net.0.bias'


@pytest.fixture(scope='module')
def values(tiny_files: Path) -> dict[str, Any]:
    """A config of two references."""
    for index, name in enumerate(('ink', 'oil')):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 22, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tiny_files / f'{name}.png')
    phase = {'steps': 2, 'learning_rate': 0.01, 'trained': ['decoder'], 'weights': {'dis': 2.0}}
    return {
        'generator': str(tiny_files / 'generator'),
        'clip': f'{tiny_files / "clip0"},{tiny_files / "clip1"}',
        'clip_layers': [0],
        'references': {name: {'image': str(tiny_files / f'{name}.png')} for name in ('ink', 'oil')},
        'phases': {'phase1': phase, 'phase2': {**phase, 'steps': 0}},
        'batch_size': 3,
        'domain_rank': 2,
    }


@pytest.fixture(scope='module')
def run(values: dict[str, Any], tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of Tri-D in two domains, written without training: biases plus 1 in one, minus 1 in the other."""
    workdir = Workdir(tmp_path_factory.mktemp('runs') / 'styles')
    config = read_config(values)
    hashes = load_inputs(config).hashes
    workdir.claim(config, hashes)
    workdir.metrics.write_text(json.dumps({'step': 1, 'phase': 'phase1', 'loss': 3.0, 'dis': 1.0}) + '\n')
    leaves = first_leaves(named_leaves(tiny_generator, nnx.Param), 2, 2, jax.random.key(0))
    leaves = {name: leaves[name] for name in matching(tuple(leaves), 'decoder')}
    for name in leaves:
        if name.endswith('.bias.own'):
            leaves[name] = leaves[name].at[0].add(1.0).at[1].add(-1.0)
    training = {'steps': 2, 'finished': True}
    save_adapter(workdir.root, tiny_generator, leaves, hashes['generator'], training, ('ink', 'oil'))
    return workdir.root


@pytest.fixture(scope='module')
def alone(run: Path, tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of one style, taken out of that run."""
    output = tmp_path_factory.mktemp('alone') / 'ink'
    assert domain([f'--workdir={run}', '--domain=ink', f'--output={output}']) == 0
    return output


def test_codes_have_names_that_no_two_share() -> None:
    assert without_zeros({'oil': 0.5, 'wax': 0.0, 'ink': 0.5}) == {'ink': 0.5, 'oil': 0.5}
    assert directory_name({'ink': 1.0, 'oil': 0.0}) == 'ink'
    assert directory_name({'oil': 0.5, 'ink': -0.5}) == directory_name({'ink': -0.5, 'oil': 0.5}) == 'ink=-0.5+oil=0.5'
    assert directory_name({'ink': 0.5}) == 'ink=0.5'
    assert in_words({'ink': 1.0}) == 'ink'
    assert in_words({'ink': 0.5, 'oil': 0.25}) == '0.5 ink 0.25 oil'


def test_a_domain_is_chosen_where_there_are_several() -> None:
    assert chosen_code(None, ()) is None
    np.testing.assert_array_equal(chosen_code({'oil': 0.5}, ('ink', 'oil')), [0.0, 0.5])
    with pytest.raises(DomainError, match='one style alone'):
        chosen_code('ink', ())
    with pytest.raises(DomainError, match=r'\(ink, oil\).*--domain=ink or --domain=ink:0\.5,oil:0\.5'):
        chosen_code(None, ('ink', 'oil'))


def test_weights_and_learning_rate_are_no_part_of_the_program(
    values: dict[str, Any], tiny_generator: Generator
) -> None:
    (phase,) = plan(read_config(values), named_leaves(tiny_generator, nnx.Param), 8)

    def with_settings(**changes: Any) -> Any:
        settings: PhaseConfig = replace(phase.settings, **changes)
        return without_numbers(replace(phase, settings=settings))

    numbers, same = with_settings(weights=LossWeights(dis=3.0), learning_rate=0.5, steps=7)
    assert same == without_numbers(phase)[1]
    assert (float(numbers.learning_rate), float(numbers.weights['dis'])) == (0.5, 3.0)
    assert with_settings(weights=LossWeights(dis=0.0))[1] != same  # a loss that is not computed is none


class TestEvaluate:
    @pytest.fixture(autouse=True)
    def counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Instead of the costly programs: random embeddings, and how far the bias has moved as the depth difference."""

        def first(pair: Pair, indices: jax.Array) -> tuple[SimpleNamespace, dict[str, np.ndarray]]:
            rows = np.random.default_rng(0).standard_normal((len(indices), 16)).astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            moved = named_leaves(pair.adapted)[BIAS] - named_leaves(pair.source)[BIAS]
            seen = SimpleNamespace(features={side: {CLIP: rows} for side in SIDES})
            return seen, {'depth_difference': np.full(len(indices), np.mean(moved))}

        monkeypatch.setattr(runner, 'make_first', lambda sampling, own_backbone: first)
        monkeypatch.setattr(runner, 'make_around', lambda sampling: lambda pair, seen: {})

    @pytest.fixture
    def measure(self, run: Path) -> Callable[..., int]:
        return lambda *more: evaluate.main([f'--workdir={run}', '--samples=16', '--batch=16', *more])

    def test_each_domain_is_measured_by_itself(self, measure: Callable[..., int], run: Path) -> None:
        found = {}
        for asked, name in (('ink', 'ink'), ('oil:1', 'oil'), ('oil:0.5,ink:0.5', 'ink=0.5+oil=0.5')):
            assert measure(f'--domain={asked}') == 0
            result = json.loads((run / 'evaluation' / name / 'evaluation.json').read_text())
            found[name] = {metric['name']: metric['value'] for metric in result['metrics']}
        assert result['domain'] == {'oil': 0.5, 'ink': 0.5}
        ink, oil, middle = found.values()
        assert ink['reference_distance_clip_source'] != oil['reference_distance_clip_source']  # another reference
        # Rounding of numbers of order 1; in the mixture the biases cancel.
        moved = [found['depth_difference'] for found in (ink, oil, middle)]
        np.testing.assert_allclose(moved, [1.0, -1.0, 0.0], atol=1e-5)
        assert middle.keys() == ink.keys() - {name for name in ink if name.startswith('reference_')}

    def test_the_reference_is_that_of_the_domain(self, run: Path) -> None:
        references = load_run(run, {'oil': 1.0}).inputs.references
        for weights, name in (({'ink': 1.0}, 'ink'), ({'oil': 0.5, 'ink': 0.0}, 'oil')):
            reference = load_run(run, weights).inputs.reference
            assert reference is not None
            np.testing.assert_array_equal(reference, references[name])
        assert load_run(run, {'ink': 0.5, 'oil': 0.5}).inputs.reference is None

    def test_an_unfinished_evaluation_is_of_its_domain(
        self,
        measure: Callable[..., int],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def stop(self: Any, *, last: bool) -> None:
            self._save()
            raise Interrupted('stopped')

        with monkeypatch.context() as patched:
            patched.setattr(runner._Evaluation, '_after_batch', stop)
            assert measure('--domain=ink', f'--output={tmp_path}') == 130
        assert measure('--domain=oil', f'--output={tmp_path}') == 2
        assert 'unfinished evaluation with another --domain' in capsys.readouterr().err
        assert measure('--domain=ink:1,oil:0', f'--output={tmp_path}') == 0  # the same code
        assert json.loads((tmp_path / 'evaluation.json').read_text())['domain'] == {'ink': 1.0}

    @pytest.mark.parametrize(
        ('more', 'said'),
        [
            ((), 'several domains (ink, oil): name one by domain, on a command line by --domain=ink'),
            (('--domain=wax',), "there is no domain 'wax': it holds ink, oil"),
            (('--domain=ink:x',), "'ink:x' names no domain"),
        ],
    )
    def test_it_has_to_be_named(
        self, more: tuple[str, ...], said: str, measure: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert measure(*more) == 2
        assert said in capsys.readouterr().err

    def test_a_run_of_one_style_has_none(
        self, values: dict[str, Any], tiny_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        single = {**values, 'references': {}, 'reference': {'image': str(tiny_files / 'reference.png')}}
        (tmp_path / 'config.json').write_text(json.dumps(single))
        assert evaluate.main([f'--workdir={tmp_path}', '--domain=ink']) == 2
        assert f'--domain: {tmp_path}: it holds one style alone: leave the domain' in capsys.readouterr().err


def measured(value: float, about: str = 'Distance.', domain: dict[str, float] | None = None) -> dict[str, Any]:
    metric = Metric('fid', 'FID', value, (value - 1, value + 1), 'lower', 50, about)
    evaluation = Evaluation(50, 0, 'a machine', 1.0, 'the command', (metric,), domain)
    return {'format': 1, **vars(evaluation), 'metrics': [vars(metric)]}


class TestReport:
    def test_one_page_shows_all_domains(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for place, what in (
            ('oil', measured(7.25, domain={'oil': 1.0})),
            ('ink=0.5+oil=0.5', measured(3.5, 'Another.', {'ink': 0.5, 'oil': 0.5})),
        ):
            (tmp_path / 'measured' / place).mkdir(parents=True)
            (tmp_path / 'measured' / place / 'evaluation.json').write_text(json.dumps(what))
        shown: list[page.Contents] = []
        render = page.render
        monkeypatch.setattr(page, 'render', lambda contents: shown.append(contents) or render(contents))
        file = tmp_path / 'report.html'
        asked = [f'--workdir={run}', f'--evaluation={tmp_path / "measured"}', f'--output={file}', '--heads=2']
        assert report.main(asked) == 0
        capsys.readouterr()
        (contents,) = shown
        assert [style.name for style in contents.styles] == ['ink', 'oil']
        assert list(contents.evaluations) == ['oil', '0.5 ink 0.5 oil']
        ink, oil = (style.gallery for style in contents.styles)
        assert ink is not None
        assert oil is not None
        for one, other in zip(ink.random, oil.random, strict=True):
            np.testing.assert_array_equal(one.source, other.source)
            assert np.any(one.adapted != other.adapted)
        text = file.read_text()
        assert text.count('<img') == 2 * (1 + 2 * 2 * 2 + 2 * (1 + 2 * page.STRIP))
        for name in ('ink', 'oil'):
            assert f'<h2 id="domain-{name}">{name}</h2>' in text
            assert f'{name}.png' in text
            assert f'id="random-{name}"' in text
        assert '<th scope="col" class="value">oil</th><th scope="col" class="value">0.5 ink 0.5 oil</th>' in text
        assert 'adapted to 2 pictures' in text
        assert 'the mean over the domains' in text
        assert text.count('<dt>FID</dt>') == 2  # both definitions
        assert f'python -m adaptation.evaluate \\\n    --workdir={run} \\\n    --domain=ink\n' in text
        assert '--domain=oil\n' not in text  # that is measured

    def test_what_is_not_there_is_said(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        asked = [f'--workdir={run}', f'--output={tmp_path / "report.html"}']
        assert report.main([*asked, f'--evaluation={tmp_path}']) == 2
        assert f'no directory in {tmp_path} holds an evaluation.json' in capsys.readouterr().err
        hashes = json.loads((run / 'inputs.json').read_text())
        try:
            (run / 'inputs.json').write_text(json.dumps({**hashes, 'references.oil.image': 'other'}))
            assert report.main(asked) == 1
        finally:
            (run / 'inputs.json').write_text(json.dumps(hashes))
        assert 'config.references.oil.image' in capsys.readouterr().err
        assert not (tmp_path / 'report.html').exists()

    def test_the_sources_heads_are_counted_once(self) -> None:
        assert images(2, 3) == images(2) + 2 * (images(2) - 4 * 2)


class TestView:
    def test_each_domain_is_a_style(self, run: Path, alone: Path, tiny_generator: Generator) -> None:
        drawing = view.load(view.read_flags([f'--workdir={run}']))
        assert drawing.styles == ('source', 'ink', 'oil')
        np.testing.assert_array_equal(drawing.adapters['oil'][BIAS], load_leaves(tiny_generator, run, 'oil')[BIAS])
        both = view.load(view.read_flags([f'--adapters={alone},{run}', f'--generator={run_generator(run)}']))
        assert both.styles == ('source', 'ink', 'styles ink', 'oil')

    def test_no_style_is_called_as_the_source(self) -> None:
        assert list(named_styles([('run', 'source', {}), ('run', 'oil', {})])) == ['run source', 'oil']
        assert list(named_styles([('source', '', {}), ('run', '', {})])) == ['source adapted', 'run']


def run_generator(run: Path) -> str:
    return json.loads((run / 'config.json').read_text())['generator']


def test_one_domain_is_mixed_with_another_adapter(
    run: Path, alone: Path, tiny_generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f'--adapters={run},{alone}', '--weights=1,0.25', f'--output={tmp_path / "mix"}']
    assert mix.main(asked) == 2
    assert 'several domains (ink, oil)' in capsys.readouterr().err
    assert not (tmp_path / 'mix').exists()
    assert mix.main([*asked, '--domain=oil', '--preview']) == 0
    moved = load_leaves(tiny_generator, tmp_path / 'mix')[BIAS] - named_leaves(tiny_generator)[BIAS]
    np.testing.assert_allclose(moved, -0.75, atol=1e-5)  # -1 + 0.25; rounding of numbers of order 1
    info = json.loads((tmp_path / 'mix' / 'adapter.json').read_text())
    assert [part.get('domain') for part in info['mixed_from']] == [{'oil': 1.0}, None]
    with Image.open(tmp_path / 'mix' / 'preview.png') as picture:
        assert picture.width > 4 * SIDE
    assert mix.main([f'--adapters={alone}', '--weights=1', '--domain=oil', f'--output={tmp_path / "other"}']) == 2
    assert '--domain: each of the adapters holds one style alone' in capsys.readouterr().err


def test_a_photograph_is_shown_in_a_domain(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [f'--image={tmp_path / "photo.png"}', f'--output={tmp_path / "me"}']
    for more, code, said in (
        ((f'--workdir={run}',), 2, 'several domains (ink, oil)'),
        ((f'--workdir={run}', '--domain=wax'), 2, "no domain 'wax'"),
        ((f'--workdir={run}', '--domain=oil'), 1, 'photo.png'),  # which comes after the domain
        (('--domain=oil',), 2, '--domain: only an adapted generator has one'),
    ):
        assert invert([*asked, *more]) == code
        assert said in capsys.readouterr().err


def test_a_domain_is_exported(run: Path, tiny_generator: Generator, tmp_path: Path) -> None:
    source, output = run_generator(run), tmp_path / 'oil.safetensors'
    export(run, source, output, domain='oil')
    before = np.asarray(named_leaves(tiny_generator)[BIAS])
    np.testing.assert_allclose(load_file(output)[BIAS], before - 1.0, atol=1e-6)
    with pytest.raises(ConversionError, match=r'several domains \(ink, oil\)'):
        export(run, source, tmp_path / 'none.safetensors')
    with pytest.raises(ConversionError, match='--domain: only an adapter has one'):
        export(None, source, tmp_path / 'none.safetensors', domain='oil')
    assert not (tmp_path / 'none.safetensors').exists()


def test_a_domain_has_a_strength(run: Path, tiny_generator: Generator) -> None:
    halfway = adaptation.at_strength(tiny_generator, run, 0.5, 'oil')
    moved = named_leaves(halfway)[BIAS] - named_leaves(tiny_generator)[BIAS]
    np.testing.assert_allclose(moved, -0.5, atol=1e-6)
    with pytest.raises(AdapterError, match='several domains'):
        adaptation.at_strength(tiny_generator, run, 0.5)


class TestFilm:
    def test_the_way_leads_through_the_domains(self, run: Path, tiny_generator: Generator) -> None:
        leaves, _ = load_domains(tiny_generator, run)
        camera = tiny_generator.config.camera
        film = domain_film_frames(tiny_generator, leaves, np.eye(2, dtype=np.float32), (3, 4), frames=4, yaw=0.3)
        frames = list(film)
        assert [frame.shape for frame in frames] == [(SIDE, 2 * SIDE, 3)] * 4
        views = pose_cameras(closed_path(4, 0.3, 0.0, camera), camera)
        z, frontal = jnp.asarray(latents((3, 4), tiny_generator.config.z_dim)), frontal_cameras(2, camera)
        for index, code in ((0, [1.0, 0.0]), (1, [0.5, 0.5]), (2, [0.0, 1.0]), (3, [0.5, 0.5])):
            each, looking = jnp.tile(jnp.asarray(code), (2, 1)), jnp.tile(views[index], (2, 1))
            still = np.asarray(images_of_codes(tiny_generator, leaves, each, z, looking, frontal, 0.7))
            np.testing.assert_array_equal(frames[index], np.concatenate(list(map(to_pixels, still)), axis=1))

    @pytest.mark.parametrize('form', ['mp4', 'gif', 'webp'])
    def test_a_film_says_how_it_was_made(
        self, form: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = [f'--workdir={run}', '--film=oil,ink', '--seeds=3-4', f'--output={tmp_path}', '--frames=3']
        assert domain([*asked, f'--format={form}']) == 0
        path = tmp_path / f'film.{form}'
        assert capsys.readouterr().out == f'{path}\n'
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        if form == 'mp4':
            comment = path.read_bytes()
            start = comment.index(b'{"Software"')
            facts, _ = json.JSONDecoder().raw_decode(comment[start:].decode('ascii', 'replace'))
        else:
            with Image.open(path) as film:
                assert (film.size, film.n_frames) == ((2 * SIDE, SIDE), 3)
                facts = json.loads(film.info['comment'] if form == 'gif' else film.getexif()[270])
        assert (facts['domains'], facts['seeds'], facts['frames']) == (['oil', 'ink'], [3, 4], 3)
        assert domain(asked) == 0  # the directory holds nothing but films

    @pytest.mark.parametrize(
        ('more', 'said'),
        [
            (('--film=ink',), 'are not several different domains'),
            (('--film=ink,ink',), 'are not several different domains'),
            (('--film=ink,wax',), "--film: there is no domain 'wax'"),
            (('--film=ink,oil', '--strip=ink,oil'), 'give either it'),
            (('--film=ink,oil', '--seeds=0-8'), '--seeds: 0-8 names more than 8 seeds'),
            (('--film=ink,oil', '--frames=1'), '--frames: expected a whole number from 2'),
            (('--film=ink,oil', '--format=avi'), '--format'),
            (('--film=ink,oil', '--pitch=2'), '--pitch: expected a number from -1.4 to 1.4'),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, more: tuple[str, ...], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert domain([f'--workdir={run}', *more, f'--output={tmp_path / "new"}']) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / 'new').exists()
