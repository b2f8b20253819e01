"""The run that is evaluated: its config, its inputs and its adapter, from its working directory."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation.adapter import INFO_FILE, WEIGHTS_FILE, load_leaves
from adaptation.config import AdaptationConfig, read_config
from adaptation.domain_codes import DomainError, chosen_code
from adaptation.errors import AdaptationError, ConfigError
from adaptation.evaluation.heads import HeadSampling
from adaptation.inputs import Inputs, load_inputs
from adaptation.leaves import matching, with_leaves
from adaptation.workdir import Workdir
from eg3d_jax import TriPlaneGenerator
from eg3d_jax.files import read_json


@dataclass(frozen=True)
class Run:
    """What an adaptation left.

    Attributes:
        config: its settings.
        inputs: source generator, encoders, cameras, and the reference, of several that of the domain chosen.
        adapted: the adapted generator.
        own_backbone: whether mapping or backbone were adapted too.
        finished: whether all of its steps are done.
        steps: how many are.
        hashes: of inputs and adapter.
    """

    config: AdaptationConfig
    inputs: Inputs
    adapted: TriPlaneGenerator
    own_backbone: bool
    finished: bool
    steps: int
    hashes: dict[str, str]

    def sampling(self, seed: int) -> HeadSampling:
        """Heads as the run was trained on."""
        config = self.config
        return HeadSampling(seed, config.truncation_psi, config.conditioning, self.inputs.camera)


def load_run(root: Path, domain: Mapping[str, float] | None = None) -> Run:
    """Reads a working directory of `adaptation.main`.

    Args:
        root: the directory.
        domain: weights by domain, where the run adapted to several.

    Raises:
        ConfigError: it is none, what its config names is missing or has changed, or it has no such domain.
        AdaptationError: it has no adapter yet, or one that is damaged or of another source.
    """
    config = _read_config(root)
    try:
        chosen_code(domain, config.domains)
    except DomainError as error:
        raise ConfigError([f'--domain: {root}: {error}']) from None
    for name in (INFO_FILE, WEIGHTS_FILE):
        if not (root / name).is_file():
            raise AdaptationError(f'{root} has no {name} yet: run its adaptation to the end, or copy both files there.')
    try:
        inputs = load_inputs(config)
    except ConfigError as error:
        raise ConfigError([f'{root / "config.json"}: {problem}' for problem in error.problems]) from None
    leaves = load_leaves(inputs.generator, root, domain)
    _refuse_changed(root, inputs)
    info = read_json(root / INFO_FILE)
    digest = hashlib.sha256((root / WEIGHTS_FILE).read_bytes()).hexdigest()
    return Run(
        config=config,
        inputs=inputs if domain is None else inputs.of_domain(domain),
        adapted=with_leaves(inputs.generator, leaves),
        own_backbone=bool(matching(tuple(leaves), 'backbone')),
        finished=bool(info.get('finished', True)),
        steps=int(info.get('steps', 0)),
        hashes={**inputs.hashes, 'adapter': digest},
    )


def _read_config(root: Path) -> AdaptationConfig:
    file = Workdir(root).config
    if not root.is_dir():
        raise ConfigError([f'--workdir: there is no folder {root}'])
    if not file.is_file():
        raise ConfigError([f'--workdir: {root} has no {file.name}, so it is no run of python -m adaptation.main'])
    try:
        values: Any = read_json(file)
        return read_config(values)
    except ConfigError as error:
        raise ConfigError([f'{file}: {problem}' for problem in error.problems]) from None
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _refuse_changed(root: Path, inputs: Inputs) -> None:
    """Refuses encoders and references that are not those of the run (the generator's hash is the adapter's)."""
    file = Workdir(root).inputs
    try:
        before = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigError([f'{file} cannot be read ({error}): copy it from the run again']) from None
    problems = [
        f'{root / "config.json"}: what config.{name} names has changed since the run; put it back'
        for name, value in inputs.hashes.items()
        if not isinstance(before, dict) or before.get(name) != value
    ]
    if problems:
        raise ConfigError(problems)
