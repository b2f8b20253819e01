"""Pictures of heads that say in their metadata how they were made, and can be made again from it.

S side of an image, s of a depth map.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, PngImagePlugin

from adaptation.errors import AdaptationError
from adaptation.generation import rendering
from adaptation.generation.defaults import TRUNCATION, VIEWS, YAW
from adaptation.generation.poses import fan, pose_cameras
from adaptation.generation.seeds import latents
from adaptation.leaves import fingerprint
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator
from eg3d_jax.files import replacing

DISTRIBUTION = '3d-adapter-jax'
SOFTWARE = 'Software'  # PNG's own keyword for the program


@dataclass(frozen=True)
class Description:
    """How a picture was made: the text that is stored in it, field by field.

    seed: of the latent. yaw, pitch: radians. camera, conditioning: the 25 numbers of the camera that looked and of the
    one that the mapping network was told. truncation: psi. generator: fingerprint of the weights. subject: what
    the user calls the generator, such as 'adapted, strength 0.5'.
    """

    seed: int
    yaw: float
    pitch: float
    camera: tuple[float, ...]
    conditioning: tuple[float, ...]
    truncation: float
    generator: str
    subject: str = ''

    def text(self) -> dict[str, str]:
        """The entries of the metadata; numbers are written so that reading gives the same float32."""
        return as_text(vars(self))


class Picture(NamedTuple):
    """pixels: the image. depth: distance from the camera along each ray, in world units."""

    pixels: UInt8[np.ndarray, 'S S 3']
    depth: Float[np.ndarray, 's s']
    description: Description


def pictures(
    generator: TriPlaneGenerator,
    seeds: Sequence[int],
    *,
    views: int = VIEWS,
    yaw: float = YAW,
    pitch: float = 0.0,
    truncation: float = TRUNCATION,
    camera: CameraConfig | None = None,
    batch_size: int | None = None,
    subject: str = '',
) -> Iterator[Picture]:
    """Pictures of heads, one after the other: all views of the first seed, then those of the next.

    Args:
        generator: source or adapted.
        seeds: of the latents; see `adaptation.generation.seeds.latents`.
        views: pictures of each head.
        yaw: the outermost views look from this far left and right, in radians.
        pitch: radians above the middle of the training cameras.
        truncation: psi in [0, 1]; 1 leaves the latents as they are, 0 gives the mean head.
        camera: radius, pivot and field of view; None: the generator's own.
        batch_size: views at a time; None: what fits into the memory.
        subject: stored in the descriptions.
    """
    camera = camera or generator.config.camera
    batch_size = batch_size or rendering.fitting_batch(generator.config)
    poses = fan(views, yaw, pitch, camera)
    cameras, frontal = pose_cameras(poses, camera), _numbers(frontal_cameras(1, camera)[0])
    mark = fingerprint(generator)
    for seed in seeds:
        ws = rendering.map_seeds(generator, [seed], truncation, camera)
        view = 0
        for seen in rendering.look(generator, ws, cameras, batch_size):
            for pixels, depth in zip(rendering.to_pixels(seen.images), seen.depths, strict=True):
                turn, rise = map(float, poses[view])
                looking = _numbers(cameras[view])
                description = Description(seed, turn, rise, looking, frontal, truncation, mark, subject)
                yield Picture(pixels, depth, description)
                view += 1


def redraw(generator: TriPlaneGenerator, description: Description) -> Picture:
    """The picture that a description is of.

    Raises:
        AdaptationError: it was made with another generator.
    """
    if fingerprint(generator) != description.generator:
        raise AdaptationError(
            f'the picture of seed {description.seed} was made with another generator ({description.generator[:8]}...): '
            'give that one, adapted at the same strength.'
        )
    z = jnp.asarray(latents([description.seed], generator.config.z_dim))
    camera, conditioning = (jnp.asarray([numbers]) for numbers in (description.camera, description.conditioning))
    ws = rendering.map_latents(generator, z, conditioning, description.truncation)
    seen = next(rendering.look(generator, ws, camera, 1))
    return Picture(rendering.to_pixels(seen.images)[0], seen.depths[0], description)


def save_png(path: Path, pixels: np.ndarray, text: dict[str, str]) -> None:
    """Writes 8-bit colours or grey levels, or 16-bit grey levels, with text metadata (tEXt), atomically."""
    info = PngImagePlugin.PngInfo()
    for name, value in {SOFTWARE: program(), **text}.items():
        info.add_text(name, value)
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format='PNG', pnginfo=info)


def read_description(path: Path) -> Description:
    """The description that a picture carries.

    Raises:
        AdaptationError: the file is no such picture.
    """
    try:
        with Image.open(path) as image:
            text = dict(getattr(image, 'text', {}))
        values: dict[str, Any] = {name: json.loads(text[name]) for name in ('seed', 'yaw', 'pitch', 'truncation')}
        values |= {name: tuple(json.loads(text[name])) for name in ('camera', 'conditioning')}
        return Description(**values, generator=text['generator'], subject=text['subject'])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise AdaptationError(f'{path} is no picture of `python -m adaptation.generate`: {error!r}') from None


def as_text(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as a picture's metadata holds them: texts as they are, everything else as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def film_comment(facts: Mapping[str, Any]) -> str:
    """Facts as a film's comment holds them: one JSON object, in ASCII."""
    return json.dumps({SOFTWARE: program(), **facts})


def program() -> str:
    """Name and version of this program."""
    try:
        return f'{DISTRIBUTION} {version(DISTRIBUTION)}'
    except PackageNotFoundError:
        return DISTRIBUTION


def _numbers(camera: object) -> tuple[float, ...]:
    return tuple(map(float, np.asarray(camera)))
