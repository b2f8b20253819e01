"""Runs a fit from its beginning, or from where it was stopped, to an `Inversion`.

S side of an image.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from skimage.metrics import structural_similarity

import clip_jax
from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.inversion import fitting, poses
from adaptation.inversion.fitting import SPACES, STAGES, Fit, Subject
from adaptation.inversion.latents import w_basis
from adaptation.inversion.objective import Seer, see
from adaptation.inversion.reading import ViewReader
from adaptation.inversion.results import Inversion
from adaptation.leaves import fingerprint, named_leaves, with_leaves
from adaptation.pair import pool
from adaptation.progress import ProgressBar
from eg3d_jax import CameraConfig, TriPlaneGenerator
from eg3d_jax.files import replacing

STATE_FILE = 'fit.npz'
LEAST_EXPLAINED = 0.25  # of the variance of the photograph's colours, by the best head in w
PICTURE_EVERY = 20  # steps

Picture = Float[np.ndarray, 'S S 3']
Watch = Callable[[str, Picture], None]


@dataclass(frozen=True)
class Request:
    """What is asked of a fit.

    Attributes:
        space: 'w', 'w+' or 'tuned': how far it goes.
        yaw, pitch: radians, where they are known; both or neither.
        align: whether roll, shift and zoom of the crop are found as well.
        scale: of the number of steps.
    """

    space: str = SPACES[-1]
    yaw: float | None = None
    pitch: float | None = None
    align: bool = True
    scale: float = 1.0


def invert(
    generator: TriPlaneGenerator,
    photo: Picture,
    encoders: tuple[clip_jax.Clip, ...] = (),
    layers: tuple[int, ...] = (),
    request: Request | None = None,
    *,
    camera: CameraConfig | None = None,
    reader: ViewReader | None = None,
    directory: Path | None = None,
    watch: Watch | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Inversion:
    """Finds the head that looks like a photograph, and the camera that sees it so.

    Args:
        generator: a source generator.
        photo: in [-1, 1], of the generator's resolution, cropped as its training pictures are.
        encoders, layers: CLIP models, and for each the block whose tokens are compared; without any, colours alone are.
        request: see there.
        camera: the distribution of cameras; None: the generator's.
        reader: of the view, where several photographs are inverted; None: one is made.
        directory: where the state is kept when the fit is stopped, and found again; None: nowhere.
        watch: called with the name of the stage and the picture so far, now and then and at each stage's end.
        stopped: asked after each step.

    Raises:
        ValueError: a photo of another resolution.
        ConfigError: the directory holds a fit of something else that was stopped.
        AdaptationError: no head is found in the photograph, or a number is not finite.
        Interrupted: `stopped` said yes; the state is kept.
    """
    request = request or Request()
    camera = camera or generator.config.camera
    side = generator.config.image_resolution
    if photo.shape != (side, side, 3):
        raise ValueError(f'the photo must have shape ({side}, {side}, 3), got {photo.shape}')
    run = _Run(
        generator, photo, encoders, layers, request, camera, reader, directory, watch or (lambda *_: None), stopped
    )
    return run.go()


class _Run:
    """The fit, its progress and its numbers."""

    def __init__(
        self,
        generator: TriPlaneGenerator,
        photo: Picture,
        encoders: tuple[clip_jax.Clip, ...],
        layers: tuple[int, ...],
        request: Request,
        camera: CameraConfig,
        reader: ViewReader | None,
        directory: Path | None,
        watch: Watch,
        stopped: Callable[[], bool],
    ):
        target = jnp.asarray(photo[None], jnp.float32)
        tokens = see(encoders, layers, target)
        small = jnp.asarray(fitting.small_target(photo, generator)[None])
        self.subject = Subject(generator, w_basis(generator, camera), Seer(encoders, tokens), target, small)
        self.photo, self.layers, self.request, self.camera = photo, layers, request, camera
        self.reader, self.directory, self.watch, self.stopped = reader, directory, watch, stopped
        self.numbers: dict[str, Any] = {}
        self.tried: dict[poses.Offset, float] = {}  # starts, and the losses that they led to
        last = 1 + SPACES.index(request.space)
        self.stages = [_scaled(stage, request.scale) for stage in STAGES[: last + 1]]
        marks = [fingerprint(network) for network in (generator, *encoders)]
        told = (photo.tobytes(), repr(marks).encode(), repr((request, camera, layers)).encode())
        self.key = hashlib.sha256(b'|'.join(told)).hexdigest()

    def go(self) -> Inversion:
        stored = self._stored()
        with ProgressBar(0, 'step', 'view') as bar:
            self.bar = bar
            self.expected = self._expect()
            first, *later = (stage.steps for stage in self.stages)
            bar.expect(poses.starts(self.expected) * first + sum(later))
            fit = None if stored is None else self._restored(stored)
            bar.advance(len(self.tried) * first)
            if fit is None or len(self.tried) < poses.starts(self.expected):
                fit = self._start(fit)
                self.expected = poses.expected_at(self.expected, fit.pose)
            bar.advance(sum(later[: fit.stage - 1]) + fit.step)
            while fit.stage < len(self.stages):
                stage = self.stages[fit.stage]
                self._step(fit)
                if fit.step == 0 or fit.step % PICTURE_EVERY == 0:
                    picture = self._picture(fit)
                    self.watch(stage.name, picture)
                    if fit.step == 0:
                        self._finish(stage, fit, picture)
                if fit.stage < len(self.stages):
                    self._stop_if_asked(stage, fit)
        self._forget()
        return self._result(fit)

    def _start(self, best: Fit | None) -> Fit:
        """The fit of the lowest loss behind the first stage, from each of several views."""
        stage = self.stages[0]
        while len(self.tried) < poses.starts(self.expected):
            offset = poses.next_start(self.tried)
            assert offset is not None
            fit = fitting.initial(self.subject, poses.started_at(self.expected, offset))
            while fit.stage == 0:
                self._step(fit)
                self._stop_if_asked(stage, best)  # a start that is stopped begins anew
            self.watch(stage.name, self._picture(fit))
            loss = fit.losses['loss']
            if best is None or loss < min(self.tried.values()):
                best = fit
            self.tried[offset] = loss
        assert best is not None
        return best

    def _stop_if_asked(self, stage: fitting.Stage, fit: Fit | None) -> None:
        if not self.stopped():
            return
        self._save(fit)
        raise Interrupted(
            f'Stopped in stage {stage.name!r}; '
            + ('the same command goes on from there.' if self.directory else 'nothing is kept.')
        )

    def _expect(self) -> poses.Expected:
        """What is known of the pose: what is given, and what the photograph's colours tell of the view."""
        request = self.request
        pose, deviation = poses.middle(self.camera), poses.deviations(self.camera)
        if request.yaw is not None and request.pitch is not None:
            pose[: poses.VIEWS], deviation[: poses.VIEWS] = (request.yaw, request.pitch), 0.0
        else:
            reader = self.reader or ViewReader(self.subject.generator, self.camera)
            reading = reader.read(self.photo)
            pose[: poses.VIEWS], deviation[: poses.VIEWS] = reading.view, reading.error
        if not request.align:
            deviation[poses.VIEWS :] = 0.0
        return poses.Expected(pose, deviation)

    def _step(self, fit: Fit) -> None:
        stage = self.stages[fit.stage]
        fitting.advance(fit, self.subject, self.camera, self.layers, self.expected, stage)
        self.bar.doing(stage.name)
        yaw, pitch = np.degrees(fit.pose[: poses.VIEWS])
        self.bar.note(f'loss {fit.losses["loss"]:.3f}, yaw {yaw:.0f}, pitch {pitch:.0f}')
        self.bar.advance()
        if not np.isfinite(fit.losses['loss']):
            raise AdaptationError(
                f'In stage {stage.name!r} the loss is {fit.losses["loss"]}: check the checkpoints and the picture.'
            )

    def _finish(self, stage: fitting.Stage, fit: Fit, picture: Picture) -> None:
        """Measures what a stage has reached; refuses what no head explains."""
        numbers = measure(picture, self.photo)
        self.numbers[stage.name] = {**numbers, 'perceptual': fit.losses.get('perceptual')}
        if numbers['explained'] < LEAST_EXPLAINED and stage.name == SPACES[0]:
            raise AdaptationError(
                f'No head was found in the picture: the nearest one explains {max(numbers["explained"], 0):.0%} of its '
                f'colours (at least {LEAST_EXPLAINED:.0%} are expected). Crop it around one head, seen from the front '
                'or half from the side.'
            )

    def _picture(self, fit: Fit) -> Picture:
        looking = poses.cameras_of(jnp.asarray(fit.pose[None], jnp.float32), self.camera)
        ws = fitting.ws_of(self.subject, fit.variables)
        return np.asarray(_draw(self.subject.generator, fit.variables.tuned, ws, looking))[0]

    def _result(self, fit: Fit) -> Inversion:
        leaves = named_leaves(self.subject.generator)
        changes = {}
        if self.request.space == SPACES[-1]:
            changes = {name: leaf - leaves[name] for name, leaf in fit.variables.tuned.items()}
        degrees = dict(zip(poses.NAMES[:3], np.degrees(fit.pose[:3]).round(2).tolist(), strict=True))
        crop = dict(zip(poses.NAMES[3:], fit.pose[3:].round(4).tolist(), strict=True))
        numbers = {'stages': self.numbers, 'pose': {**degrees, **crop}, 'space': self.request.space}
        looking = poses.cameras_of(jnp.asarray(fit.pose[None], jnp.float32), self.camera)
        return Inversion(fitting.ws_of(self.subject, fit.variables), looking, fit.pose, changes, numbers)

    def _save(self, fit: Fit | None) -> None:
        """Keeps a fit, that of the best start so far while they are tried, or none."""
        if self.directory is None:
            return
        fit = fit or fitting.initial(self.subject, self.expected.pose)
        leaves = jax.tree.leaves((fit.variables, fit.optimizer))
        arrays: dict[str, Any] = {f'leaf{index}': np.asarray(leaf) for index, leaf in enumerate(leaves)}
        told = {'key': self.key, 'stage': fit.stage, 'step': fit.step, 'numbers': self.numbers}
        told |= {'tried': list(self.tried.items()), 'expected': [part.tolist() for part in self.expected]}
        with replacing(self.directory / STATE_FILE) as path, path.open('wb') as file:
            np.savez(file, told=json.dumps(told), pose=fit.pose, **arrays)

    def _stored(self) -> Mapping[str, Any] | None:
        """What a fit that was stopped has left in the directory; refuses that of anything else."""
        path = None if self.directory is None else self.directory / STATE_FILE
        if path is None or not path.exists():
            return None
        try:
            with path.open('rb') as file, np.load(file) as arrays:
                stored = {name: arrays[name] for name in arrays.files}
            stored['told'] = json.loads(str(stored['told']))
            same = stored['told']['key'] == self.key
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise AdaptationError(f'{path} is damaged ({error}): remove it to begin anew.') from None
        if not same:
            raise ConfigError(
                [
                    f'--output: {self.directory} holds an unfinished inversion of another photograph, or with other '
                    f'networks or flags: give the same again, delete {path}, or give another --output'
                ]
            )
        return stored

    def _restored(self, stored: Mapping[str, Any]) -> Fit | None:
        """The state of the fit that was stopped; None: no start was tried to its end."""
        fit = fitting.initial(self.subject, self.expected.pose)
        leaves, structure = jax.tree.flatten((fit.variables, fit.optimizer))
        kept = [jnp.asarray(stored[f'leaf{index}']) for index in range(len(leaves))]
        told, fit.pose = stored['told'], stored['pose']
        fit.variables, fit.optimizer = jax.tree.unflatten(structure, kept)
        fit.stage, fit.step, self.numbers = told['stage'], told['step'], told['numbers']
        self.tried = {tuple(offset): loss for offset, loss in told['tried']}
        self.expected = poses.Expected(*map(np.asarray, told['expected']))
        return fit if self.tried else None

    def _forget(self) -> None:
        if self.directory is not None:
            (self.directory / STATE_FILE).unlink(missing_ok=True)


def measure(picture: Picture, photo: Picture) -> dict[str, float]:
    """psnr (dB) and ssim of a picture in [-1, 1], clipped; explained: the share of the variance of the photograph's
    colours, in blocks of pixels, that it accounts for."""
    made = np.clip(picture, -1.0, 1.0)
    window = min(7, photo.shape[0] - (1 - photo.shape[0] % 2))
    ours, theirs = (np.asarray(pool(jnp.asarray(image[None]))) for image in (made, photo))
    spread = float(np.mean(np.square(theirs - theirs.mean(axis=(1, 2), keepdims=True))))
    return {
        'psnr': float(-10.0 * np.log10(max(float(np.mean(np.square(made - photo))) / 4.0, 1e-10))),
        'ssim': float(structural_similarity(made, photo, channel_axis=-1, data_range=2.0, win_size=window)),
        'explained': 1.0 - float(np.mean(np.square(ours - theirs))) / max(spread, 1e-10),
    }


@jax.jit
def _draw(generator: TriPlaneGenerator, tuned: fitting.Leaves, ws: Array, looking: Array) -> Array:
    changed = with_leaves(generator, tuned)
    rendered = generator.render(changed.planes(ws), looking)
    return generator.superresolve(rendered.feature_image, ws, rendered.points)


def _scaled(stage: fitting.Stage, scale: float) -> fitting.Stage:
    return replace(stage, steps=max(1, round(stage.steps * scale)))
