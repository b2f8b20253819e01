"""The way of a user's own checkpoints at full size: time and peak memory of each command.

    python -m benchmarks.full_size [--directory=DIR]

Random FFHQ 512 x 512, ViT-B/32 and ViT-B/16 checkpoints in the published formats are converted, and guide one step of
each phase of `configs/ffhq512_sketch.py` with batches of 1. Needs about 4 GB in the directory (by default a temporary
one), and exits with 1 if a command fails or takes more memory than it may.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw

EG3D_FILE = 'ffhq512-128.pkl'
VIT_B_32_DIRECTORY = 'ViT-B-32'
VIT_B_16_FILE = 'ViT-B-16.pt'
CONVERSION_LIMIT = 2.5  # times the size of the source
ADAPTATION_LIMIT = 16 * 2**30  # bytes
RSS_UNIT = 1 if sys.platform == 'darwin' else 1024  # of ru_maxrss


@dataclasses.dataclass(frozen=True)
class Step:
    """A command, and the peak memory in bytes that it may reach."""

    name: str
    arguments: tuple[str, ...]
    limit: float = float('inf')


def conversion(module: str, source: Path) -> Step:
    """Converts a checkpoint into a directory beside it."""
    files = [source] if source.is_file() else [path for path in source.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    output = source.with_name(f'{source.stem}-converted')
    arguments = ('-m', module, f'--source={source}', f'--output={output}')
    return Step(f'{module} {source.name} ({size / 2**20:.0f} MiB)', arguments, CONVERSION_LIMIT * size)


def adaptation(directory: Path) -> Step:
    """One step of each phase; few samples, since they only take time."""
    encoders = ','.join(str(directory / f'{Path(name).stem}-converted') for name in (VIT_B_32_DIRECTORY, VIT_B_16_FILE))
    settings = {
        'generator': directory / f'{Path(EG3D_FILE).stem}-converted',
        'clip': encoders,
        'reference.image': draw_reference(directory / 'reference.png'),
        'phases.phase1.steps': 1,
        'phases.phase2.steps': 1,
        'source_samples': 2,
        'sample_heads': 1,
    }
    arguments = ('-m', 'adaptation.main', '--config=configs/ffhq512_sketch.py', f'--workdir={directory / "run"}')
    fields = tuple(f'--config.{name}={value}' for name, value in settings.items())
    return Step('adaptation.main, one step of each phase', arguments + fields, ADAPTATION_LIMIT)


def draw_reference(path: Path) -> Path:
    """Some picture to adapt to: what it shows changes neither time nor memory."""
    image = Image.new('RGB', (512, 512), 'white')
    draw = ImageDraw.Draw(image)
    draw.ellipse((130, 80, 380, 430), outline='black', width=6)
    draw.arc((200, 280, 310, 360), 20, 160, fill='black', width=5)
    image.save(path)
    return path


def measure(step: Step) -> bool:
    """Runs a command, prints its time and peak memory, and says whether it succeeded within its limit."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:  # a pipe could fill up
        process = subprocess.Popen([sys.executable, *step.arguments], stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode(errors='replace')
    peak = usage.ru_maxrss * RSS_UNIT
    good = process.returncode == 0 and peak < step.limit
    verdict = f'exit code {process.returncode}' if process.returncode else 'good' if good else 'TOO MUCH'
    limit = '' if step.limit == float('inf') else f' of {step.limit / 2**20:6.0f} allowed'
    print(f'{step.name:52} {time.monotonic() - start:7.1f} s  {peak / 2**20:6.0f} MiB{limit:20}  {verdict}', flush=True)
    if process.returncode:
        print(printed, file=sys.stderr)
    return good


def main(directory: Path) -> bool:
    """Runs all commands; whether all were good."""
    if not measure(Step('writing', ('-m', 'benchmarks.random_checkpoints', f'--output={directory}'))):
        return False
    conversions = [
        conversion('convert.eg3d', directory / EG3D_FILE),
        conversion('convert.clip', directory / VIT_B_32_DIRECTORY),
        conversion('convert.clip', directory / VIT_B_16_FILE),
    ]
    results = [measure(step) for step in conversions]
    return all(results) and measure(adaptation(directory))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--directory', type=Path, help='an existing directory, in which everything is left')
    options = parser.parse_args()
    if options.directory:
        sys.exit(not main(options.directory.resolve()))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(not main(Path(temporary)))
