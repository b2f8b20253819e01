"""What a run is made of, and how it is announced."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jax
from jaxtyping import Array

from adaptation.adapter import WEIGHTS_FILE
from adaptation.config import AdaptationConfig
from adaptation.inputs import Inputs
from adaptation.phases import Phase
from adaptation.step import Sampling
from adaptation.workdir import Workdir


@dataclass(frozen=True)
class Plan:
    """What a run is made of, before anything is computed."""

    config: AdaptationConfig
    inputs: Inputs
    phases: tuple[Phase, ...]
    workdir: Workdir

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self.phases[-1].end

    @property
    def sampling(self) -> Sampling:
        """What it trains on."""
        config = self.config
        return Sampling(
            config.batch_size, config.truncation_psi, config.conditioning, self.inputs.camera, config.encoder_crop
        )

    @property
    def adapter(self) -> Path:
        """The run's result."""
        return self.workdir.root / WEIGHTS_FILE


def banner(this: Plan, parameters: dict[str, Array], done: int) -> list[str]:
    """What is about to happen."""
    config, inputs = this.config, this.inputs
    device = jax.devices()[0]
    visions = [clip.config.vision for clip in inputs.encoders]
    lines = [
        f'generator  {config.generator}: {_count(parameters.values())} parameters, '
        f'{inputs.generator.config.image_resolution} x {inputs.generator.config.image_resolution} pixels',
        *(
            f'encoder    patches of {vision.patch_size} in {vision.image_size} pixels, tokens after block {layer}'
            for vision, layer in zip(visions, inputs.layers, strict=True)
        ),
    ]
    if inputs.reference is not None:
        lines.append(f'reference  {config.reference.image}, {inputs.reference.shape[0]} pixels square')
    for name, picture in inputs.references.items():
        lines.append(f'{name:<9}  {config.references[name].image}, {picture.shape[0]} pixels square')
    if config.has_text:
        share = '' if inputs.reference is None else f', a share of {config.text_weight:g} of the direction'
        lines.append(
            f'texts      {config.target_text!r} instead of {config.source_text!r}, '
            f'{len(config.prompt_templates)} templates{share}'
        )
    for phase in this.phases:
        weights = ', '.join(f'{name} {value:g}' for name, value in vars(phase.settings.weights).items() if value)
        lines.append(
            f'{phase.name:<9}  {phase.settings.steps} steps train {_count(parameters[name] for name in phase.trained)} '
            f'parameters ({", ".join(phase.settings.trained)}) at rate {phase.settings.learning_rate:g}; {weights}'
        )
    lines.append(f'device     {device.platform} ({device.device_kind}), batches of {config.batch_size}')
    lines.append(f'workdir    {this.workdir.root}' + (f', resumed after step {done} of {this.steps}' if done else ''))
    return lines


def _count(leaves: Iterable[Array]) -> str:
    return f'{sum(leaf.size for leaf in leaves):,}'
