"""Inversion: poses, photographs, fits that resume, files, and the command."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import data

import clip_jax
from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.generation.subjects import Subject
from adaptation.inversion import (
    Inversion,
    Request,
    ViewReader,
    command,
    invert,
    load_inversion,
    poses,
    run,
    save_inversion,
)
from adaptation.inversion.latents import w_basis
from adaptation.inversion.photos import load_photo
from adaptation.inversion.results import InversionError
from adaptation.invert import main, read_flags
from adaptation.leaves import named_leaves, with_leaves
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.cameras import orbit_cameras


@pytest.fixture(autouse=True)
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('adaptation.inversion.reading.HEADS', 12)
    monkeypatch.setattr('adaptation.inversion.latents.SAMPLES', 64)


@pytest.fixture(scope='session')
def head(tiny_generator: TriPlaneGenerator) -> np.ndarray:
    """A head of the tiny generator, in [-1, 1]."""
    camera = orbit_cameras(jnp.array([0.2]), jnp.array([-0.1]), tiny_generator.config.camera)
    made = jax.jit(lambda g, c: g(jnp.ones((1, 8)), c).image)(tiny_generator, camera)
    return np.clip(np.asarray(made)[0], -1, 1)


def project(camera: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(u, v) of a world point, in sides of the picture."""
    cam2world, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    seen = intrinsics @ np.linalg.inv(cam2world)[:3] @ np.append(point, 1.0)
    return seen[:2] / seen[2]


def test_a_pose_without_turn_or_crop_is_the_orbit_camera(tiny_generator: TriPlaneGenerator):
    camera = tiny_generator.config.camera
    pose = jnp.asarray([[0.3, -0.2, 0.0, 0.0, 0.0, 0.0]])
    expected = orbit_cameras(pose[:, 0], pose[:, 1], camera)
    np.testing.assert_allclose(poses.cameras_of(pose, camera), expected, atol=1e-6)


def test_the_crop_shifts_zooms_and_turns_the_picture(tiny_generator: TriPlaneGenerator):
    camera = tiny_generator.config.camera
    asked = jnp.asarray([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0.1, -0.05, 0], [0, 0, 0, 0, 0, 0.2], [0, 0, 0.3, 0, 0, 0.0]])
    point = np.asarray((0.1, 0.05, 0.0))
    plain, shifted, zoomed, turned = (project(np.asarray(c), point) for c in poses.cameras_of(asked, camera))
    np.testing.assert_allclose(shifted - plain, (0.1, -0.05), atol=1e-5)
    np.testing.assert_allclose(zoomed - 0.5, np.exp(0.2) * (plain - 0.5), atol=1e-5)
    cos, sin = np.cos(0.3), np.sin(0.3)
    np.testing.assert_allclose(turned - 0.5, np.asarray(((cos, sin), (-sin, cos))) @ (plain - 0.5), atol=1e-5)


def test_gauss_newton_finds_a_pose_and_leaves_what_is_known(
    tiny_generator: TriPlaneGenerator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(poses, 'PRIOR', 1e-7)  # a random field is too smooth for more
    camera = tiny_generator.config.camera
    ws = tiny_generator.mapping(jnp.ones((1, 8)), orbit_cameras(jnp.zeros(1), jnp.zeros(1), camera))
    planes = tiny_generator.planes(ws)
    true = poses.middle(camera) + np.asarray((0.1, -0.06, 0.0, 0.02, 0.0, 0.0))
    looking = poses.cameras_of(jnp.asarray(true[None], jnp.float32), camera)
    target = np.asarray(poses.make_look(8)(tiny_generator, planes, looking))[0]
    known = poses.deviations(camera)
    known[[2, 4, 5]] = 0.0
    pose, expected = poses.middle(camera), poses.Expected(poses.middle(camera), known)
    for _ in range(12):
        pose = poses.refine(tiny_generator, planes, target, pose, expected, camera)
    np.testing.assert_array_equal(pose[[2, 4, 5]], 0.0)
    assert np.abs(pose - true).max() < 0.01


def test_starts_go_from_the_best_view_of_one_axis_along_the_next():
    def loss(offset: poses.Offset) -> float:
        return abs(offset[0] + 1.0) + abs(offset[1] - 2.0)

    tried: dict[poses.Offset, float] = {}
    while (offset := poses.next_start(tried)) is not None:
        tried[offset] = loss(offset)
    reach = poses.START_REACH
    assert list(tried) == [(0.0, 0.0), (reach, 0.0), (-reach, 0.0), (-reach, reach), (-reach, -reach)]
    expected = poses.Expected(np.asarray((0.1, 0.2, 0, 0, 0, 0)), np.asarray((0.02, 0.04, 0.1, 0.1, 0.1, 0.1)))
    assert poses.starts(expected) == len(tried)
    np.testing.assert_allclose(poses.started_at(expected, (-1.5, 1.5)), (0.07, 0.26, 0, 0, 0, 0))
    known = expected._replace(deviation=np.asarray((0, 0, 0.1, 0.1, 0.1, 0.1)))
    assert poses.starts(known) == 1
    found = np.asarray((0.3, -0.3, 0.5, 0.5, 0.5, 0.5))
    at = poses.expected_at(expected, found)
    np.testing.assert_allclose(at.pose, (0.3, -0.3, 0, 0, 0, 0))
    np.testing.assert_allclose(at.deviation, (0.02, 0.04 * poses.HELD[1], 0.1, 0.1, 0.1, 0.1))
    np.testing.assert_array_equal(poses.expected_at(known, found).pose, expected.pose)


def test_coordinates_of_w_are_standard_deviations(tiny_generator: TriPlaneGenerator):
    basis = w_basis(tiny_generator, tiny_generator.config.camera)
    camera = orbit_cameras(jnp.zeros(500), jnp.zeros(500), tiny_generator.config.camera)
    w = tiny_generator.mapping(jax.random.normal(jax.random.key(4), (500, 8)), camera)[:, 0]
    coordinates = (w - basis.mean) @ jnp.linalg.pinv(basis.axes)
    np.testing.assert_allclose(np.std(coordinates, axis=0), 1.0, atol=0.5)  # of 64 and 500 samples
    layers = jnp.zeros((tiny_generator.config.num_ws, len(basis.axes)))
    np.testing.assert_allclose(basis.ws(coordinates[0], layers)[0, 0], w[0], atol=1e-3 * float(jnp.abs(w).max()))


def test_a_face_is_found_and_cropped(tmp_path: Path):
    path = tmp_path / 'portrait.png'
    Image.fromarray(data.astronaut()).save(path)
    photo = load_photo(path, 'auto', 64)
    assert photo.face
    assert photo.crop is not None
    left, top, right, bottom = photo.crop
    assert right - left == bottom - top
    assert left < 223 < right  # the tip of the nose
    assert top < 130 < bottom
    assert right - left < 300
    assert photo.image.shape == (64, 64, 3)
    whole = load_photo(path, 'none', 64)
    assert whole.crop is None
    part = load_photo(path, (10, 20, 100), 100)
    np.testing.assert_allclose(part.image, data.astronaut()[20:120, 10:110] / 127.5 - 1, atol=1e-5)


def test_pictures_that_show_nothing_are_refused(tmp_path: Path):
    Image.new('RGB', (40, 40), (90, 90, 90)).save(tmp_path / 'blank.png')
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\nno more')
    for name, words in (('blank.png', 'shows nothing'), ('broken.png', 'damaged'), ('none.png', 'no such file')):
        with pytest.raises(AdaptationError, match=words):
            load_photo(tmp_path / name, 'auto', 16)
    with pytest.raises(AdaptationError, match='crop'):
        load_photo(tmp_path / 'blank.png', (30, 30, 20), 16)


SHORT = Request(align=False, scale=0.05)


def test_the_fit_comes_nearer_and_a_stopped_one_resumes_to_the_same_head(
    tiny_generator: TriPlaneGenerator, tiny_clips: tuple[clip_jax.Clip, ...], head: np.ndarray, tmp_path: Path
):
    reader = ViewReader(tiny_generator, tiny_generator.config.camera)
    arguments = (tiny_generator, head, tiny_clips, (0, 0), SHORT)
    seen: list[str] = []
    found = invert(*arguments, reader=reader, watch=lambda stage, _: seen.append(stage))
    assert list(dict.fromkeys(seen)) == ['start', 'w', 'w+', 'tuned']
    assert set(found.numbers['stages']) == {'w', 'w+', 'tuned'}
    mean = jax.jit(lambda g, c: g(jnp.ones((1, 8)), c, truncation_psi=0.0).image)(tiny_generator, found.camera)
    begun = run.measure(np.asarray(mean)[0], head)['psnr']
    for stage in ('w', 'w+', 'tuned'):
        assert found.numbers['stages'][stage]['psnr'] > begun + 3
    assert found.changes.keys() <= named_leaves(tiny_generator).keys()
    assert all(name.startswith('backbone.synthesis') for name in found.changes)

    for stops_after in (1, 5, 12):  # in the first start, in a later one, and in the second stage
        asked = [False] * stops_after + [True]
        with pytest.raises(Interrupted):
            invert(*arguments, reader=reader, directory=tmp_path, stopped=partial(asked.pop, 0))
        assert (tmp_path / run.STATE_FILE).exists()
    resumed = invert(*arguments, reader=reader, directory=tmp_path)
    assert not (tmp_path / run.STATE_FILE).exists()
    np.testing.assert_allclose(resumed.ws, found.ws, atol=1e-5)
    np.testing.assert_allclose(resumed.pose, found.pose, atol=1e-5)


def test_a_stopped_fit_of_something_else_is_kept_and_refused(
    tiny_generator: TriPlaneGenerator, tiny_clips: tuple[clip_jax.Clip, ...], head: np.ndarray, tmp_path: Path
):
    request = replace(SHORT, space='w', yaw=0.2, pitch=-0.1)
    fit = partial(invert, directory=tmp_path, stopped=lambda: True)
    with pytest.raises(Interrupted):
        fit(tiny_generator, head, tiny_clips[:1], (0,), request)
    kept = (tmp_path / run.STATE_FILE).read_bytes()
    what = r'--output: .* holds an unfinished inversion of another photograph.*: give the same again, delete .*fit\.npz'
    for others in ((head[::-1], tiny_clips[:1], (0,), request), (head, tiny_clips[1:], (0,), request)):
        with pytest.raises(ConfigError, match=what):
            fit(tiny_generator, *others)
    with pytest.raises(ConfigError, match=what):
        fit(tiny_generator, head, tiny_clips[:1], (0,), replace(request, scale=0.1))
    assert (tmp_path / run.STATE_FILE).read_bytes() == kept
    with pytest.raises(Interrupted):
        fit(tiny_generator, head, tiny_clips[:1], (0,), request)
    (tmp_path / run.STATE_FILE).write_bytes(kept[: len(kept) // 2])
    with pytest.raises(AdaptationError, match=r'fit\.npz is damaged \(.*\): remove it to begin anew'):
        fit(tiny_generator, head, tiny_clips[:1], (0,), request)


def test_what_no_head_explains_is_refused(tiny_generator: TriPlaneGenerator, head: np.ndarray):
    checks = np.indices(head.shape[:2]).sum(axis=0) // 4 % 2 * 2.0 - 1.0
    picture = np.repeat(checks[..., None], 3, axis=2).astype(np.float32)
    with pytest.raises(AdaptationError, match='No head was found in the picture'):
        invert(tiny_generator, picture, request=replace(SHORT, space='w', yaw=0.0, pitch=0.0))


@pytest.fixture
def inversion(tiny_generator: TriPlaneGenerator) -> Inversion:
    leaves = named_leaves(tiny_generator)
    name = next(name for name in leaves if name.startswith('backbone.synthesis'))
    ws = jnp.ones((1, tiny_generator.config.num_ws, tiny_generator.config.w_dim))
    return Inversion(ws, jnp.ones((1, 25)), np.arange(6.0), {name: 0.5 * jnp.ones_like(leaves[name])}, {'psnr': 20.0})


def test_a_saved_inversion_is_read_and_changes_any_generator_alike(
    tiny_generator: TriPlaneGenerator, inversion: Inversion, tmp_path: Path
):
    save_inversion(tmp_path / 'head.safetensors', inversion, tiny_generator)
    found = load_inversion(tmp_path / 'head.safetensors', tiny_generator)
    np.testing.assert_array_equal(found.ws, inversion.ws)
    assert found.numbers == inversion.numbers
    leaves = named_leaves(tiny_generator)
    adapted = with_leaves(tiny_generator, {'decoder.net.0.bias': leaves['decoder.net.0.bias'] + 1.0})
    tuned = named_leaves(found.tuned(adapted))
    np.testing.assert_array_equal(tuned['decoder.net.0.bias'], leaves['decoder.net.0.bias'] + 1.0)
    (name,) = found.changes
    np.testing.assert_allclose(tuned[name], leaves[name] + 0.5, atol=1e-6)
    with pytest.raises(InversionError, match='another generator'):
        load_inversion(tmp_path / 'head.safetensors', adapted)
    whole = (tmp_path / 'head.safetensors').read_bytes()
    (tmp_path / 'cut.safetensors').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InversionError, match='damaged or cut short'):
        load_inversion(tmp_path / 'cut.safetensors', tiny_generator)


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['--yaw=0.1'], 'give both'),
        (['--crop=1,2'], 'LEFT,TOP,SIDE'),
        (['--views=0'], '1 to 64'),
        (['--scale=0'], 'above 0'),
        (['--workdir=nowhere'], 'no directory nowhere'),
        (['--imagine=x'], 'unknown argument'),
        (['--strength=1'], '--strength: only an adapted generator has one: give --workdir as well'),
    ],
)
def test_flags_are_refused_in_words(flags: list[str], words: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=words):
        read_flags([f'--image={tmp_path / "a.png"}', f'--output={tmp_path / "out"}', *flags])


def test_the_command_writes_numbers_pictures_and_the_head(
    tiny_files: Path, head: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.fromarray(np.round((head + 1) * 127.5).astype(np.uint8)).save(tmp_path / 'head.png')
    output = tmp_path / 'out'
    clips = f'{tiny_files / "clip0"},{tiny_files / "clip1"}'
    asked = [f'--image={tmp_path / "head.png"}', f'--generator={tiny_files / "generator"}', f'--output={output}']
    asked += [
        '--scale=0.02',
        '--views=2',
        f'--clip={clips}',
        '--crop=none',
        '--no-align',
        '--yaw=0.2',
        '--pitch=-0.1',
    ]
    assert main([*asked]) == 0, capsys.readouterr().err
    numbers = json.loads((output / 'inversion.json').read_text())
    assert numbers['pose']['yaw'] == pytest.approx(np.degrees(0.2), abs=0.01)
    for name in ('reconstruction.png', 'views.png', 'progress.png', 'source/view1.png', 'inversion.safetensors'):
        assert (output / name).stat().st_size > 0, name
    written = (output / 'inversion.safetensors').stat().st_mtime_ns
    assert main([*asked]) == 0
    assert (output / 'inversion.safetensors').stat().st_mtime_ns == written  # only drawn again
    capsys.readouterr()
    Image.fromarray(np.round((head[::-1] + 1) * 127.5).astype(np.uint8)).save(tmp_path / 'head.png')
    assert main([*asked, '--space=w', '--scale=0.03']) == 2
    told = capsys.readouterr().err
    assert f'--output: {output} holds an inversion with another --image, --space, --scale: give the same again' in told
    assert f'delete {output / "inversion.json"}, or give another --output' in told
    assert (output / 'inversion.safetensors').stat().st_mtime_ns == written


def test_a_finished_inversion_of_another_generator_is_refused(
    tiny_generator: TriPlaneGenerator, inversion: Inversion, tmp_path: Path
):
    told = dict.fromkeys(command.FLAGS)
    save_inversion(tmp_path / 'inversion.safetensors', inversion, tiny_generator)
    (tmp_path / 'inversion.json').write_text(json.dumps(told))
    leaves = named_leaves(tiny_generator)
    other = with_leaves(tiny_generator, {'decoder.net.0.bias': leaves['decoder.net.0.bias'] + 1.0})
    ours, theirs = (Subject('source', 'source', each, each.config.camera) for each in (tiny_generator, other))
    assert command._finished(tmp_path, told, ours) is not None
    with pytest.raises(ConfigError, match=r'--output: .*found in another generator.*; delete .*inversion\.json'):
        command._finished(tmp_path, told, theirs)
