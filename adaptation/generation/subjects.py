"""What a command draws from: the adapted generator of a run, its source, or a generator by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adaptation.adapter import INFO_FILE, AdapterError, load_leaves, load_source
from adaptation.config import MINIATURE, CameraOverrides
from adaptation.domain_codes import in_words
from adaptation.errors import AdaptationError
from adaptation.generation.strength import at_strength
from adaptation.provenance import camera_overrides, generator_of, with_overrides
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
        workdir: of a run, a mix, or an adapter, whose adapted generator is drawn; None: the generator alone.
        generator: what `load_source` takes; None: the one that the run, the mix or the adapter.json names, or without
            a workdir the miniature.
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
    if workdir is not None and not (workdir / INFO_FILE).exists():
        raise AdapterError(
            f'{workdir} holds no adapter yet: a run writes it at its checkpoints and at its end; let it go on first.'
        )
    overrides = CameraOverrides() if workdir is None else camera_overrides(workdir)
    try:
        source = load_source(source_name(workdir, generator))
    except CheckpointError as error:
        raise AdaptationError(f'{error}' if generator else f'{error} (name the generator by --generator)') from None
    return Subject(SOURCE, SOURCE, source, with_overrides(overrides, source.config.camera))


def source_name(workdir: Path | None, generator: str | None) -> str:
    """What the source is called: as it was named, as the run or the adapter.json says, or alone the miniature.

    Raises:
        AdapterError: nothing says so, or the config or adapter.json that should is damaged.
    """
    return generator or (MINIATURE if workdir is None else generator_of(workdir, '--generator'))
