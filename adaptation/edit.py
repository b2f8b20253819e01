"""Edits heads of a source and of its adapted generator alike: along principal directions of w, or towards a text.

    python -m adaptation.edit --workdir=runs/sketch --edit="a big smile:+2" --edit="pca3:-1.5" --seeds=0-3 --output=DIR
        [--domain=NAME] [--source=S] [--clip=S,S] [--template=T] [--neutral=T] [--truncation=1.0] [--samples=512]
        [--columns=5]

Writes a strip for each edit: for each seed, the source's head above the adapted one, from minus the strength at the
left to the strength at the right. A strength of 1 is one standard deviation of w along the direction. `pca1` is the
direction in which heads vary most; any other name is a text for CLIP, which is put into --template at {}. A text with
words that the encoder does not know is refused.

What CLIP confuses, the direction mixes: the miniature's encoders see skin and the lightness of hair well, and take
colours along when they are asked for glasses or a smile.

Exit codes: 0 finished, 1 failed, 2 flags refused, 130 interrupted.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adaptation.commands import DOMAIN_HELP, Parser, domain_weights, entries, finite_number, run_command
from adaptation.config import MINIATURE
from adaptation.errors import AdaptationError, ConfigError
from adaptation.generation.seeds import latents
from adaptation.generation.seeds import parse_seeds as seeds_of

if TYPE_CHECKING:
    import argparse

    from adaptation.editing import Direction, Reader
    from eg3d_jax import CameraConfig, TriPlaneGenerator

PROGRAM = 'python -m adaptation.edit'
MOST_SEEDS = 64  # rows of a strip, two for each
MOST_COLUMNS = 21
BATCH = 4
# What a text is put into, and what says nothing: the miniature's captions have one form, and other CLIPs read any.
TEMPLATES = {True: 'a photo of a head with {}', False: 'a photo of a face, {}'}
NEUTRAL = {True: 'a photo of a head', False: 'a photo of a face'}

_COMPONENT = re.compile(r'pca(\d+)')


@dataclass(frozen=True)
class Edit:
    """What is asked for: a name and the strength at the right end of the strip, in standard deviations."""

    name: str
    strength: float

    @property
    def component(self) -> int | None:
        """The number of the principal direction, from 1; None: the name is a text."""
        match = _COMPONENT.fullmatch(self.name)
        return int(match[1]) if match else None

    @property
    def file(self) -> str:
        """A file name made of the name's letters and digits."""
        return (re.sub(r'\W+', '_', self.name).strip('_') or 'edit') + '.png'


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    return run_command(_edit, argv)


def _edit(arguments: Sequence[str]) -> None:
    flags = _parse(arguments)
    edits = [parse_edit(text) for text in flags.edit]
    _refuse_one_file_for_two(edits)
    seeds = parse_seeds(flags.seeds)

    from adaptation.adapter import load_adapted, load_source  # only now: it imports JAX
    from adaptation.provenance import camera_overrides, generator_of, run_config, with_overrides
    from eg3d_jax import CheckpointError

    config = run_config(flags.workdir)
    try:
        source = load_source(flags.source or generator_of(flags.workdir))
    except CheckpointError as error:
        raise AdaptationError(f'the source cannot be loaded: {error}') from None
    adapted = load_adapted(source, flags.workdir, flags.domain)
    readers: tuple[Reader, ...] = ()
    if any(edit.component is None for edit in edits):
        clip = flags.clip or (config.clip if config else MINIATURE)
        miniature = set(entries(clip)) == {MINIATURE}
        flags.template = flags.template or TEMPLATES[miniature]
        flags.neutral = flags.neutral or NEUTRAL[miniature]
        readers = _readers(entries(clip), edits, flags)
    if flags.truncation is None:
        flags.truncation = config.truncation_psi if config else 1.0
    camera = with_overrides(camera_overrides(flags.workdir), source.config.camera)
    directions = _directions(source, camera, readers, edits, flags)
    for edit, direction in zip(edits, directions, strict=True):
        path = _draw_strip(edit, direction, source, adapted, camera, seeds, flags)
        print(f'{path}: {_said(edit, direction)}', flush=True)


def _parse(arguments: Sequence[str]) -> 'argparse.Namespace':
    parser = Parser(PROGRAM, __doc__)
    add = parser.add_argument
    add('--workdir', type=Path, required=True, metavar='DIR', help='of a run, or any adapter')
    add('--edit', action='append', required=True, metavar='NAME:STRENGTH', help='may be repeated')
    add('--seeds', default='0-3', metavar='N-N', help="of the heads: '7', '0-15', '3,5,8' (default 0-3)")
    add('--output', type=Path, required=True, metavar='DIR', help='where the strips are written')
    add('--source', metavar='S', help='the generator that was adapted (default: the one that the run names)')
    add('--domain', type=domain_weights, metavar='NAME', help=DOMAIN_HELP)
    add('--clip', metavar='S,S', help='encoders that read the texts (default: those of the run)')
    add('--template', metavar='T', help="what a text is put into at {}, such as 'a photo of a head with {}'")
    add('--neutral', metavar='T', help="what an edit is compared with, such as 'a photo of a head'")
    add('--truncation', type=finite_number, metavar='X', help="of the heads, in [0, 1] (default: the run's)")
    add('--samples', type=int, default=512, metavar='N', help='pictures that a text is compared with (default 512)')
    add('--columns', type=int, default=5, metavar='N', help='strengths in a strip, an odd number (default 5)')
    flags = parser.read(arguments)
    problems = []
    if flags.template is not None and flags.template.count('{}') != 1:
        problems.append(f'--template: {flags.template!r} does not hold {{}} once, for the text')
    if flags.truncation is not None and not 0 <= flags.truncation <= 1:
        problems.append('--truncation: must lie in [0, 1]')
    if flags.samples < 64:
        problems.append('--samples: must be at least 64, for the 32 directions that a text is made of')
    if flags.columns % 2 == 0 or not 3 <= flags.columns <= MOST_COLUMNS:
        problems.append(f'--columns: must be an odd number from 3 to {MOST_COLUMNS}')
    if problems:
        raise ConfigError(problems)
    return flags


def parse_edit(text: str) -> Edit:
    """An edit from 'name:strength'.

    Raises:
        ConfigError: it is none.
    """
    name, colon, strength = text.rpartition(':')
    try:
        edit = Edit(name.strip(), finite_number(strength))
    except ValueError:
        colon = ''
    if not colon or not edit.name or not edit.strength:
        wanted = "give a name and a strength other than 0, such as 'pca3:-1.5'"
        raise ConfigError([f'--edit: {text!r} is no edit: {wanted}'])
    if edit.component == 0:
        raise ConfigError([f'--edit: {text!r}: components are counted from 1'])
    return edit


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds of a strip's heads; see `adaptation.generation.seeds`.

    Raises:
        ConfigError: the text names none, or too many.
    """
    try:
        return seeds_of(text, MOST_SEEDS)
    except ValueError as error:
        raise ConfigError([f'--seeds: {error}']) from None


def _refuse_one_file_for_two(edits: Sequence[Edit]) -> None:
    files = [edit.file for edit in edits]
    if twice := [edit.name for edit in edits if files.count(edit.file) > 1]:
        names = ' and '.join(map(repr, twice))
        raise ConfigError([f'--edit: {names} would be written to one file; ask for one of them'])


def _readers(clips: Sequence[str], edits: Sequence[Edit], flags: 'argparse.Namespace') -> tuple['Reader', ...]:
    """The encoders, which know every word that is asked for."""
    import clip_jax
    from adaptation.editing import Reader
    from adaptation.inputs import encoder_directories
    from adaptation.prompts import prompt_problems

    texts = [edit.name for edit in edits if edit.component is None]
    readers, problems = [], []
    try:
        for directory in encoder_directories(clips):
            clip = clip_jax.load_clip(directory)
            reader = Reader(clip, clip_jax.load_tokenizer(directory, clip.config.text.context_length))
            asked = [('--edit', text, flags.template) for text in texts] + [('--neutral', flags.neutral, '{}')]
            for flag, text, template in asked:
                problems += [f'{flag}: {problem}' for problem in prompt_problems(*reader, text, (template,))]
            readers.append(reader)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f'--clip: {error}']) from None
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return tuple(readers)


def _directions(
    source: 'TriPlaneGenerator',
    camera: 'CameraConfig',
    readers: tuple['Reader', ...],
    edits: Sequence[Edit],
    flags: 'argparse.Namespace',
) -> list['Direction']:
    from tqdm import tqdm

    from adaptation.editing import pca_directions, text_directions

    components = [edit.component for edit in edits if edit.component is not None]
    texts = [edit.name for edit in edits if edit.component is None]
    try:
        principal = pca_directions(source, max(components), camera=camera) if components else ()
    except ValueError as error:
        raise ConfigError([f'--edit: {error}']) from None
    try:
        found = text_directions(
            source,
            readers,
            texts,
            flags.neutral,
            template=flags.template,
            samples=flags.samples,
            batch_size=BATCH,
            camera=camera,
            watch=partial(tqdm, desc='looking at heads', unit='batch', disable=not sys.stderr.isatty()),
        )
    except ValueError as error:
        raise AdaptationError(f'{error}.') from None
    read = iter(found)
    return [next(read) if edit.component is None else principal[edit.component - 1] for edit in edits]


def _said(edit: Edit, direction: 'Direction') -> str:
    """What is known about a direction."""
    if edit.component is not None:
        return f'{direction.explained:.1%} of the variance of w'
    said = f"explains {direction.explained:.0%} of CLIP's opinion (by chance {direction.chance:.0%})"
    return said + ('; do not expect it to work' if direction.explained < 2 * direction.chance else '')


def _draw_strip(
    edit: Edit,
    direction: 'Direction',
    source: 'TriPlaneGenerator',
    adapted: 'TriPlaneGenerator',
    camera: 'CameraConfig',
    seeds: Sequence[int],
    flags: 'argparse.Namespace',
) -> Path:
    """For each seed a row of the source and one of the adapted generator, strengths from left to right."""
    import jax.numpy as jnp
    import numpy as np

    from adaptation.editing import edit as move
    from adaptation.samples import save_picture
    from adaptation.step import frontal_cameras
    from adaptation.strips import compose, draw

    strengths = np.linspace(-edit.strength, edit.strength, flags.columns)
    z = jnp.asarray(latents(seeds, source.config.z_dim))
    rows: list[np.ndarray] = []
    for generator in (source, adapted):
        ws = generator.mapping(z, frontal_cameras(len(seeds), camera), flags.truncation)
        repeated = jnp.repeat(ws, len(strengths), axis=0)  # [N, L, D] -> [N strengths, L, D]
        each = jnp.asarray(np.tile(strengths, len(seeds)), jnp.float32)[:, None, None]
        images = draw(generator, move(repeated, direction, each), camera, BATCH)
        rows.append(images.reshape(len(seeds), len(strengths), *images.shape[1:]))
    pairs = [list(row) for pair in zip(*rows, strict=True) for row in pair]
    names = [f'{which} {seed}' for seed in seeds for which in ('source', 'adapted')]
    columns = ['as it is' if strength == 0 else f'{edit.name} {strength:+.2g}' for strength in strengths]
    save_picture(flags.output / edit.file, compose(pairs, columns, names))
    return flags.output / edit.file


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
