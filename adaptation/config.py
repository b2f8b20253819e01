"""The settings of a run: what they mean, their defaults, and the strict reading of a `configs/*.py` or `config.json`.

An experiment file returns a `ConfigDict` (`default_config()` with changes), the command line changes single fields of
it, and `read_config` turns it into the frozen `AdaptationConfig` that the rest of the package sees.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import config_dict

from adaptation.errors import ConfigError
from adaptation.templates import PLAIN_TEMPLATES

MINIATURE = 'miniature'  # the shipped generator, or the shipped pair of image encoders
MINIATURE_ENCODERS = 2
STAGES = ('backbone', 'decoder', 'superresolution')  # G1, Tri-D and G2, as the generator names them
CONDITIONINGS = ('same', 'frontal')
POSE_DISTRIBUTIONS = ('gaussian', 'uniform')  # as in eg3d_jax.config, which cannot be read without waiting for JAX


@dataclass(frozen=True)
class ReferenceConfig:
    """The one picture of the target domain."""

    image: str = ''  # file, relative to the working directory or else to the project; empty: the texts alone guide
    crop: tuple[int, int, int, int] | None = None  # left, top, right, bottom in pixels; None: the central square


@dataclass(frozen=True)
class LossFactors:
    """What a domain multiplies each phase's weights by."""

    dir: float = 1.0
    dis: float = 1.0
    istr: float = 1.0
    fstr: float = 1.0
    fine: float = 1.0
    crisp: float = 1.0
    palette: float = 1.0
    edges: float = 1.0
    pair: float = 1.0


@dataclass(frozen=True)
class DomainConfig(ReferenceConfig):
    """One of several target domains: its picture, what its losses count, and how fast it is learnt."""

    factors: LossFactors = field(default_factory=LossFactors)
    rate: float = 1.0  # of each phase's learning rate, for what is this domain's own; and its say in what is shared
    strokes: bool = True  # whether strokes, where a phase asks for them, are for this domain


@dataclass(frozen=True)
class CameraOverrides:
    """The distribution of training cameras; None leaves what the generator's own config says."""

    fov_degrees: float | None = None
    radius: float | None = None  # world units
    pivot: tuple[float, float, float] | None = None  # the point that cameras look at
    distribution: str | None = None  # of yaw and pitch: 'gaussian' or 'uniform'
    yaw_mean: float | None = None  # radians
    yaw_std: float | None = None  # radians; half the range of a uniform distribution
    pitch_mean: float | None = None  # radians
    pitch_std: float | None = None  # radians


@dataclass(frozen=True)
class LossWeights:
    """Factors of the paper's four losses and of ours; a loss of weight 0 is not computed."""

    dir: float = 1.0  # domain direction regularisation (DDR)
    dis: float = 2.0  # target distribution learning (TDL)
    istr: float = 0.5  # image-level source structure maintenance (ISSM)
    fstr: float = 1.0  # feature-level source structure maintenance (FSSM)
    fine: float = 0.0  # fine detail as in the reference, ours; see adaptation.fine_detail
    crisp: float = 0.0  # and the finest of it by itself, ours
    palette: float = 0.0  # chroma as in the reference, ours; see adaptation.palette
    edges: float = 0.0  # none where the source has none, ours; see adaptation.edges
    pair: float = 0.0  # the reference's own head drawn as the reference is, ours; see adaptation.pair

    @property
    def of_images(self) -> bool:
        """Whether a loss looks at finished images: all do but FSSM, which feature images are enough for."""
        return any(weight for name, weight in vars(self).items() if name != 'fstr')


@dataclass(frozen=True)
class PhaseConfig:
    """One phase: what it trains, on which losses, for how long."""

    steps: int  # 0 leaves the phase out
    learning_rate: float  # Adam's
    trained: tuple[
        str, ...
    ]  # path prefixes of the generator's parameters, such as 'decoder' or 'superresolution.block1'
    weights: LossWeights = field(default_factory=LossWeights)
    render_resolution: int | None = None  # side of the feature image in training; None: the generator's own
    updates: int = 1  # of the parameters, in a row, on each step's batch: what they do not change is computed once
    strokes: bool = False  # trains the strengths of G2's noise as well, ours; see eg3d_jax.hatching
    final_rate: float = 1.0  # share of the learning rate that half a cosine leaves at the end; 1: it is constant

    def trains(self, stage: str) -> bool:
        """Whether any parameter of this stage of the generator is trained."""
        return any(prefix.split('.')[0] == stage for prefix in self.trained)


def _paper_phases() -> dict[str, PhaseConfig]:
    """The paper's two steps: Tri-D on all four losses, then G2, which does not touch the feature image."""
    return {
        'phase1': PhaseConfig(steps=350, learning_rate=5e-3, trained=('decoder',)),
        'phase2': PhaseConfig(
            steps=250, learning_rate=2e-3, trained=('superresolution',), weights=LossWeights(fstr=0.0)
        ),
    }


@dataclass(frozen=True)
class Intervals:
    """Counted in steps; the start and the end are always logged, drawn and saved."""

    log: int = 1
    samples: int = 100
    checkpoint: int = 100


@dataclass(frozen=True)
class AdaptationConfig:
    """A whole run."""

    generator: str = MINIATURE  # checkpoint directory, or what convert.eg3d reads: a file, https://..., hf://...
    clip: str = MINIATURE  # the same of CLIP (convert.clip), several separated by commas; their losses are added
    clip_layers: tuple[int, ...] = (
        3,
    )  # blocks whose tokens are compared, from 0: one for all encoders or one for each
    encoder_crop: float = 0.0  # how much of an image's side a random crop takes off, at most, before encoders see it
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    references: dict[str, DomainConfig] = field(default_factory=dict)  # by domain: several styles in one generator
    domain_rank: int = 8  # of what each domain adds to a matrix or kernel that all domains share
    target_text: str = ''  # what the target domain is called, such as 'a pencil sketch of a head'; empty: no text
    source_text: str = ''  # what the source domain is called, such as 'a photo of a head'
    prompt_templates: tuple[str, ...] = PLAIN_TEMPLATES  # what both texts are written into; see adaptation.templates
    text_weight: float = 0.5  # share of the texts in the domain direction where a picture guides as well, in [0, 1]
    phases: dict[str, PhaseConfig] = field(default_factory=_paper_phases)  # in the order of their names, 2 before 10
    batch_size: int = 4
    seed: int = 0
    truncation_psi: float = 1.0  # latents are pulled towards the mean by this: 1 not at all, 0 wholly
    conditioning: str = 'same'  # camera that the mapping sees: 'same' as the rendering camera, or 'frontal'
    camera: CameraOverrides = field(default_factory=CameraOverrides)
    source_samples: int = 128  # source images whose mean embedding the domain direction starts from
    direction_whitening: float = 0.0  # how much less that direction counts where source images differ; not the paper's
    sample_heads: int = 4  # heads in a sample picture, three views each
    intervals: Intervals = field(default_factory=Intervals)

    @property
    def clip_directories(self) -> tuple[str, ...]:
        """The entries of `clip`."""
        return tuple(entry.strip() for entry in self.clip.split(','))

    @property
    def encoders(self) -> int:
        """How many image encoders guide the run."""
        return sum(MINIATURE_ENCODERS if entry == MINIATURE else 1 for entry in self.clip_directories)

    @property
    def has_image(self) -> bool:
        """Whether a reference picture guides the run."""
        return bool(self.reference.image)

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the domains, sorted; empty: there is one reference or text."""
        return tuple(sorted(self.references))

    @property
    def has_text(self) -> bool:
        """Whether texts guide it."""
        return bool(self.target_text)

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries of JSON types; `read_config` reads them back."""
        return dataclasses.asdict(self)


def default_config() -> config_dict.ConfigDict:
    """The default settings, for an experiment file to change."""
    return _to_config_dict(AdaptationConfig())


def fill_domains(config: config_dict.ConfigDict) -> None:
    """Gives each of the config's `references` the fields that it lacks, so that the command line can change them."""
    domains = config.get('references')
    if not isinstance(domains, config_dict.ConfigDict) or isinstance(domains, config_dict.FrozenConfigDict):
        return
    for domain in domains.values():
        if isinstance(domain, config_dict.ConfigDict):
            _fill(domain, _to_config_dict(DomainConfig()))


def _fill(fields: config_dict.ConfigDict, defaults: config_dict.ConfigDict) -> None:
    with fields.unlocked():
        for name, value in defaults.items(preserve_field_references=True):
            if name not in fields:
                fields[name] = value
            elif isinstance(value, config_dict.ConfigDict) and isinstance(fields[name], config_dict.ConfigDict):
                _fill(fields[name], value)


def read_config(values: Mapping[str, Any] | config_dict.ConfigDict) -> AdaptationConfig:
    """The settings as a frozen `AdaptationConfig`; absent fields take their defaults.

    Args:
        values: a `ConfigDict`, or the dictionary that a `config.json` holds.

    Raises:
        ConfigError: naming every unknown field, wrong type, value out of range and impossible combination.
    """
    values = values.to_dict() if isinstance(values, config_dict.ConfigDict) else values
    problems: list[str] = []
    config = _read(AdaptationConfig, values, 'config', problems)
    if not problems:
        config = dataclasses.replace(config, phases=dict(sorted(config.phases.items(), key=_natural_order)))
        problems = _check(config)
    if problems:
        raise ConfigError(problems)
    return config


def _natural_order(phase: tuple[str, PhaseConfig]) -> tuple[list[str | int], str]:
    """What phases are sorted by: their names, in which numbers count as numbers."""
    name, _ = phase
    texts_and_numbers = re.split(r'(\d+)', name)  # a text first, even an empty one, and then in turns
    return [int(part) if index % 2 else part for index, part in enumerate(texts_and_numbers)], name


def no_such_field(path: str, known: Iterable[str]) -> str:
    """Says that a dotted field does not exist, and which ones do beside it."""
    known = list(known)
    near = difflib.get_close_matches(path.rpartition('.')[2], known, 1)
    hint = f'did you mean {near[0]}?' if near else f'known here: {", ".join(known)}'
    return f'{path}: there is no such field ({hint})'


def flatten(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested dictionaries as one, keyed by dotted field names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f'{prefix}{name}.')
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def _to_config_dict(value: Any) -> config_dict.ConfigDict:
    """A dataclass, or a dictionary of them, as a ConfigDict whose optional fields remember their type."""
    if isinstance(value, Mapping):
        return config_dict.ConfigDict({name: _to_config_dict(item) for name, item in value.items()})
    fields: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(type(value)).items():
        item = getattr(value, name)
        if item is None:
            present = typing.get_args(hint)[0]
            fields[name] = config_dict.placeholder(typing.get_origin(present) or present)
        else:
            fields[name] = (
                _to_config_dict(item) if isinstance(item, Mapping) or dataclasses.is_dataclass(item) else item
            )
    return config_dict.ConfigDict(fields)


def _read(hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    """`value` as the annotated type; what does not fit is added to `problems`."""
    if dataclasses.is_dataclass(hint):
        return _read_fields(typing.cast(type, hint), value, name, problems)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None
        return None if value is None else _read(parts[0], value, name, problems)
    if origin is dict:
        if not isinstance(value, Mapping):
            problems.append(f'{name}: expected a group of fields, got {value!r}')
            return None
        return {key: _read(parts[1], item, f'{name}.{key}', problems) for key, item in value.items()}
    if origin is tuple:
        return _read_tuple(parts, value, name, problems)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        problems.append(f'{name}: expected {_NAMES[hint]}, got {value!r}')
    return value


_NAMES = {int: 'a whole number', float: 'a number', str: 'a text'}


def _read_fields(cls: type, value: Any, name: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f'{name}: expected a group of fields, got {value!r}')
        return None
    hints = typing.get_type_hints(cls)
    required = {item.name for item in dataclasses.fields(cls) if _has_no_default(item)}
    for key in value:
        if key not in hints:
            problems.append(no_such_field(f'{name}.{key}', hints))
    problems += [f'{name}.{key}: is missing' for key in sorted(required - set(value))]
    before = len(problems)
    fields = {key: _read(hint, value[key], f'{name}.{key}', problems) for key, hint in hints.items() if key in value}
    return cls(**fields) if len(problems) == before and required <= set(value) else None


def _has_no_default(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _read_tuple(parts: tuple[Any, ...], value: Any, name: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f'{name}: expected several values in brackets, got {value!r}')
        return None
    if parts == (str, Ellipsis) and all(isinstance(item, str) for item in value):
        value = [part.strip() for item in value for part in item.split(',')]  # 'a,b' is what a command line gives
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(value) != len(parts):
        problems.append(f'{name}: expected {len(parts)} values, got {len(value)}')
        return None
    return tuple(_read(part, item, name, problems) for part, item in zip(parts, value, strict=True))


class _Problems(list[str]):
    """Collects what is wrong, named by field."""

    def require(self, holds: bool, field_name: str, what: str) -> None:
        if not holds:
            self.append(f'config.{field_name}: {what}')


def _check(config: AdaptationConfig) -> list[str]:
    """What is out of range or does not go together."""
    problems = _Problems()
    require = problems.require
    require(bool(config.generator), 'generator', f'is not set; give a checkpoint directory, or {MINIATURE!r}')
    require(all(config.clip_directories), 'clip', 'is not set; give checkpoint directories, separated by commas')
    _check_guidance(config, problems)
    _check_domains(config, problems)
    require(
        len(config.clip_layers) in (1, config.encoders),
        'clip_layers',
        f'has {len(config.clip_layers)} values; give 1, or one for each of the {config.encoders} encoders',
    )
    require(all(layer >= 0 for layer in config.clip_layers), 'clip_layers', 'must not be negative')
    require(0 <= config.truncation_psi <= 1, 'truncation_psi', 'must lie in [0, 1]')
    require(0 <= config.encoder_crop < 1, 'encoder_crop', 'must lie in [0, 1)')
    require(0 <= config.direction_whitening < math.inf, 'direction_whitening', 'must be finite and not negative')
    require(0 <= config.seed < 2**32, 'seed', 'must lie in [0, 2^32)')
    require(config.conditioning in CONDITIONINGS, 'conditioning', f'must be one of {", ".join(CONDITIONINGS)}')
    for name in ('batch_size', 'source_samples', 'sample_heads'):
        require(getattr(config, name) >= 1, name, 'must be at least 1')
    for name, value in vars(config.intervals).items():
        require(value >= 1, f'intervals.{name}', 'must be at least 1')
    _check_camera(config.camera, problems)
    require(any(phase.steps for phase in config.phases.values()), 'phases', 'no phase has any steps')
    for name, phase in config.phases.items():
        _check_phase(f'phases.{name}', phase, problems)
    return problems


def _as_read(text: str) -> str:
    """A text without what no encoder sees: capitals, and how words are set apart."""
    return ' '.join(text.casefold().split())


def _check_guidance(config: AdaptationConfig, problems: _Problems) -> None:
    require = problems.require
    target, source = config.target_text, config.source_text
    require(
        config.has_image or bool(target or source or config.references),
        'reference.image',
        'is not set; give the file of the reference picture, or a target_text and a source_text',
    )
    require(bool(target) or not source, 'target_text', 'is not set beside source_text; say what the target domain is')
    require(bool(source) or not target, 'source_text', 'is not set beside target_text; say what the source domain is')
    same = _as_read(target) == _as_read(source)
    require(not target or not same, 'target_text', 'is the same as source_text, so it leads nowhere')
    require(bool(config.prompt_templates), 'prompt_templates', "is empty; '{}' is the text alone")
    for template in config.prompt_templates:
        require(template.count('{}') == 1, 'prompt_templates', f'{template!r} does not hold {{}} once, for the text')
    require(0 <= config.text_weight <= 1, 'text_weight', 'must lie in [0, 1]')
    require(
        not target or any(phase.steps and phase.weights.dir for phase in config.phases.values()),
        'target_text',
        'has no effect where no phase has a weights.dir above 0: texts guide by direction alone',
    )
    require(
        config.has_image or not config.has_text or config.direction_whitening == 0,
        'direction_whitening',
        'must be 0 where texts alone guide: it is about the direction to a reference.image',
    )
    for name, phase in config.phases.items():
        for loss in ('dis', 'fine', 'crisp', 'palette', 'pair'):
            require(
                config.has_image or not config.has_text or getattr(phase.weights, loss) == 0,
                f'phases.{name}.weights.{loss}',
                'must be 0 where texts alone guide: it compares with a reference.image',
            )


def _check_domains(config: AdaptationConfig, problems: _Problems) -> None:
    require = problems.require
    require(config.domain_rank >= 1, 'domain_rank', 'must be at least 1')
    if not config.references:
        return
    require(len(config.references) > 1, 'references', 'is one domain alone; give it as reference.image')
    require(not config.has_image, 'reference.image', 'is set beside references; give one or the other')
    require(not config.has_text, 'target_text', 'is set beside references; texts guide one domain alone')
    for name, domain in config.references.items():
        require(
            re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*', name) is not None,
            'references',
            f'{name!r} is no name of a domain: letters, digits and underscores, a letter first',
        )
        require(bool(domain.image), f'references.{name}.image', 'is not set; give the file of the reference picture')
        for loss, factor in vars(domain.factors).items():
            require(factor >= 0, f'references.{name}.factors.{loss}', 'must not be negative')
        require(domain.rate > 0, f'references.{name}.rate', 'must be above 0')
    have_strokes = any(domain.strokes for domain in config.references.values())
    for name, phase in config.phases.items():
        told = 'asks for strokes, which no domain has; leave them out, or set strokes of one of the references'
        require(have_strokes or not phase.strokes, f'phases.{name}.strokes', told)


def _check_camera(camera: CameraOverrides, problems: _Problems) -> None:
    fov, radius = camera.fov_degrees, camera.radius
    problems.require(fov is None or 0 < fov < 180, 'camera.fov_degrees', 'must lie in (0, 180)')
    problems.require(radius is None or radius > 0, 'camera.radius', 'must be positive')
    problems.require(
        camera.distribution is None or camera.distribution in POSE_DISTRIBUTIONS,
        'camera.distribution',
        f'must be one of {", ".join(POSE_DISTRIBUTIONS)}',
    )
    for name in ('yaw_std', 'pitch_std'):
        deviation = getattr(camera, name)
        problems.require(deviation is None or deviation >= 0, f'camera.{name}', 'must not be negative')


def _check_phase(name: str, phase: PhaseConfig, problems: _Problems) -> None:
    require, weights = problems.require, phase.weights
    require(phase.steps >= 0, f'{name}.steps', 'must not be negative')
    require(phase.learning_rate > 0, f'{name}.learning_rate', 'must be positive')
    require(0 <= phase.final_rate <= 1, f'{name}.final_rate', 'must lie in [0, 1]')
    require(bool(phase.trained), f'{name}.trained', f'is empty; name parts of the generator ({", ".join(STAGES)})')
    for prefix in phase.trained:
        known = prefix.split('.')[0] in STAGES
        require(known, f'{name}.trained', f'{prefix!r} is no part of the generator ({", ".join(STAGES)})')
    for loss, weight in vars(weights).items():
        require(weight >= 0, f'{name}.weights.{loss}', 'must not be negative')
    require(any(vars(weights).values()), f'{name}.weights', 'are all 0: there is nothing to train on')
    require(
        weights.fstr == 0 or not phase.trained or phase.trains('decoder') or phase.trains('backbone'),
        f'{name}.weights.fstr',
        'must be 0 where neither decoder nor backbone is trained: nothing else changes the feature image',
    )
    require(
        weights.of_images or not phase.trains('superresolution'),
        f'{name}.trained',
        'superresolution learns nothing where weights.fstr alone is above 0',
    )
    resolution = phase.render_resolution
    require(resolution is None or resolution >= 1, f'{name}.render_resolution', 'must be at least 1')
    require(phase.updates >= 1, f'{name}.updates', 'must be at least 1')
