"""The default that needs no download: a procedural world of heads, and the networks trained on it."""

from pathlib import Path

_WEIGHTS = Path(__file__).resolve().parent / 'weights'


def weights_directory(name: str) -> Path:
    """Returns the directory of the shipped network `name` (for example 'generator').

    Raises:
      FileNotFoundError: no network of that name is shipped; the message lists those that are.
    """
    directory = _WEIGHTS / name
    if (directory / 'config.json').is_file():
        return directory
    shipped = sorted(path.parent.name for path in _WEIGHTS.glob('*/config.json'))
    raise FileNotFoundError(f"The miniature ships no network '{name}'; it ships: {', '.join(shipped) or 'none'}.")
