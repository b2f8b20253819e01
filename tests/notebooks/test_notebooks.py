"""Both notebooks are executed whole on the miniature, with few steps."""

import base64
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import nbformat
import numpy as np
import pytest
import trimesh
from PIL import Image

import adaptation
from notebooks.execute import EXECUTED, FOLDER, execute, read, with_parameters

QUICK: dict[str, dict[str, Any]] = {
    'adapt': {
        'STEPS': 0.02,
        'SAMPLE_HEADS': 1,
        'SOURCE_SAMPLES': 2,
        'SEEDS': '0',
        'VIEWS': 2,
        'FRAMES': 4,
        'MESH_RESOLUTION': 48,
        'TEXTURE': 512,
    },
    'method': {'STEPS': 0.02, 'ABLATION_STEPS': 0.02, 'SOURCE_SAMPLES': 2, 'HEADS': 2},
}
# In the cells of the method's notebook that draw.
DRAWN = (
    'plane (x, y)',
    'row[0].set_ylabel(f',
    'along the domain direction',
    'rebuilt(costs',
    'no DDR',
    'phase 1: Tri-D',
)
LARGEST = 1.5 * 2**20  # bytes of a committed notebook


def outputs_of(notebook: nbformat.NotebookNode, text: str) -> list[Any]:
    """Outputs of the one code cell that holds this text."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == 'code' and text in cell.source]
    return cell.outputs


def printed(outputs: list[Any]) -> str:
    """What a cell wrote to standard output; each print may be an output of its own."""
    return ''.join(output.text for output in outputs if output.get('name') == 'stdout')


def pictures(outputs: list[Any]) -> list[np.ndarray]:
    """The PNGs among outputs."""
    found = [output.data['image/png'] for output in outputs if 'image/png' in output.get('data', {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB')) for data in found]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Executes a notebook with few steps: (the executed notebook, its directory)."""

    def run_one(name: str) -> tuple[nbformat.NotebookNode, Path]:
        directory = tmp_path_factory.mktemp(name)
        notebook = with_parameters(read(name), QUICK[name])
        with pytest.MonkeyPatch.context() as patch:
            paths = [str(FOLDER.parent), os.environ.get('PYTHONPATH', '')]
            patch.setenv('PYTHONPATH', os.pathsep.join(filter(None, paths)))
            patch.setenv('PATH', os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]))
            execute(notebook, directory)
        return notebook, directory

    return run_one


def said(notebook: nbformat.NotebookNode) -> str:
    """All that the cells wrote to standard error, but for the progress bar."""
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    return ''.join(output.text for output in outputs if output.get('name') == 'stderr')


@pytest.mark.slow
def test_adapt_runs_whole(run):
    notebook, directory = run('adapt')
    assert 'Warning' not in said(notebook)
    root = directory / 'runs' / 'notebook'

    picture, curves = pictures(outputs_of(notebook, 'with watch('))
    assert np.array_equal(picture, np.asarray(Image.open(sorted((root / 'samples').glob('*.png'))[-1])))
    assert curves.std() > 1  # drawn
    generator = adaptation.load_adapted('miniature', root)  # the adapter fits
    (grid,) = pictures(outputs_of(notebook, 'grid.save('))
    side = generator.config.image_resolution
    assert grid.shape == (2 * side, 2 * side, 3)  # two views, source above adapted
    assert np.abs(grid[:side].astype(int) - grid[side:]).mean() > 0.5  # it did learn something

    (video,) = outputs_of(notebook, 'turntable.mp4')
    assert 'data:video/mp4;base64' in video.data['text/html']
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(root / 'results' / 'turntable.mp4'))
    assert frames == QUICK['adapt']['FRAMES']
    head = trimesh.load_scene(root / 'results' / 'head.glb')
    (part,) = head.geometry.values()
    assert len(part.faces) > 100
    shown = outputs_of(notebook, 'head.glb')
    assert 'watertight: True' in printed(shown)
    assert 'text/html' in shown[-1].data
    with zipfile.ZipFile(root / 'results.zip') as packed:
        assert {'adapter.safetensors', 'results/head.glb', 'results/turntable.mp4'} <= set(packed.namelist())


@pytest.mark.slow
def test_method_runs_whole(run):
    notebook, _ = run('method')
    assert 'Warning' not in said(notebook)
    for text in (
        'plane (x, y)',
        'row[0].set_ylabel(f',
        'along the domain direction',
        'rebuilt(costs',
        'no DDR',
        'phase 1: Tri-D',
    ):
        assert min(picture.std() for picture in pictures(outputs_of(notebook, text))) > 1, text
    table = printed(outputs_of(notebook, 'no DDR')).splitlines()
    assert [len(line.split()) for line in table[1:2]] == [5]  # a title and four losses
    direction, _, image, features = map(float, table[1].split()[1:])  # of the source: it has not moved yet
    assert direction == pytest.approx(2.0, abs=1e-2)  # two encoders
    assert abs(image) < 1e-2
    assert abs(features) < 1e-2
    assert 'compared' in printed(outputs_of(notebook, 'reprojection('))


@pytest.mark.parametrize('name', EXECUTED)
def test_the_committed_notebook_is_that_of_its_script(name: str):
    file = FOLDER / f'{name}.ipynb'
    committed, written = nbformat.read(file, as_version=4), read(name)
    nbformat.validate(committed)
    assert [cell.source for cell in committed.cells] == [cell.source for cell in written.cells]
    outputs = [output for cell in committed.cells for output in cell.get('outputs', [])]
    assert EXECUTED[name] or not outputs
    assert not [output for output in outputs if output.output_type == 'error']
    assert file.stat().st_size < LARGEST


def test_parameters_that_a_notebook_does_not_have_are_refused():
    with pytest.raises(ValueError, match='NO_SUCH'):
        with_parameters(read('adapt'), {'NO_SUCH': 1})
