"""Settings: what is refused and by which name, and what reaches the run."""

import dataclasses
import json
import pickle
import runpy
from pathlib import Path
from typing import Any

import pytest

import eg3d_jax
from adaptation.config import POSE_DISTRIBUTIONS, CameraOverrides, default_config, flatten, read_config
from adaptation.errors import ConfigError
from adaptation.main import load_experiment, main, parse

CONFIGS = Path(__file__).parents[2] / 'configs'
SKETCH = f'--config={CONFIGS / "sketch.py"}'
STYLES = f'--config={CONFIGS / "three_styles.py"}'


def defaults(**changes: Any) -> dict[str, Any]:
    return {'reference': {'image': 'picture.png'}, **changes}


def texts(**changes: Any) -> dict[str, Any]:
    return defaults(**{'target_text': 'a sketch', 'source_text': 'a photo', **changes})


def phase(**changes: Any) -> dict[str, Any]:
    return defaults(phases={'only': {'steps': 1, 'learning_rate': 0.1, 'trained': ('decoder',), **changes}})


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(values)
    return list(caught.value.problems)


class TestReading:
    def test_defaults_are_the_two_steps_of_the_paper(self):
        config = read_config(defaults())
        assert [settings.trained for settings in config.phases.values()] == [('decoder',), ('superresolution',)]
        assert [settings.weights.fstr > 0 for settings in config.phases.values()] == [True, False]
        assert config.clip_layers == (3,)

    def test_config_dict_has_the_same_defaults(self):
        values = default_config()
        values.reference.image = 'picture.png'
        assert read_config(values) == read_config(defaults())

    def test_json_round_trip(self):
        config = read_config(
            defaults(camera={'pivot': (0, 0, 0.5), 'radius': 3}, reference={'image': 'a', 'crop': (0, 0, 9, 9)})
        )
        assert read_config(json.loads(json.dumps(config.to_dict()))) == config

    def test_phases_run_in_the_order_of_their_names(self):
        one = {'steps': 1, 'learning_rate': 0.1, 'trained': ['decoder']}
        assert list(read_config(defaults(phases={'b': one, 'a': one})).phases) == ['a', 'b']

    def test_numbers_in_the_names_of_phases_count_as_numbers(self):
        one = {'steps': 1, 'learning_rate': 0.1, 'trained': ['decoder']}
        names = ['phase10', 'phase2', 'b', 'phase2a', '3', 'phase1']
        ordered = list(read_config(defaults(phases=dict.fromkeys(names, one))).phases)
        assert ordered == ['3', 'b', 'phase1', 'phase2', 'phase2a', 'phase10']

    def test_every_field_of_the_cameras_can_be_overridden(self):
        cameras = {item.name for item in dataclasses.fields(eg3d_jax.CameraConfig)}
        assert {item.name for item in dataclasses.fields(CameraOverrides)} == cameras
        assert POSE_DISTRIBUTIONS == eg3d_jax.config.POSE_DISTRIBUTIONS
        overrides = {'distribution': 'uniform', 'yaw_mean': 0.5, 'pitch_mean': -1}
        camera = read_config(defaults(camera=overrides)).camera
        assert {name: value for name, value in vars(camera).items() if value is not None} == overrides

    def test_flatten_names_fields_by_their_path(self):
        assert flatten({'a': {'b': 1, 'c': {'d': (2, 3)}}, 'e': None}) == {'a.b': 1, 'a.c.d': [2, 3], 'e': None}


@pytest.mark.parametrize(
    ('values', 'field'),
    [
        (defaults(seeed=1), 'config.seeed'),
        (defaults(reference={'image': 'a', 'imagge': 'b'}), 'config.reference.imagge'),
        (phase(weights={'style': 1.0}), 'config.phases.only.weights.style'),
        (defaults(batch_size='4'), 'config.batch_size'),
        (defaults(batch_size=4.0), 'config.batch_size'),
        (defaults(batch_size=True), 'config.batch_size'),
        (defaults(batch_size=0), 'config.batch_size'),
        (defaults(truncation_psi=float('nan')), 'config.truncation_psi'),
        (defaults(truncation_psi=1.5), 'config.truncation_psi'),
        (defaults(seed=-1), 'config.seed'),
        (defaults(generator=''), 'config.generator'),
        (defaults(clip='a,,b'), 'config.clip'),
        (defaults(reference={}), 'config.reference.image'),
        (defaults(reference={'image': 'a', 'crop': (0, 0, 9)}), 'config.reference.crop'),
        (defaults(reference=3), 'config.reference'),
        (texts(source_text=''), 'config.source_text'),
        (texts(target_text=''), 'config.target_text'),
        (texts(target_text='a photo'), 'config.target_text'),
        (texts(target_text=' A  Photo'), 'config.target_text'),
        (texts(text_weight=1.5), 'config.text_weight'),
        (texts(prompt_templates=()), 'config.prompt_templates'),
        (texts(prompt_templates=('a photo of',)), 'config.prompt_templates'),
        (texts(prompt_templates=('{} and {}',)), 'config.prompt_templates'),
        # Texts guide by direction alone, and without a picture there are no patches to compare with.
        (texts(phases=phase(weights={'dir': 0.0})['phases']), 'config.target_text'),
        (texts(reference={}, phases=phase()['phases']), 'config.phases.only.weights.dis'),
        (
            texts(reference={}, phases=phase(weights={'dis': 0.0, 'fine': 1.0})['phases']),
            'config.phases.only.weights.fine',
        ),
        (
            texts(reference={}, phases=phase(weights={'dis': 0.0, 'palette': 1.0})['phases']),
            'config.phases.only.weights.palette',
        ),
        (
            texts(reference={}, phases=phase(weights={'dis': 0.0, 'pair': 1.0})['phases']),
            'config.phases.only.weights.pair',
        ),
        (defaults(conditioning='side'), 'config.conditioning'),
        (defaults(camera={'pivot': (0.0, 'a', 0.0)}), 'config.camera.pivot'),
        (defaults(camera={'yaw_std': -0.1}), 'config.camera.yaw_std'),
        (defaults(camera={'distribution': 'normal'}), 'config.camera.distribution'),
        (defaults(camera={'fov_degrees': 180.0}), 'config.camera.fov_degrees'),
        (defaults(clip_layers=(1, 2, 3)), 'config.clip_layers'),
        (defaults(clip_layers=(-1,)), 'config.clip_layers'),
        (defaults(source_samples=0), 'config.source_samples'),
        (defaults(encoder_crop=1.0), 'config.encoder_crop'),
        (defaults(direction_whitening=-1.0), 'config.direction_whitening'),
        (defaults(direction_whitening=float('inf')), 'config.direction_whitening'),
        (
            texts(reference={}, direction_whitening=1.0, phases=phase(weights={'dis': 0.0})['phases']),
            'config.direction_whitening',
        ),
        (defaults(intervals={'checkpoint': 0}), 'config.intervals.checkpoint'),
        (defaults(phases={}), 'config.phases'),
        (defaults(phases={'only': {'steps': 1, 'trained': ['decoder']}}), 'config.phases.only.learning_rate'),
        (phase(steps=-1), 'config.phases.only.steps'),
        (phase(steps=0), 'config.phases'),
        (phase(learning_rate=0.0), 'config.phases.only.learning_rate'),
        (phase(final_rate=1.5), 'config.phases.only.final_rate'),
        (phase(trained=()), 'config.phases.only.trained'),
        (phase(trained=('decoder', 'triplanes')), 'config.phases.only.trained'),
        (phase(weights={'dis': -1.0}), 'config.phases.only.weights.dis'),
        (phase(weights={'dir': 0.0, 'dis': 0.0, 'istr': 0.0, 'fstr': 0.0}), 'config.phases.only.weights'),
        (phase(render_resolution=0), 'config.phases.only.render_resolution'),
        (phase(updates=0), 'config.phases.only.updates'),
        # A loss that nothing trained can change, and parameters that no loss reaches.
        (phase(trained=('superresolution',), weights={'fstr': 1.0}), 'config.phases.only.weights.fstr'),
        (
            phase(trained=('decoder', 'superresolution'), weights={'dir': 0.0, 'dis': 0.0, 'istr': 0.0}),
            'config.phases.only.trained',
        ),
    ],
)
def test_refusals_name_the_field(values: dict[str, Any], field: str):
    assert [problem.partition(':')[0] for problem in problems(values)] == [field]


def test_all_problems_are_told_at_once():
    found = problems(defaults(seeed=1, batch_size='4', intervals={'log': None}))
    assert [problem.partition(':')[0] for problem in found] == [
        'config.seeed',
        'config.batch_size',
        'config.intervals.log',
    ]


def test_a_misspelt_field_is_told_its_neighbour():
    assert 'did you mean batch_size?' in problems(defaults(batchsize=1))[0]


@pytest.mark.parametrize(
    'trained',
    [('backbone', 'decoder', 'superresolution'), ('backbone',), ('decoder',), ('decoder', 'superresolution')],
    ids=['all', 'G1', 'Tri-D', 'joint'],
)
def test_the_papers_ablations_are_only_config(trained: tuple[str, ...]):
    assert read_config(phase(trained=trained)).phases['only'].trained == trained


class TestCommandLine:
    def test_overrides(self):
        config, workdir = parse(
            [
                SKETCH,
                '--workdir=somewhere',
                '--config.batch_size=7',
                '--config.camera.pivot=(0, 0, 1)',
                '--config.reference.crop=(1, 2, 3, 4)',
                '--config.phases.phase1.steps=0',
                '--config.phases.phase1.render_resolution=32',
                '--config.phases.phase2.trained=decoder,superresolution',
                '--config.clip=a,b',
            ]
        )
        assert workdir == Path('somewhere')
        assert (config.batch_size, config.camera.pivot, config.reference.crop) == (7, (0.0, 0.0, 1.0), (1, 2, 3, 4))
        assert config.phases['phase1'].steps == 0
        assert config.phases['phase1'].render_resolution == 32
        assert config.phases['phase2'].trained == ('decoder', 'superresolution')
        assert config.clip_directories == ('a', 'b')

    def test_workdir_is_named_after_the_config(self):
        assert parse([SKETCH])[1] == Path('runs/sketch')

    @pytest.mark.parametrize('name', ['sketch', 'ukiyoe', 'cartoon'])
    def test_shipped_configs_need_nothing_else(self, name: str):
        config, _ = parse(['--config', str(CONFIGS / f'{name}.py')])
        assert config.reference.image == f'miniature/references/{name}.png'
        assert (config.generator, config.clip) == ('miniature', 'miniature')

    def test_the_zero_shot_config_has_texts_and_no_picture(self):
        config, workdir = parse(['--config', str(CONFIGS / 'zero_shot.py')])
        assert (config.has_image, config.has_text, workdir) == (False, True, Path('runs/zero_shot'))
        assert [settings.weights.dis for settings in config.phases.values()] == [0, 0]

    def test_the_full_size_zero_shot_config_asks_for_two_fields(self, capsys: pytest.CaptureFixture[str]):
        file = f'--config={CONFIGS / "ffhq512_zero_shot.py"}'
        assert main([file]) == 2
        error = capsys.readouterr().err
        assert [line.partition(':')[0] for line in error.splitlines()] == ['error', 'config.clip']
        config, _ = parse([file, '--config.generator=g', '--config.clip=a,b'])
        assert len(config.prompt_templates) > 10

    @pytest.mark.parametrize(
        'flag',
        ['sketch.rate=0.5', 'cartoon.strokes=True', 'sketch.crop=(0, 0, 64, 64)', 'sketch.factors.palette=0.5'],
    )
    def test_every_field_of_a_domain_can_be_changed(self, flag: str):
        before = flatten(parse([STYLES])[0].to_dict())
        after = flatten(parse([STYLES, f'--config.references.{flag}'])[0].to_dict())
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert changed == {f'references.{flag.partition("=")[0]}'}

    def test_domains_are_filled_with_what_they_mean(self, capsys: pytest.CaptureFixture[str]):
        written = runpy.run_path(str(CONFIGS / 'three_styles.py'))['get_config']()
        filled = load_experiment(CONFIGS / 'three_styles.py')
        assert filled.to_dict() == read_config(written).to_dict()
        assert main([STYLES, '--config.references.cartoon.speed=0.5']) == 2
        assert 'known here: crop, factors, image, rate, strokes)' in capsys.readouterr().err

    def test_wrong_domains_are_still_told(self, tmp_path: Path):
        values = {'references': {'ink': {'imag': 'a.png', 'factors': 3}, 'oil': 'b.png'}}
        lines = [
            'from ml_collections import config_dict',
            f'def get_config():\n    return config_dict.ConfigDict({values})',
        ]
        (tmp_path / 'mine.py').write_text('\n'.join(lines))
        with pytest.raises(ConfigError) as refused:
            parse([f'--config={tmp_path / "mine.py"}'])
        told = [problem.partition(': ')[0].removeprefix('config.references.') for problem in refused.value.problems]
        assert sorted(told) == ['ink.factors', 'ink.imag', 'oil']

    def test_texts_and_templates_from_the_command_line(self):
        templates = "'a photo of {}.','art of {}'"
        flags = ['--config.target_text=a cartoon', '--config.source_text=a photo', '--config.text_weight=0.25']
        config, _ = parse([SKETCH, *flags, f'--config.prompt_templates={templates}'])
        assert (config.has_image, config.has_text, config.text_weight) == (True, True, 0.25)
        assert config.prompt_templates == ('a photo of {}.', 'art of {}')

    def test_neither_picture_nor_text(self, capsys: pytest.CaptureFixture[str]):
        assert main([SKETCH, '--config.reference.image=']) == 2
        error = capsys.readouterr().err
        assert 'config.reference.image: is not set; give the file of the reference picture, or a target_text' in error

    def test_the_full_size_config_asks_for_three_fields(self, capsys: pytest.CaptureFixture[str]):
        file = f'--config={CONFIGS / "ffhq512_sketch.py"}'
        assert main([file]) == 2
        error = capsys.readouterr().err
        assert all(f'config.{name}:' in error for name in ('generator', 'clip', 'reference.image'))
        config, _ = parse([file, '--config.generator=g', '--config.clip=a,b', '--config.reference.image=r.png'])
        assert config.batch_size == 1

    @pytest.mark.parametrize(
        ('argument', 'named'),
        [
            ('--config.seeed=1', 'config.seeed'),
            ('--config.wieghts.dir=1', 'config.wieghts'),
            ('--config.phases.phase3.steps=1', 'config.phases.phase3'),
            ('--config.batch_size.x=1', 'config.batch_size.x'),
            ('--config.batch_size=four', '--config.batch_size'),
            ('--config.seed=1.5', '--config.seed'),
            ('--config.reference.crop=left', 'config.reference.crop'),
            ('--config.reference=picture.png', '--config.reference'),
            ('--config.batch_size', '--config.batch_size'),
            ('--workdirr=x', 'workdirr'),
            ('sketch', "'sketch'"),
        ],
    )
    def test_refusals_name_the_flag_and_end_with_2(self, argument: str, named: str, capsys: pytest.CaptureFixture[str]):
        assert main([SKETCH, argument]) == 2
        assert named in capsys.readouterr().err

    @pytest.mark.parametrize('arguments', [[], ['--config=nowhere.py'], ['--config'], ['--config.seed=1']])
    def test_a_config_file_is_asked_for(self, arguments: list[str], capsys: pytest.CaptureFixture[str]):
        assert main(arguments) == 2
        assert '--config' in capsys.readouterr().err

    def test_wrong_fields_in_a_config_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        file = tmp_path / 'mine.py'
        start = 'from adaptation.config import default_config\ndef get_config():\n    config = default_config()\n'
        file.write_text(start + "    config.refrence = 'a.png'\n    return config\n")
        assert main([f'--config={file}']) == 2
        assert 'config.refrence: there is no such field (did you mean reference?)' in capsys.readouterr().err
        file.write_text(start + "    config.batch_size = 'a'\n    return config\n")
        assert main([f'--config={file}']) == 2
        assert 'batch_size' in capsys.readouterr().err

    @pytest.mark.parametrize(
        ('text', 'problem'),
        [
            ('def get_config(:\n', 'line 1: SyntaxError'),
            ('import no_such_package\n', 'line 1: ModuleNotFoundError'),
            ("def get_config():\n    return {}['missing']\n", "line 2: KeyError: 'missing'"),
            ('{"seed": 1}\n', 'has no function get_config'),
        ],
    )
    def test_a_broken_config_file_is_told_by_its_line(
        self, text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        (tmp_path / 'mine.py').write_text(text)
        assert main([f'--config={tmp_path / "mine.py"}']) == 2
        assert f'error: {tmp_path / "mine.py"}' in (error := capsys.readouterr().err)
        assert problem in error

    def test_help(self, capsys: pytest.CaptureFixture[str]):
        assert main(['--help']) == 0
        assert 'python -m adaptation.main --config=configs/sketch.py' in capsys.readouterr().out


def test_a_refusal_is_the_same_when_it_comes_from_another_process():
    refusal = ConfigError(['config.seed: one', 'config.clip: two'])
    copy = pickle.loads(pickle.dumps(refusal))
    assert str(copy) == str(refusal)
    assert copy.problems == refusal.problems
