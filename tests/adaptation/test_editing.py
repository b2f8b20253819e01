"""Directions in w: what PCA and CLIP find, how far strength 1 goes, and the command that draws the strips."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from PIL import Image

import clip_jax
import eg3d_jax
from adaptation import editing
from adaptation.adapter import save_adapter
from adaptation.edit import Edit, main, parse_edit, parse_seeds
from adaptation.editing import Direction, Reader, edit, pca_directions, text_directions
from adaptation.errors import ConfigError
from adaptation.leaves import fingerprint, matching, named_leaves
from adaptation.samples import GAP
from adaptation.strips import HEADING, MARGIN

Generator = eg3d_jax.TriPlaneGenerator


def sampled_ws(generator: Generator, samples: int, seed: int) -> np.ndarray:
    """[N, D]: w as the module draws it."""
    z = jax.random.normal(jax.random.key(seed), (samples, generator.config.z_dim))
    camera = generator.config.camera
    front = eg3d_jax.cameras.orbit_cameras(
        jnp.full(samples, camera.yaw_mean), jnp.full(samples, camera.pitch_mean), camera
    )
    return np.asarray(jax.jit(lambda generator: generator.mapping(z, front)[:, 0])(generator))


class TestComponents:
    def test_they_are_those_of_the_covariance(self, tiny_generator: Generator):
        found = pca_directions(tiny_generator, 3, samples=256, seed=5)
        values, vectors = np.linalg.eigh(np.cov(sampled_ws(tiny_generator, 256, 5), rowvar=False, bias=True))
        for index, direction in enumerate(found, 1):
            vector = np.asarray(direction.vector)
            assert np.linalg.norm(vector) == pytest.approx(np.sqrt(values[-index]), rel=1e-3)
            assert abs(vector @ vectors[:, -index]) == pytest.approx(np.linalg.norm(vector), rel=1e-3)
            assert vector[np.abs(vector).argmax()] > 0
            assert direction.explained == pytest.approx(values[-index] / values.sum(), rel=1e-3)

    @pytest.mark.parametrize('n', [0, 13])
    def test_there_are_as_many_as_channels(self, n: int, tiny_generator: Generator):
        with pytest.raises(ValueError, match=f'there are components 1 to 12, got {n}'):
            pca_directions(tiny_generator, n, samples=256)

    def test_an_edit_moves_every_w_vector_alike(self):
        ws, direction = jnp.ones((2, 3, 4)), Direction(jnp.asarray([0.0, 1.0, 0.0, -2.0]), 0.5)
        np.testing.assert_allclose(edit(ws, direction, -0.5) - ws, np.broadcast_to([0, -0.5, 0, 1], (2, 3, 4)))


@pytest.fixture(scope='module')
def readers(tiny_clips: tuple[clip_jax.Clip, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, ...]:
    directory = tmp_path_factory.mktemp('tokenizer')
    write_words(directory)
    tokenize = clip_jax.load_tokenizer(directory, context_length=4)
    return tuple(Reader(clip, tokenize) for clip in tiny_clips)


def write_words(directory: Path) -> None:
    """The tokenizer of a vocabulary of 16, as the tiny encoders have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ['<unk>', 'a', 'head', 'smile', *'klmnopqrst', '<start>', '<end>']
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<start> $A <end>', special_tokens=[('<start>', ids['<start>']), ('<end>', ids['<end>'])]
    )
    tokenizer.save(str(directory / 'tokenizer.json'))


class TestTexts:
    @pytest.fixture
    def known_opinion(self, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
        """Encoders whose opinion of a picture is linear in its w: this many for each channel, and noise."""
        slope = np.asarray([3.0, *([0.0] * 10), -2.0])

        def embed(generator: Generator, readers: tuple[Reader, ...], ws: np.ndarray, *_: object) -> list[np.ndarray]:
            opinion = ws @ slope
            opinion = opinion + 0.5 * opinion.std() * np.random.default_rng(0).standard_normal(len(ws))
            # The texts of a reader differ along this axis, so that the product with the difference is the opinion.
            return [opinion[:, None] * np.asarray(_difference(reader))[None] for reader in readers]

        monkeypatch.setattr(editing, '_embed', embed)
        return slope

    def test_direction_is_that_of_the_steepest_rise_for_each_deviation(
        self, known_opinion: np.ndarray, tiny_generator: Generator, readers: tuple[Reader, ...]
    ):
        """Of all moves as usual as this one (Mahalanobis length 1), none raises the opinion more."""
        (direction,) = text_directions(tiny_generator, readers, ['smile'], 'head', samples=1024, components=12, seed=1)
        covariance = np.cov(sampled_ws(tiny_generator, 1024, 1), rowvar=False, bias=True)
        vector = np.asarray(direction.vector, np.float64)
        assert vector @ np.linalg.solve(covariance, vector) == pytest.approx(1, rel=1e-2)
        steepest = covariance @ known_opinion / np.sqrt(known_opinion @ covariance @ known_opinion)
        # The noise of 1024 samples turns it by about sqrt(12 / 1024), which costs half the square of that.
        assert known_opinion @ vector == pytest.approx(known_opinion @ steepest, rel=0.02)
        assert direction.explained == pytest.approx(1 / 1.25, abs=0.05)
        assert direction.chance == pytest.approx(12 / 1024)

    def test_pictures_are_looked_at(self, tiny_generator: Generator, readers: tuple[Reader, ...]):
        """The opinion at the ends of the direction is that of the encoders on pictures drawn there."""
        batches: list[int] = []

        def watch(starts: range) -> range:
            batches.extend(starts)
            return starts

        (direction,) = text_directions(
            tiny_generator, readers, ['smile'], 'head', samples=34, components=4, watch=watch, batch_size=8
        )
        assert len(batches) == 5
        assert bool(jnp.isfinite(direction.vector).all())
        assert 0 < direction.explained <= 1
        ws, camera = sampled_ws(tiny_generator, 34, 0), tiny_generator.config.camera
        seen = editing._embed(tiny_generator, readers, ws, 8, camera, iter)
        assert [embedding.shape for embedding in seen] == [(34, 8)] * 2
        np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), 1, rtol=1e-5)

    def test_refusals(self, tiny_generator: Generator, readers: tuple[Reader, ...], monkeypatch: pytest.MonkeyPatch):
        with pytest.raises(ValueError, match='12 components need at least 24 samples, got 23'):
            text_directions(tiny_generator, readers, ['smile'], 'head', samples=23)
        monkeypatch.setattr(editing, '_embed', lambda *_: [np.ones((64, 8), np.float32)] * 2)
        with pytest.raises(ValueError, match="no picture is more like 'smile' than any other"):
            text_directions(tiny_generator, readers, ['smile'], 'head', samples=64)


def _difference(reader: Reader) -> Array:
    wanted, neutral = (reader.clip.encode_text(jnp.asarray(reader.tokenize([text])))[0] for text in ('smile', 'head'))
    return (wanted - neutral) / jnp.sum(jnp.square(wanted - neutral))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('smiling:+2', Edit('smiling', 2.0)),
        ('pca3:-1.5', Edit('pca3', -1.5)),
        ('a head: with hair:1', Edit('a head: with hair', 1.0)),
    ],
)
def test_edits(text: str, expected: Edit):
    assert parse_edit(text) == expected
    assert expected.component == (3 if expected.name == 'pca3' else None)


@pytest.mark.parametrize('text', ['smiling', 'smiling:', ':2', 'smiling:much', 'smiling:nan', 'smiling:0', 'pca0:1'])
def test_what_is_no_edit(text: str):
    with pytest.raises(ConfigError, match='--edit: '):
        parse_edit(text)


@pytest.mark.parametrize(
    ('text', 'expected'), [('7', (7,)), ('0-3', (0, 1, 2, 3)), ('3,5,8', (3, 5, 8)), ('0-2, 1,9', (0, 1, 2, 9))]
)
def test_seeds(text: str, expected: tuple[int, ...]):
    assert parse_seeds(text) == expected


@pytest.mark.parametrize('text', ['', 'a', '3-1', '-1', '1.5', '0-64', '4294967296', '1,,2'])
def test_what_is_no_seed(text: str):
    with pytest.raises(ConfigError, match='--seeds: '):
        parse_seeds(text)


@pytest.fixture(scope='module')
def adapter(tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    leaves = named_leaves(tiny_generator)
    changed = {name: leaves[name] + 0.05 for name in matching(tuple(leaves), 'decoder')}
    directory = tmp_path_factory.mktemp('edited') / 'adapter'
    save_adapter(directory, tiny_generator, changed, fingerprint(tiny_generator), {})
    return directory


@pytest.fixture(scope='module')
def encoder(tiny_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = shutil.copytree(tiny_files / 'clip0', tmp_path_factory.mktemp('reading') / 'clip')
    write_words(directory)
    return directory


class TestCommand:
    def command(self, adapter: Path, source: Path, output: Path, *flags: str) -> int:
        return main([f'--workdir={adapter}', f'--source={source}', f'--output={output}', '--seeds=0,3', *flags])

    def test_strips(
        self,
        adapter: Path,
        encoder: Path,
        tiny_files: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ):
        flags = (f'--clip={encoder}', '--template=a {}', '--neutral=head', '--samples=64', '--columns=3')
        edits = ('--edit=smile:+2', '--edit=pca2:-1.5')
        assert self.command(adapter, tiny_files / 'generator', tmp_path / 'out', *edits, *flags) == 0
        told = capsys.readouterr().out
        assert f'{tmp_path / "out" / "pca2.png"}: ' in told
        assert "of CLIP's opinion (by chance 19%)" in told  # 12 components, 64 samples
        side = 16
        for name in ('smile', 'pca2'):
            picture = np.asarray(Image.open(tmp_path / 'out' / f'{name}.png'))
            assert picture.shape == (HEADING + GAP + 4 * (side + GAP), MARGIN + GAP + 3 * (side + GAP), 3)
            cells = [
                [
                    picture[HEADING + GAP + y * (side + GAP) :, MARGIN + GAP + x * (side + GAP) :][:side, :side]
                    for x in range(3)
                ]
                for y in range(4)
            ]
            # Random weights leave much of a picture beyond black and white, where no change shows: not in every row.
            changed = [(row[0] != row[1]).any() and (row[2] != row[1]).any() for row in cells]
            assert changed[0] or changed[2]
            assert changed[1] or changed[3]
            assert (cells[0][1] != cells[1][1]).any()  # source and adapted
            assert (cells[0][1] != cells[2][1]).any()  # one seed and another

    def test_the_cameras_are_the_runs(
        self, adapter: Path, tiny_values: dict[str, Any], tiny_generator: Generator, tmp_path: Path
    ):
        """As if the generator had them itself, both for the directions and for the strips."""
        changes = {'yaw_mean': 0.4, 'fov_degrees': 25.0}
        run = shutil.copytree(adapter, tmp_path / 'run')
        (run / 'config.json').write_text(json.dumps({**tiny_values, 'camera': changes}))
        source = Path(tiny_values['generator'])
        turned = shutil.copytree(source, tmp_path / 'turned')
        values = json.loads((source / 'config.json').read_text())
        (turned / 'config.json').write_text(json.dumps({**values, 'camera': {**values['camera'], **changes}}))
        strips, flags = [], ('--edit=pca1:2', '--columns=3', '--template={}', '--neutral=head')
        for name, directory, generator in (('a', run, source), ('b', adapter, turned), ('c', adapter, source)):
            assert self.command(directory, generator, tmp_path / name, *flags) == 0
            strips.append(np.asarray(Image.open(tmp_path / name / 'pca1.png')))
        np.testing.assert_array_equal(strips[0], strips[1])
        assert (strips[0] != strips[2]).any()

    @pytest.mark.parametrize(
        ('flags', 'code', 'problem'),
        [
            (
                ('--edit=grin:1', '--clip=CLIP', '--template={}', '--neutral=head'),
                2,
                '--edit: the encoder does not know',
            ),
            (('--edit=smile:1', '--clip=CLIP', '--template={}', '--neutral=hat'), 2, '--neutral: the encoder does not'),
            (('--edit=smile:1', '--clip=CLIP', '--template=a'), 2, "--template: 'a' does not hold {} once"),
            (('--edit=smile:1', '--clip=nowhere'), 2, '--clip: '),
            (('--edit=pca13:1',), 2, '--edit: there are components 1 to 12, got 13'),
            (('--edit=pca1:1', '--edit=pca1:2'), 2, "--edit: 'pca1' and 'pca1' would be written to one file"),
            (('--edit=pca1:1', '--columns=4'), 2, '--columns: must be an odd number from 3 to 21'),
            (('--edit=pca1:1', '--samples=1'), 2, '--samples: must be at least 64'),
            (('--edit=pca1:1', '--truncation=2'), 2, '--truncation: must lie in [0, 1]'),
            (('--edit=pca1:1', '--seeds=b'), 2, "--seeds: 'b' names no seeds"),
            (('--edits=pca1:1',), 2, 'the following arguments are required: --edit'),
            (('--edit=pca1:1', '--source=nowhere'), 1, 'the source cannot be loaded: '),
            (('--edit=pca1:1', '--workdir=nowhere'), 1, 'cannot read nowhere/adapter.json'),
        ],
    )
    def test_refusals(
        self,
        flags: tuple[str, ...],
        code: int,
        problem: str,
        adapter: Path,
        encoder: Path,
        tiny_files: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ):
        flags = tuple(flag.replace('CLIP', str(encoder)) for flag in flags)
        assert self.command(adapter, tiny_files / 'generator', tmp_path / 'out', *flags) == code
        error = capsys.readouterr().err
        assert error.startswith(f'error: {problem}')
        assert not (tmp_path / 'out').exists()
