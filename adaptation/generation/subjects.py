"""What a command draws from: the adapted generator of a run, its source, or a generator by itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adaptation.adapter import INFO_FILE, AdapterError, load_leaves, load_source
from adaptation.config import MINIATURE
from adaptation.domain_codes import in_words
from adaptation.errors import AdaptationError
from adaptation.generation.strength import at_strength
from adaptation.workdir import Workdir
from eg3d_jax import CameraConfig, CheckpointError, TriPlaneGenerator

SOURCE, ADAPTED = 'source', 'adapted'


@dataclass(frozen=True)
class Subject:
    """name: 'source' or 'adapted', the directory of what is drawn. title: with its strength, for the metadata. camera:
    the run's, or else the generator's."""

    name: str
    title: str
    generator: TriPlaneGenerator
    camera: CameraConfig


def load_subjects(
    workdir: Path | None,
    generator: str | None,
    strength: float = 1.0,
    *,
    with_source: bool = False,
    domain: Mapping[str, float] | None = None,
) -> list[Subject]:
    """The generators to draw from, the source first.

    Args:
        workdir: a run's directory, whose adapted generator is drawn; None: the generator alone.
        generator: what `load_source` takes; None: the one that the run names, or the miniature.
        strength: of the adaptation.
        with_source: the run's source as well.
        domain: weights by domain, where the run adapted to several.

    Raises:
        AdaptationError: one of them is missing or damaged, or they do not belong together.
    """
    source = source_subject(workdir, generator)
    if workdir is None:
        return [source]
    adapted = at_strength(source.generator, load_leaves(source.generator, workdir, domain), strength)
    title = ADAPTED if strength == 1.0 else f'{ADAPTED}, strength {strength:g}'
    if domain is not None:
        title += f', domain {in_words(domain)}'
    return [*([source] if with_source else []), Subject(ADAPTED, title, adapted, source.camera)]


def source_subject(workdir: Path | None, generator: str | None) -> Subject:
    """The source of a run that has an adapter, or a generator alone; see `load_subjects`."""
    settings = _run_settings(workdir)
    named = str(generator or settings.get('generator') or MINIATURE)
    try:
        source = load_source(named)
    except CheckpointError as error:
        raise AdaptationError(f'{error}' if generator else f'{error} (name the generator by --generator)') from None
    camera = _camera(source.config.camera, settings.get('camera'))
    if workdir is not None and not (workdir / INFO_FILE).exists():
        raise AdapterError(
            f'{workdir} holds no adapter yet: a run writes it at its checkpoints and at its end; let it go on first.'
        )
    return Subject(SOURCE, SOURCE, source, camera)


def _run_settings(workdir: Path | None) -> dict[str, Any]:
    """The run's config; empty where there is only an adapter."""
    if workdir is None or not Workdir(workdir).config.exists():
        return {}
    path = Workdir(workdir).config
    try:
        settings = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise AdaptationError(f'{path} is damaged ({error}): copy the run again.') from None
    return settings if isinstance(settings, dict) else {}


def _camera(own: CameraConfig, overrides: Any) -> CameraConfig:
    """The generator's camera with what the run had changed."""
    given = overrides if isinstance(overrides, dict) else {}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return replace(own, **{name: value for name, value in values.items() if value is not None and hasattr(own, name)})
