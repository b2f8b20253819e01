"""The pair of the reference and the source's head in it: the loss, the search, and what a run keeps of it."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import clip_jax
import eg3d_jax
from adaptation import constants, train
from adaptation import counterpart as counterpart_module
from adaptation.config import AdaptationConfig
from adaptation.counterpart import (
    content_of,
    draw_counterpart,
    find_counterpart,
    load_counterparts,
    map_colours,
    refined,
    save_counterparts,
    seek,
    unlike_colours,
    unlikeness,
)
from adaptation.errors import AdaptationError, Interrupted
from adaptation.guidance import embed_source
from adaptation.inversion import poses
from adaptation.inversion.latents import Basis, w_basis
from adaptation.pair import Counterpart, pair_loss
from adaptation.step import frontal_cameras

RNG = np.random.default_rng(31)
WEIGHT = {f'phases__{phase}__weights__pair': 2.0 for phase in ('phase1', 'phase2')}


def random_images(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


class TestLoss:
    def test_equals_the_plain_means(self):
        image, reference = random_images(1, 10, 10, 3), random_images(10, 10, 3)
        difference = np.asarray(image[0] - reference)
        blocks = [difference[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((0, 1)) for i in range(2) for j in range(2)]
        expected = np.abs(difference).mean() + np.abs(np.stack(blocks)).mean()
        assert float(pair_loss(image, reference)) == pytest.approx(expected, rel=1e-5)

    def test_the_pair_itself_costs_nothing(self):
        image = random_images(1, 8, 8, 3)
        assert float(pair_loss(image, image[0])) == 0

    def test_larger_images_are_compared_at_the_references_size(self):
        reference = random_images(8, 8, 3)
        image = jnp.repeat(jnp.repeat(reference, 2, axis=0), 2, axis=1)[None]
        assert float(pair_loss(image, reference)) < 0.5 * float(pair_loss(random_images(1, 16, 16, 3), reference))


class TestColours:
    def test_an_affine_map_is_found_where_colours_vary_much(self):
        colours, matrix = random_images(500, 3) * 100, random_images(3, 3)
        wanted = colours @ matrix + jnp.asarray([0.1, 0.2, 0.3])
        np.testing.assert_allclose(map_colours(colours, wanted), wanted, atol=0.02 * float(jnp.std(wanted)))

    def test_colours_that_hardly_vary_are_only_shifted(self):
        colours = 0.5 + 1e-3 * random_images(50, 3)
        wanted = 1e-3 * random_images(50, 3)
        expected = colours - colours.mean(0) + wanted.mean(0)
        np.testing.assert_allclose(map_colours(colours, wanted), expected, atol=1e-4)

    def test_unlikeness_lies_between_that_of_the_same_and_of_nothing_alike(self):
        reference = random_images(1, 32, 32, 3)
        grey = jnp.broadcast_to(reference.mean(-1, keepdims=True), reference.shape)
        same, similar = (float(unlike_colours(image, reference)) for image in (reference, grey))
        unlike = float(unlike_colours(random_images(1, 32, 32, 3), reference))
        assert same == pytest.approx(0, abs=1e-5)
        assert 0.01 < similar < unlike


def wide_basis(generator: eg3d_jax.TriPlaneGenerator, camera: eg3d_jax.CameraConfig) -> Basis:
    """Heads of the tiny generator hardly differ; along this basis they do."""
    basis = w_basis(generator, camera)
    return basis._replace(axes=basis.axes / jnp.abs(basis.axes).max())


@pytest.fixture
def example(tiny_generator: eg3d_jax.TriPlaneGenerator) -> Counterpart:
    """A head of the tiny generator, away from the mean one."""
    camera = tiny_generator.config.camera
    basis = wide_basis(tiny_generator, camera)
    coordinates = jnp.full(len(basis.axes), 0.8)
    ws = basis.ws(coordinates, jnp.zeros((tiny_generator.config.num_ws, len(coordinates))))
    return Counterpart(ws, frontal_cameras(1, camera))


class TestSearch:
    def test_a_head_is_found_in_other_colours(
        self,
        example: Counterpart,
        tiny_generator: eg3d_jax.TriPlaneGenerator,
        tiny_clips: tuple[clip_jax.Clip, ...],
        monkeypatch: pytest.MonkeyPatch,
    ):
        """By colours and structure: what random encoders make of contents leads nowhere."""
        monkeypatch.setattr(counterpart_module, 'STEPS', 25)
        monkeypatch.setattr(counterpart_module, 'FIRST_POSE', 25)  # random heads tell nothing of the view
        monkeypatch.setattr(counterpart_module, 'w_basis', wide_basis)
        camera = tiny_generator.config.camera
        image = draw_counterpart(tiny_generator, example)[0]
        reference = image[..., ::-1] / jnp.abs(image).max()
        embeddings = embed_source(tiny_clips, ())
        steps: list[int] = []
        found = find_counterpart(
            tiny_generator, tiny_clips, (0, 0), embeddings, reference, camera, lambda done: steps.append(done)
        )
        assert steps == list(range(1, 26))
        sought = seek(tiny_generator, tiny_clips, (0, 0), embeddings, reference, camera)
        mean = jnp.broadcast_to(sought.basis.mean, found.ws.shape)
        before, after = (
            float(unlikeness(draw_counterpart(tiny_generator, one), sought, (0, 0)))
            for one in (Counterpart(mean, frontal_cameras(1, camera)), found)
        )
        assert after < before - 0.1  # all random heads are far from it

    def test_content_is_what_source_images_differ_in(self):
        among = jnp.asarray(RNG.standard_normal((40, 1)), jnp.float32) * jnp.eye(5)[:1]  # along the first axis alone
        content = content_of(among + jnp.arange(5.0), 5)
        style = jnp.asarray([0.0, 3.0, -2.0, 1.0, 0.0])
        for sign in (1.0, -1.0):
            seen = content.of(content.mean + sign * 0.7 * jnp.eye(5)[0] + style)
            np.testing.assert_allclose(seen, sign * jnp.eye(5)[0], atol=1e-4)
        np.testing.assert_allclose(content.of(content.mean + style), 0, atol=1e-2)

    def test_without_source_images_there_is_no_content(self):
        content = content_of(jnp.zeros((0, 5)), 5)
        gradient = jax.grad(lambda x: content.of(x).sum())(jnp.ones(5))
        np.testing.assert_array_equal(content.of(jnp.ones(5)), 0)
        np.testing.assert_array_equal(gradient, 0)

    def test_the_camera_follows_in_other_colours(
        self,
        example: Counterpart,
        tiny_generator: eg3d_jax.TriPlaneGenerator,
        tiny_clips: tuple[clip_jax.Clip, ...],
        monkeypatch: pytest.MonkeyPatch,
    ):
        monkeypatch.setattr(poses, 'PRIOR', 1e-7)  # a random field is too smooth for more
        monkeypatch.setattr(counterpart_module, 'NEAR_IDENTITY', 1e-6)
        camera = tiny_generator.config.camera
        true = poses.middle(camera) + np.asarray((0.1, -0.06, 0.0, 0.0, 0.0, 0.0))
        looking = poses.cameras_of(jnp.asarray(true[None], jnp.float32), camera)
        look = poses.make_look(4)
        seen = look(tiny_generator, tiny_generator.planes(example.ws), looking)
        reference = 0.5 * seen[0, ..., ::-1] - 0.2
        sought = seek(tiny_generator, (), (), (), reference, camera)
        sought = sought._replace(basis=Basis(example.ws[0, 0], jnp.zeros((1, example.ws.shape[-1]))))
        known = poses.deviations(camera)
        known[2:] = 0.0
        pose, expected = poses.middle(camera), poses.Expected(poses.middle(camera), known)
        for _ in range(12):
            pose = refined(sought, jnp.zeros(1), pose, expected, camera)
        np.testing.assert_allclose(pose, true, atol=0.02)

    def test_numbers_that_are_not_finite_end_it(
        self,
        example: Counterpart,
        tiny_generator: eg3d_jax.TriPlaneGenerator,
        tiny_clips: tuple[clip_jax.Clip, ...],
    ):
        embeddings = embed_source(tiny_clips, iter(random_images(1, 2, 16, 16, 3) * jnp.nan))
        with pytest.raises(AdaptationError, match=r'own head, the loss is nan: .* set weights\.pair'):
            find_counterpart(
                tiny_generator, tiny_clips, (0, 0), embeddings, random_images(16, 16, 3), tiny_generator.config.camera
            )


class TestFile:
    def test_is_read_as_it_was_written_and_of_nothing_else(self, example: Counterpart, tmp_path: Path):
        path = tmp_path / 'counterparts.safetensors'
        save_counterparts(path, {'a': example, 'b': example}, 'key')
        read = load_counterparts(path, ('a', 'b'), 'key')
        assert read is not None
        for one in read.values():
            for part, expected in zip(one, example, strict=True):
                np.testing.assert_array_equal(part, expected)
        assert load_counterparts(path, ('a', 'b'), 'another') is None
        assert load_counterparts(path, ('a', 'c'), 'key') is None

    @pytest.mark.parametrize('contents', [None, b'', b'damaged' * 100], ids=['missing', 'empty', 'damaged'])
    def test_one_that_cannot_be_read_is_none(self, contents: bytes | None, tmp_path: Path):
        path = tmp_path / 'counterparts.safetensors'
        if contents is not None:
            path.write_bytes(contents)
        assert load_counterparts(path, ('a',), 'key') is None


class TestRun:
    @pytest.fixture(autouse=True)
    def shorter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(counterpart_module, 'STEPS', 2)

    def test_the_head_is_drawn_kept_and_not_looked_for_again(
        self, tiny_config: Callable[..., AdaptationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        config = tiny_config(**WEIGHT)
        stop_after(monkeypatch, 3)
        with pytest.raises(Interrupted, match='Stopped after step 3 of 4'):
            train.run(config, tmp_path, quiet=True)
        assert (tmp_path / 'counterparts.safetensors').exists()
        with Image.open(tmp_path / 'pairs.png') as picture:
            assert picture.size == (32, 16)
        monkeypatch.undo()
        monkeypatch.setattr(constants, 'find_counterpart', lambda *_: pytest.fail('looked for again'))
        train.run(config, tmp_path, quiet=True)
        assert (tmp_path / 'adapter.safetensors').exists()

    def test_without_its_weight_no_head_is_looked_for(
        self, tiny_config: Callable[..., AdaptationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(constants, 'find_counterpart', lambda *_: pytest.fail('looked for'))
        train.run(tiny_config(), tmp_path, quiet=True)
        assert not (tmp_path / 'pairs.png').exists()

    def test_stopped_on_the_way_it_says_so_and_begins_anew(
        self, tiny_config: Callable[..., AdaptationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        config = tiny_config(**WEIGHT)
        asked: list[str] = []
        measure = train._Session._constants

        def stopped(self: train._Session, progress: train.TrainingProgress) -> train.Constants | train.DomainConstants:
            doing = progress.doing

            def heard(words: str) -> None:
                if words.startswith('finding'):
                    asked.append(words)
                    self._stop.requested = True
                doing(words)

            monkeypatch.setattr(progress, 'doing', heard)
            return measure(self, progress)

        monkeypatch.setattr(train._Session, '_constants', stopped)
        with pytest.raises(Interrupted, match='there is nothing new to save'):
            train.run(config, tmp_path, quiet=True)
        assert asked == ["finding the reference's own head (1 of 50)"]
        assert not (tmp_path / 'counterparts.safetensors').exists()
        monkeypatch.setattr(train._Session, '_constants', measure)
        train.run(config, tmp_path, quiet=True)
        assert (tmp_path / 'adapter.safetensors').exists()


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As Ctrl-C does, behind this step."""
    record = train._Session._record

    def recorded(self: train._Session, done: int, *arguments: object) -> None:
        record(self, done, *arguments)
        if done == step:
            self._stop.requested = True

    monkeypatch.setattr(train._Session, '_record', recorded)
