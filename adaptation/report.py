"""Makes one self-contained HTML page of a run: pictures, turning heads, losses, metrics, settings.

    python -m adaptation.report --workdir=runs/sketch [--evaluation=DIR] [--output=FILE] [--seed=0] [--heads=12]

The page is runs/sketch/report.html unless another is named. It loads nothing from elsewhere. Metrics are in it once
`python -m adaptation.evaluate` has measured them. Of a run of several domains, it shows them all: each reference with
its heads, and what was measured of each side by side. Exit codes: 0 done, 1 failed, 2 settings refused,
130 interrupted.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from adaptation.errors import AdaptationError, ConfigError, Interrupted
from adaptation.generation.defaults import LARGEST_SEED
from eg3d_jax.files import replacing

if TYPE_CHECKING:
    import numpy as np

    from adaptation.inputs import Inputs
    from adaptation.reporting.evaluation import Evaluation
    from adaptation.reporting.heads import Gallery
    from adaptation.reporting.page import Style
    from adaptation.reporting.records import Record

PROGRAM = 'python -m adaptation.report'
EVALUATE = 'python -m adaptation.evaluate'
EVALUATION = 'evaluation'  # the directory of it in a run's
OUTPUT = 'report.html'
HEADS, MOST_HEADS = 12, 64  # in each grid


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        workdir: the run's directory.
        evaluation: directory of the metrics, of several domains that of their directories; None: that in the run's, if
            it is there.
        output: the file that is written; None: in the run's directory.
        seed: of the heads that are drawn.
        heads: in each grid.
    """

    workdir: Path
    evaluation: Path | None = None
    output: Path | None = None
    seed: int = 0
    heads: int = HEADS

    @property
    def file(self) -> Path:
        """The file that is written."""
        return self.workdir / OUTPUT if self.output is None else self.output


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command with these arguments (default: the program's own) and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = parse(arguments)
        path = write_report(options)
    except AdaptationError as error:
        print(f'error: {error}', file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f'error: {error.filename or options.workdir}: {error.strerror or error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nInterrupted; no report was written.', file=sys.stderr)
        return Interrupted.exit_code
    print(f'report  {path} ({path.stat().st_size / 1e6:.1f} MB)')
    return 0


def parse(arguments: Sequence[str]) -> Options:
    """The options that the arguments ask for.

    Raises:
        ConfigError: an unknown argument, or a value that is refused.
    """
    parser = _Parser(prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', type=_path, required=True, help="the run's directory")
    parser.add_argument('--evaluation', type=_path, help=f'directory of metrics (default: {EVALUATION} in the workdir)')
    parser.add_argument('--output', type=_path, help=f'HTML file (default: {OUTPUT} in the workdir)')
    parser.add_argument('--seed', type=int, default=0, help='of the heads that are drawn')
    parser.add_argument('--heads', type=int, default=HEADS, help=f'in each grid (default: {HEADS})')
    options = Options(**vars(parser.parse_args(list(arguments))))
    if not 0 <= options.seed <= LARGEST_SEED:
        raise ConfigError([f'--seed: expected a number from 0 to {LARGEST_SEED}, got {options.seed}.'])
    if not 1 <= options.heads <= MOST_HEADS:
        raise ConfigError([f'--heads: expected a number from 1 to {MOST_HEADS}, got {options.heads}.'])
    if options.output is not None and options.output.is_dir():
        raise ConfigError([f'--output: {options.output} is a directory: name a file in it.'])
    return options


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def __init__(self, **settings: object):
        super().__init__(**settings, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f'{message}; see {PROGRAM} --help.'])


def _path(text: str) -> Path:
    if not text or '\0' in text:
        raise argparse.ArgumentTypeError(f'{text!r} is no path')
    return Path(text)


def write_report(options: Options, *, quiet: bool = False) -> Path:
    """Writes the report; an earlier one stays as it was until the new one is whole.

    Args:
        options: what is asked for.
        quiet: no progress bar.

    Returns:
        The file.

    Raises:
        ConfigError: there is no such run or evaluation, or what the run's config names cannot be read any more.
        AdaptationError: a file of the run is damaged, the reference is another than the run's, or nothing can be
            written where the report belongs.
        OSError: a file cannot be read.
    """
    from adaptation.reporting.records import read_record

    record = read_record(options.workdir)
    evaluations = _read_evaluations(options, record)
    _refuse_unwritable(options.file)

    from adaptation.inputs import load_inputs
    from adaptation.reporting.command import command_line, reproduce
    from adaptation.reporting.page import Contents, render

    inputs = load_inputs(record.config)
    _check_references(record, inputs)
    missing = [name for name in record.config.domains or ('',) if name not in evaluations]
    contents = Contents(
        record=record,
        styles=_styles(options, record, inputs, quiet),
        sample=_last_sample(record) if record.adapted is None else None,
        evaluations=evaluations,
        reproduction=reproduce(record.config, options.workdir),
        command=command_line(PROGRAM, _arguments(options)),
        evaluate=tuple(command_line(EVALUATE, _evaluating(options, name)) for name in missing),
    )
    _write(options.file, render(contents))
    return options.file


def _read_evaluations(options: Options, record: 'Record') -> 'dict[str, Evaluation]':
    """By what was measured: '' or, of several domains, a domain or a mixture."""
    from adaptation.reporting.evaluation import FILE, read_evaluation, read_evaluations

    directory = options.workdir / EVALUATION if options.evaluation is None else options.evaluation
    if record.config.references:
        found = read_evaluations(directory, record.config.domains)
        if not found and options.evaluation is not None:
            command = f'{EVALUATE} --workdir={options.workdir} --domain={record.config.domains[0]}'
            raise ConfigError([f'--evaluation: no directory in {directory} holds an {FILE}: make one with {command}.'])
        return found
    wanted = options.evaluation is not None or (directory / FILE).exists()
    return {'': read_evaluation(directory)} if wanted else {}


def _styles(options: Options, record: 'Record', inputs: 'Inputs', quiet: bool) -> tuple['Style', ...]:
    """What is shown of the run's style, or of each of its domains."""
    from adaptation.reporting.page import Style
    from adaptation.reporting.pictures import LARGEST_REFERENCE
    from adaptation.samples import target_picture, tile

    references = inputs.references or {'': target_picture(inputs, record.config)}
    galleries = {} if record.adapted is None else _draw(options, record, inputs, quiet)
    return tuple(
        Style(name, tile(picture, min(picture.shape[0], LARGEST_REFERENCE)), galleries.get(name))
        for name, picture in references.items()
    )


def _draw(options: Options, record: 'Record', inputs: 'Inputs', quiet: bool) -> 'dict[str, Gallery]':
    """The heads of each domain, or of '', the only style."""
    from adaptation.adapter import load_adapted
    from adaptation.progress import ProgressBar
    from adaptation.reporting.heads import Painter, images
    from adaptation.samples import make_generate

    domains = record.config.domains or ('',)
    adapted = {name: load_adapted(inputs.generator, options.workdir, name or None) for name in domains}
    with ProgressBar(images(options.heads, len(domains)), 'image', 'drawing heads', shown=not quiet) as progress:
        generate, batch_size = make_generate(record.config.truncation_psi), record.config.batch_size
        painter = Painter(inputs, inputs.generator, generate, batch_size=batch_size, drawn=progress.advance)
        return {
            name: painter.of(inputs.of_domain({name: 1.0}) if name else inputs, each).gallery(
                options.heads, options.seed
            )
            for name, each in adapted.items()
        }


def _check_references(record: 'Record', inputs: 'Inputs') -> None:
    config = record.config
    images = {'reference.image': config.reference.image}  # neither has a hash of one where texts alone guided
    images |= {f'references.{name}.image': reference.image for name, reference in config.references.items()}
    for field, image in images.items():
        if record.hashes.get(field) != inputs.hashes.get(field):
            raise AdaptationError(
                f'config.{field}: {image} is another picture than the one that the run in {record.workdir.root} '
                'adapted to: put that one back.'
            )


def _last_sample(record: 'Record') -> 'np.ndarray | None':
    """The last sample picture of a run that has no adapter yet, if it has drawn one."""
    import numpy as np
    from PIL import Image

    paths = sorted(record.workdir.sample(0).parent.glob('*.png'))
    if not paths:
        return None
    try:
        with Image.open(paths[-1]) as picture:
            return np.asarray(picture.convert('RGB'))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a damaged PNG
        raise AdaptationError(f'{paths[-1]} is damaged ({error}): move it away to do without it.') from None


def _arguments(options: Options) -> list[str]:
    """The command's arguments that these options stand for."""
    paths = {name: getattr(options, name) for name in ('workdir', 'evaluation', 'output')}
    given = [f'--{name}={path}' for name, path in paths.items() if path is not None]
    return [*given, f'--seed={options.seed}', f'--heads={options.heads}']


def _evaluating(options: Options, domain: str) -> list[str]:
    """The arguments that measure a domain, or ''."""
    return [f'--workdir={options.workdir}', *([f'--domain={domain}'] if domain else [])]


def _refuse_unwritable(path: Path) -> None:
    """Tries to write where the report belongs, before minutes are spent on it; leaves nothing behind."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def _write(path: Path, page: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(page, encoding='utf-8')
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> AdaptationError:
    return AdaptationError(f'cannot write {path}: {error.strerror or error}: give another --output.')


if __name__ == '__main__':
    from eg3d_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
