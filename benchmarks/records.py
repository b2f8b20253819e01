"""What a benchmark leaves: a Markdown file for readers, and a JSON of every number beside it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def command_line(module: str, arguments: Sequence[str] | None) -> str:
    """The command that a reader types; None: the arguments are the program's own."""
    return ' '.join(['python', '-m', module, *(sys.argv[1:] if arguments is None else arguments)])


def write_records(output: Path, text: str, records: Any) -> None:
    """Writes the text to `output` and the records (of JSON types) beside it, and prints the text."""
    output.write_text(text)
    output.with_suffix('.json').write_text(json.dumps(records, indent=2) + '\n')
    print(text)
