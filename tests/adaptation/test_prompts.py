"""Texts that guide: their direction, what encoders cannot read, the shipped templates, and a run on texts alone."""

import json
import pprint
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import clip_jax
from adaptation import evaluate, report
from adaptation.config import AdaptationConfig
from adaptation.errors import ConfigError
from adaptation.inputs import load_inputs
from adaptation.lettering import prompt_picture
from adaptation.main import main
from adaptation.prompts import prompt_problems, text_direction
from adaptation.samples import GAP, reference_side
from adaptation.templates import CLIP_TEMPLATES, MINIATURE_TEMPLATES
from adaptation.workdir import Workdir
from miniature import weights_directory

WORDS = ['<unk>', 'a', 'photo', 'sketch', 'dark', 'head', *'uvwxyzst', '<start>', '<end>']  # as many as tiny_clips know
TEMPLATES = ('{}', 'a {}')


def write_tokenizer(directory: Path, words: list[str] = WORDS) -> Path:
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<start> $A <end>', special_tokens=[('<start>', ids['<start>']), ('<end>', ids['<end>'])]
    )
    tokenizer.save(str(directory / 'tokenizer.json'))
    return directory


@pytest.fixture(scope='module')
def reader(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with a tokenizer."""
    return write_tokenizer(shutil.copytree(tiny_files / 'clip0', tmp_path_factory.mktemp('reader') / 'reader'))


@pytest.fixture
def zero_shot(tiny_values: dict[str, Any], reader: Path) -> dict[str, Any]:
    """The values of a config of one step on texts alone."""
    weights = {'dir': 1.0, 'dis': 0.0, 'istr': 0.0, 'fstr': 0.0}
    texts = {'target_text': 'sketch', 'source_text': 'photo', 'prompt_templates': TEMPLATES}
    phase = {'steps': 1, 'learning_rate': 0.01, 'trained': ('decoder',), 'weights': weights}
    return tiny_values | texts | {'clip': str(reader), 'reference': {'image': ''}, 'phases': {'only': phase}}


@pytest.fixture
def command(zero_shot: dict[str, Any], tmp_path: Path) -> Callable[..., int]:
    """Callable: flags -> exit code of the command, in `tmp_path / 'run'`."""
    start = 'from adaptation.config import default_config\n\ndef get_config():\n    config = default_config()\n'
    phases = '    config.phases = {}\n'
    update = f'    config.update({pprint.pformat(zero_shot)})\n    return config\n'
    (tmp_path / 'tiny.py').write_text(start + phases + update)
    return lambda *flags: main([f'--config={tmp_path / "tiny.py"}', f'--workdir={tmp_path / "run"}', *flags])


def test_direction_is_the_mean_over_the_templates(reader: Path):
    clip, tokenize = clip_jax.load_clip(reader), clip_jax.load_tokenizer(reader)
    found = text_direction(clip, tokenize, 'sketch', 'dark photo', (*TEMPLATES[:1], '{} u'))
    targets, sources = (
        clip.encode_text(jnp.asarray(tokenize(texts)))
        for texts in (['sketch', 'sketch u'], ['dark photo', 'dark photo u'])
    )
    expected = (targets[0] + targets[1] - sources[0] - sources[1]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32, compiled otherwise
    assert jnp.linalg.norm(found) > 1e-2


@pytest.mark.parametrize(
    ('text', 'templates', 'problem'),
    [
        ('sketch', TEMPLATES, None),
        ('etching of etching', TEMPLATES, "the encoder does not know 'etching', 'of'; its vocabulary has 16 words"),
        ('sketch', ('{} by me',), "the encoder does not know 'by', 'me' of the templates"),
        (' ', TEMPLATES, "' ' holds no word"),
        ('dark head', TEMPLATES, "'a dark head' has 5 tokens, start and end included, and the encoder reads 4"),
    ],
)
def test_what_an_encoder_cannot_read(text: str, templates: tuple[str, ...], problem: str | None, reader: Path):
    clip, tokenize = clip_jax.load_clip(reader), clip_jax.load_tokenizer(reader)
    problems = prompt_problems(clip, tokenize, text, templates)
    assert len(problems) == (problem is not None)
    assert all(problem in said for said in problems)


def test_a_tokenizer_of_other_weights_is_refused(reader: Path, tmp_path: Path):
    larger = write_tokenizer(shutil.copytree(reader, tmp_path / 'larger'), [*WORDS[:-2], 'more', *WORDS[-2:]])
    (problem,) = prompt_problems(clip_jax.load_clip(larger), clip_jax.load_tokenizer(larger), 'sketch')
    assert 'the tokenizer (17 tokens, the end is 16) is not that of the weights (16 tokens, the end is 15)' in problem


@pytest.mark.parametrize('name', ['clip_patch8', 'clip_patch16'])
def test_the_miniature_knows_its_templates_and_the_shipped_texts(name: str):
    tokenize = clip_jax.load_tokenizer(weights_directory(name))
    for template in MINIATURE_TEMPLATES:
        assert template.count('{}') == 1
        for text in ('a pencil sketch of a head', 'a photo of a head', 'a cartoon of a head'):
            assert tokenize.unknown_words(template.replace('{}', text)) == ()
            assert tokenize.count(template.replace('{}', text)) <= tokenize.context_length
    assert all(template.count('{}') == 1 and ',' not in template for template in CLIP_TEMPLATES)


class TestRun:
    def test_on_texts_alone(self, command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert command() == 0
        assert "texts      'sketch' instead of 'photo', 2 templates\n" in capsys.readouterr().out
        (line,) = [json.loads(line) for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
        assert 'dis' not in line
        assert line['gradient_norm'] > 0
        side = reference_side(16)
        assert side == 2 * 16 + GAP
        drawn = np.asarray(Image.open(tmp_path / 'run' / 'samples' / '000001.png'))[:, :side]
        page = np.round((prompt_picture('sketch', 'photo', side) + 1) * 127.5)
        np.testing.assert_array_equal(drawn, page)
        assert command('--config.target_text=dark') == 2
        assert "config.target_text: 'sketch' when the run began, 'dark' now" in capsys.readouterr().err

        workdir = f'--workdir={tmp_path / "run"}'
        assert evaluate.main([workdir, '--samples=16', '--batch=8']) == 0
        measured = json.loads((tmp_path / 'run' / 'evaluation' / 'evaluation.json').read_text())['metrics']
        names = {metric['name'] for metric in measured}
        assert 'diversity_clip' in names
        assert not [name for name in names if name.startswith('reference')]
        assert report.main([workdir, '--heads=2']) == 0
        page = (tmp_path / 'run' / 'report.html').read_text()
        assert '<dd>sketch, instead of photo</dd>' in page
        assert 'The reference picture' not in page
        assert 'id="curated"' in page

    @pytest.mark.parametrize(
        ('flags', 'problem'),
        [
            (('--config.target_text=etching',), "config.target_text: the encoder does not know 'etching'; "),
            (('--config.source_text=dark head',), "config.source_text: 'a dark head' has 5 tokens"),
            (('--config.clip=FILES/clip0',), 'holds no tokenizer'),
        ],
    )
    def test_what_cannot_be_read_is_named_by_field(
        self,
        flags: tuple[str, ...],
        problem: str,
        command: Callable[..., int],
        tiny_files: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ):
        assert command(*(flag.replace('FILES', str(tiny_files)) for flag in flags)) == 2
        error = capsys.readouterr().err
        assert error.startswith('error: config.')
        assert problem in error
        assert not (tmp_path / 'run').exists()

    def test_inputs_of_picture_and_texts(self, tiny_config: Callable[..., AdaptationConfig], reader: Path):
        both = load_inputs(tiny_config(clip=str(reader), target_text='sketch', source_text='photo'))
        alone = load_inputs(tiny_config(clip=str(reader), target_text='', source_text=''))
        assert both.reference is not None
        assert both.text_directions is not None
        assert [direction.shape for direction in both.text_directions] == [(8,)]
        assert alone.text_directions is None
        assert both.hashes == alone.hashes


def test_a_run_that_began_before_there_were_texts_is_still_the_same(
    tmp_path: Path, tiny_config: Callable[..., AdaptationConfig]
):
    workdir = Workdir(tmp_path)
    workdir.claim(tiny_config(), {})
    stored = json.loads(workdir.config.read_text())
    for name in ('target_text', 'source_text', 'prompt_templates', 'text_weight'):
        del stored[name]
    workdir.config.write_text(json.dumps(stored))
    workdir.claim(tiny_config(), {})
    workdir.config.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r'config\.text_weight: 0\.5 when the run began, 0\.75 now'):
        workdir.claim(tiny_config(text_weight=0.75), {})
