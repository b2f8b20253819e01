"""What a benchmark leaves: a Markdown file for readers, and a JSON of every number beside it."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Record = Mapping[str, Any]  # of one run; `style` is among its fields


class Row(NamedTuple):
    """Of a table."""

    heading: str
    form: str  # of a number, such as '.1f'
    value: Callable[[Record], float]


def command_line(module: str, arguments: Sequence[str] | None) -> str:
    """The command that a reader types; None: the arguments are the program's own."""
    return ' '.join(['python', '-m', module, *(sys.argv[1:] if arguments is None else arguments)])


def spread(values: Sequence[float], form: str) -> str:
    """Median, least and largest."""
    return f'{np.median(values):{form}} ({min(values):{form}} to {max(values):{form}})'


def style_table(records: Sequence[Record], rows: Iterable[Row]) -> str:
    """Markdown: a column for each style; median, least and largest of its runs."""
    styles = list(dict.fromkeys(record['style'] for record in records))
    lines = ['| | ' + ' | '.join(styles) + ' |', '| --- |' + ' --- |' * len(styles)]
    for row in rows:
        values = {style: [row.value(record) for record in records if record['style'] == style] for style in styles}
        lines.append(f'| {row.heading} | ' + ' | '.join(spread(values[style], row.form) for style in styles) + ' |')
    return '\n'.join(lines)


def write_records(output: Path, text: str, records: Any) -> None:
    """Writes the text to `output` and the records (of JSON types) beside it, and prints the text."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    output.with_suffix('.json').write_text(json.dumps(records, indent=2) + '\n')
    print(text)
