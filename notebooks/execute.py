"""Notebooks from their scripts: `notebooks/NAME.py` (jupytext's percent format) is edited, `NAME.ipynb` is written.

    python -m notebooks.execute

`adapt.ipynb` is written without outputs, `method.ipynb` is executed and written with its pictures.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent
EXECUTED = {'adapt': False, 'method': True}
KERNEL = {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}
PARAMETERS = 'parameters'  # tag of the cell that holds the settings
TIMEOUT = 3600  # seconds a cell
STARTUP = 600  # seconds until a kernel answers, or says what a cell printed, on a machine that is busy


def main() -> int:
    """Writes all notebooks and returns the exit code."""
    for name, executed in EXECUTED.items():
        notebook = read(name)
        if executed:
            print(f'executing {name}.ipynb', flush=True)
            execute(notebook, PROJECT)
        nbformat.write(notebook, FOLDER / f'{name}.ipynb')
        print(f'wrote {name}.ipynb', flush=True)
    return 0


def read(name: str) -> nbformat.NotebookNode:
    """The notebook of a script, without outputs; its cells have numbers for ids, so that it is the same every time."""
    notebook = jupytext.read(FOLDER / f'{name}.py')
    notebook.metadata = nbformat.from_dict({'kernelspec': KERNEL, 'language_info': {'name': 'python'}})
    for index, cell in enumerate(notebook.cells):
        cell['id'] = f'cell-{index}'
    return notebook


def with_parameters(notebook: nbformat.NotebookNode, values: Mapping[str, Any]) -> nbformat.NotebookNode:
    """Puts a cell with other settings behind the notebook's own.

    Raises:
        ValueError: the notebook's own cell does not set one of them.
    """
    index = next(i for i, cell in enumerate(notebook.cells) if PARAMETERS in cell.metadata.get('tags', ()))
    own = notebook.cells[index].source
    missing = [name for name in values if f'\n{name} = ' not in f'\n{own}']
    if missing:
        raise ValueError(f'the parameters cell does not set {", ".join(missing)}')
    source = '\n'.join(f'{name} = {value!r}' for name, value in values.items())
    notebook.cells.insert(index + 1, nbformat.v4.new_code_cell(source, id='injected-parameters'))
    return notebook


def execute(notebook: nbformat.NotebookNode, directory: Path) -> None:
    """Runs all cells in order, in this directory, and keeps their outputs, without times.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raises.
    """
    with tempfile.TemporaryDirectory() as sockets:
        # Sockets in the file system, where there are any: what is sent to a kernel over TCP, other users can read.
        kernel = AsyncKernelManager(
            kernel_name=KERNEL['name'],
            transport='tcp' if os.name == 'nt' else 'ipc',
            connection_file=str(Path(sockets) / 'kernel.json'),
        )
        client = NotebookClient(
            notebook,
            kernel,
            timeout=TIMEOUT,
            startup_timeout=STARTUP,
            iopub_timeout=STARTUP,
            resources={'metadata': {'path': str(directory)}},
            record_timing=False,
            coalesce_streams=True,  # progress bars leave their last line only
        )
        client.execute(cleanup_kc=True)  # the kernel ends with the notebook, though its manager is ours


if __name__ == '__main__':
    sys.exit(main())
