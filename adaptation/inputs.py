"""What a run starts from: the generator, the encoders, the reference picture and the texts that the config names.

D channels of an embedding.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

import clip_jax
from adaptation.adapter import load_source
from adaptation.config import MINIATURE, AdaptationConfig, ReferenceConfig
from adaptation.errors import ConfigError
from adaptation.leaves import fingerprint
from adaptation.prompts import prompt_problems, text_direction
from adaptation.provenance import with_overrides
from adaptation.sources import clip_directory
from eg3d_jax import CameraConfig, CheckpointError, RenderingConfig, TriPlaneGenerator

PROJECT = Path(__file__).resolve().parent.parent
SMALLEST_REFERENCE = 16  # pixels of its short side: less shows no face and no style
MINIATURE_CLIPS = ('clip_patch8', 'clip_patch16')


@dataclass(frozen=True)
class Inputs:
    """The loaded inputs.

    Attributes:
        generator: the source generator.
        encoders: CLIP models without their text towers.
        layers: for each encoder, the block whose tokens are compared.
        reference: the picture, square, in [-1, 1]; None where texts alone or several references guide.
        text_directions: for each encoder, the direction of the texts; None where the picture alone guides.
        camera: the distribution of the training cameras.
        hashes: a hash of each input by the config field that names it.
        references: where there are several domains, the picture of each, in the order of their names.
    """

    generator: TriPlaneGenerator
    encoders: tuple[clip_jax.Clip, ...]
    layers: tuple[int, ...]
    reference: Float[np.ndarray, 'R R 3'] | None
    text_directions: tuple[Float[Array, 'D'], ...] | None
    camera: CameraConfig
    hashes: dict[str, str]
    references: dict[str, np.ndarray] = field(default_factory=dict)

    def of_domain(self, weights: Mapping[str, float]) -> 'Inputs':
        """The same with the reference of the one domain that takes part; a mixture has none."""
        taking_part = [name for name, weight in weights.items() if weight]
        return replace(self, reference=self.references[taking_part[0]] if len(taking_part) == 1 else None)


def load_inputs(config: AdaptationConfig) -> Inputs:
    """Reads what the config names.

    Raises:
        ConfigError: what cannot be read or does not fit, by the name of its field.
    """
    reference = _load_reference(config.reference, 'reference') if config.has_image else None
    references = {name: _load_reference(config.references[name], f'references.{name}') for name in config.domains}
    try:
        generator = load_source(config.generator)
    except CheckpointError as error:
        raise ConfigError([f'config.generator: {error}']) from None
    encoders, text_directions = _load_encoders(config)
    camera = with_overrides(config.camera, generator.config.camera)
    _check_camera(camera, generator.config.rendering)
    layers = _layers(config, encoders)
    hashes = {
        'generator': fingerprint(generator),
        'clip': ' '.join(fingerprint(clip) for clip in encoders),
        'reference.image': '' if reference is None else _hash(reference),
        **{f'references.{name}.image': _hash(picture) for name, picture in references.items()},
    }
    return Inputs(generator, encoders, layers, reference, text_directions, camera, hashes, references)


def _hash(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def find_file(path: str) -> Path:
    """A file named relative to the working directory, or else to the project."""
    return Path(path) if Path(path).exists() else PROJECT / path


def _load_reference(settings: ReferenceConfig, name: str) -> Float[np.ndarray, 'R R 3']:
    """The picture that the config's field of this name describes."""
    path = find_file(settings.image)
    if not path.exists():
        raise ConfigError([f'config.{name}.image: there is no file {settings.image}'])
    try:
        picture = clip_jax.load_image(path, settings.crop)
    except clip_jax.ImageError as error:
        raise ConfigError([f'config.{name}: {error}']) from None
    side = picture.shape[0]
    if side < SMALLEST_REFERENCE:
        raise ConfigError(
            [
                f'config.{name}: the short side of {path} or of its crop is {side} pixels; '
                f'give a picture of at least {SMALLEST_REFERENCE}'
            ]
        )
    return picture


def _load_encoders(
    config: AdaptationConfig,
) -> tuple[tuple[clip_jax.Clip, ...], tuple[Float[Array, 'D'], ...] | None]:
    """The encoders without their text towers, and what these had to say first."""
    encoders, directions = [], []
    try:
        for directory in encoder_directories(config.clip_directories):
            clip = clip_jax.load_clip(directory)
            if config.has_text:
                directions.append(_text_direction(config, clip, directory))
            del clip.text_model, clip.text_projection  # of no more use, and half of the memory
            encoders.append(clip)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f'config.clip: {error}']) from None
    return tuple(encoders), tuple(directions) if config.has_text else None


def _text_direction(config: AdaptationConfig, clip: clip_jax.Clip, directory: Path) -> Float[Array, 'D']:
    tokenize = clip_jax.load_tokenizer(directory, clip.config.text.context_length)
    texts = {'target_text': config.target_text, 'source_text': config.source_text}
    problems = [
        f'config.{name}: {problem} ({directory.name})'
        for name, text in texts.items()
        for problem in prompt_problems(clip, tokenize, text, config.prompt_templates)
    ]
    if problems:
        raise ConfigError(problems)
    return text_direction(clip, tokenize, config.target_text, config.source_text, config.prompt_templates)


def encoder_directories(entries: Iterable[str]) -> list[Path]:
    """The checkpoint directories of the entries of `config.clip`, each converted first where it is none of ours.

    Raises:
        ValueError: in one sentence, what is wrong with an entry.
        FileNotFoundError: the miniature's encoders are not installed.
    """
    directories: list[Path] = []
    for entry in entries:
        if entry == MINIATURE:
            from miniature import weights_directory

            directories += [weights_directory(name) for name in MINIATURE_CLIPS]
        else:
            directories.append(clip_directory(entry))
    return directories


def _check_camera(camera: CameraConfig, rendering: RenderingConfig) -> None:
    """Refuses cameras that stand on what they look at, or whose rays end before the planes' cube or begin behind it."""
    if math.hypot(*camera.pivot) >= camera.radius:
        raise ConfigError(
            [f'config.camera.pivot: {camera.pivot} is not inside the sphere of radius {camera.radius} of the cameras']
        )
    reach = rendering.box_warp * math.sqrt(3) / 2  # of the cube's corners from the origin
    if camera.radius - reach >= rendering.ray_end or camera.radius + reach <= rendering.ray_start:
        raise ConfigError(
            [
                f'config.camera.radius: from {camera.radius}, rays of {rendering.ray_start} to {rendering.ray_end} '
                'meet nothing of what the generator makes; leave it out to take the radius of the generator'
            ]
        )


def _layers(config: AdaptationConfig, encoders: tuple[clip_jax.Clip, ...]) -> tuple[int, ...]:
    layers = config.clip_layers if len(config.clip_layers) > 1 else config.clip_layers * len(encoders)
    problems = [
        f'config.clip_layers: there is no block {layer} in an encoder of {clip.config.vision.layers} (counted from 0)'
        for layer, clip in zip(layers, encoders, strict=True)
        if layer >= clip.config.vision.layers
    ]
    if problems:
        raise ConfigError(problems)
    return layers
