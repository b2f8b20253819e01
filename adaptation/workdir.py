"""A run's directory: where everything lies, and which run it belongs to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation.config import AdaptationConfig, flatten, read_config
from adaptation.errors import AdaptationError, ConfigError
from eg3d_jax.files import read_json, write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

GENERATOR_SETTINGS = 'generator.settings'  # a hash beside that of the weights, which older runs have not written

# What may differ when a run is resumed: these change no number, or name files whose contents are compared instead.
FREE_FIELDS = (
    'generator',
    'clip',
    'reference.image',
    'sample_heads',
    'intervals.log',
    'intervals.samples',
    'intervals.checkpoint',
)


@dataclass(frozen=True)
class Workdir:
    """Paths of a run's files. The adapter's two files lie in the root."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.root / 'config.json'

    @property
    def inputs(self) -> Path:
        """Hashes of the generator, the encoders and the reference."""
        return self.root / 'inputs.json'

    @property
    def metrics(self) -> Path:
        """One JSON object a line, one line a logged step."""
        return self.root / 'metrics.jsonl'

    @property
    def tensorboard(self) -> Path:
        """Directory of TensorBoard events."""
        return self.root / 'tensorboard'

    @property
    def checkpoints(self) -> Path:
        """Directory of Orbax checkpoints."""
        return self.root / 'checkpoints'

    @property
    def counterparts(self) -> Path:
        """The source's heads in the references, where a phase asks for the pair."""
        return self.root / 'counterparts.safetensors'

    @property
    def pairs(self) -> Path:
        """The references beside the source's heads in them, as a picture."""
        return self.root / 'pairs.png'

    def sample(self, step: int) -> Path:
        """The sample picture after this many steps."""
        return self.root / 'samples' / f'{step:06d}.png'

    @contextmanager
    def lock(self, flag: str = '--workdir') -> Iterator[None]:
        """Makes the directory if needed and keeps other processes out of it, until the block or the process ends.

        Where the system has no such locks (Windows, some network drives), none is taken. `flag` is what names the
        directory on the command line.

        Raises:
            AdaptationError: another process has it.
            OSError: it cannot be made.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        handle = os.open(self.root, os.O_RDONLY)  # the directory itself, so that no file is left in it
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AdaptationError(
                    f'another process is running in {self.root}: wait until it ends, or give another {flag}.'
                ) from None
            except OSError:
                pass  # a drive without locks
            yield
        finally:
            os.close(handle)

    def claim(self, config: AdaptationConfig, hashes: dict[str, str]) -> None:
        """Makes the directory this run's own, or checks that it is.

        Args:
            config: the run's settings.
            hashes: of its inputs, by the config field that names each, and by GENERATOR_SETTINGS.

        Raises:
            ConfigError: it belongs to a run of another config or of other inputs (names each field that differs), or to
                something else than a run.
            OSError: it cannot be written.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._refuse_foreign()
        if self.config.exists() and self.inputs.exists():
            problems = self._differences(config, hashes)
            if problems:
                advice = f'{self.root} holds a run of another config: put the fields back, or give another --workdir.'
                raise ConfigError([*problems, advice])
        write_json(self.inputs, hashes)
        write_json(self.config, config.to_dict())

    def _refuse_foreign(self) -> None:
        """Nothing is written into a directory that holds anything, unless it is a run's."""
        if self.config.exists() and self.inputs.exists():
            return
        found = sorted(path.name for path in self.root.iterdir() if path != self.inputs)  # written first, see `claim`
        if found:
            missing = self.inputs.name if self.config.exists() else self.config.name
            raise ConfigError(
                [f'--workdir: {self.root} holds {found[0]!r} but no {missing}, so it is no run: give a new one.']
            )

    def _differences(self, config: AdaptationConfig, hashes: dict[str, str]) -> list[str]:
        before = flatten(_with_defaults(_read_fields(self.config)))
        hashes_before = _read_fields(self.inputs)
        now = flatten(config.to_dict())
        problems = [
            f'config.{name}: {before.get(name)!r} when the run began, {now.get(name)!r} now'
            for name in sorted(before.keys() | now.keys())
            if not _is_free(name) and before.get(name) != now.get(name)
        ]
        if GENERATOR_SETTINGS in hashes:
            hashes_before.setdefault(GENERATOR_SETTINGS, hashes[GENERATOR_SETTINGS])
        return problems + [_changed(name) for name, value in hashes.items() if hashes_before.get(name) != value]


def _changed(name: str) -> str:
    if name == GENERATOR_SETTINGS:
        return 'config.generator: the config.json of what it names has changed since the run began'
    return f'config.{name}: what it names has changed since the run began'


def _is_free(name: str) -> bool:
    return name in FREE_FIELDS or (name.startswith('references.') and name.endswith('.image'))


def _with_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """A run that began before a field existed, at any depth, had what is its default now."""
    try:
        return read_config(fields).to_dict()
    except ConfigError:  # it has a field that exists no more: all that differs is told
        return {**AdaptationConfig().to_dict(), **fields}


def _read_fields(path: Path) -> dict[str, Any]:
    try:
        fields = read_json(path)
    except ValueError as error:
        raise ConfigError([f'{error}: give another --workdir.']) from None
    if not isinstance(fields, dict):
        raise ConfigError([f'{path} is damaged, it holds no group of fields: give another --workdir.'])
    return fields
