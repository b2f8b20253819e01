"""Both notebooks are executed whole: `adapt` on the miniature with few steps, `method` on tiny networks."""

import base64
import io
import zipfile
from typing import Any

import imageio_ffmpeg
import nbformat
import numpy as np
import pytest
import trimesh
from PIL import Image

import adaptation
from miniature import weights_directory
from notebooks.execute import EXECUTED, FOLDER, read, with_parameters

VIEWS = 4  # as many as are drawn at a time on a CPU: one compiled program draws pictures, film and texture
FRAMES = 4
LARGEST = 1.5 * 2**20  # bytes of a committed notebook
PICTURES = ('image/png', 'image/jpeg')  # the better first


def code(notebook: nbformat.NotebookNode) -> list[Any]:
    """The cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def outputs_of(notebook: nbformat.NotebookNode, text: str) -> list[Any]:
    """Outputs of the one code cell that holds this text."""
    (cell,) = [cell for cell in code(notebook) if text in cell.source]
    return cell.outputs


def said(notebook: nbformat.NotebookNode, stream: str) -> str:
    """All that the cells wrote to a stream; each print may be an output of its own."""
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return ''.join(output.text for output in outputs if output.get('name') == stream)


def pictures(outputs: list[Any]) -> list[np.ndarray]:
    """The picture of each output that has one: the PNG, where it is there as a JPEG too."""
    held = [output.data[next(kind for kind in PICTURES if kind in output.data)] for output in outputs if _drawn(output)]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert('RGB')) for data in held]


def _drawn(output: Any) -> bool:
    return any(kind in output.get('data', {}) for kind in PICTURES)


@pytest.mark.slow
def test_adapt_runs_whole(run):
    few = {'STEPS': 0.01, 'SAMPLE_HEADS': 1, 'SOURCE_SAMPLES': 1, 'SEEDS': '0', 'VIEWS': VIEWS, 'FRAMES': FRAMES}
    one_encoder = {'CLIP': str(weights_directory('clip_patch16'))}
    notebook, directory = run('adapt', {**few, **one_encoder, 'MESH_RESOLUTION': 32, 'TEXTURE': 256})
    assert 'Warning' not in said(notebook, 'stderr')
    root = directory / 'runs' / 'notebook'

    picture, curves = pictures(outputs_of(notebook, 'with watch('))
    assert np.array_equal(picture, np.asarray(Image.open(sorted((root / 'samples').glob('*.png'))[-1])))
    assert curves.std() > 1  # drawn
    generator = adaptation.load_adapted('miniature', root)  # the adapter fits
    (grid,) = pictures(outputs_of(notebook, 'grid.save('))
    side = generator.config.image_resolution
    assert grid.shape == (2 * side, VIEWS * side, 3)  # source above adapted
    assert np.abs(grid[:side].astype(int) - grid[side:]).mean() > 0.5  # it did learn something

    (video,) = outputs_of(notebook, 'turntable.mp4')
    assert 'data:video/mp4;base64' in video.data['text/html']
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(root / 'results' / 'turntable.mp4'))
    assert frames == FRAMES
    (part,) = trimesh.load_scene(root / 'results' / 'head.glb').geometry.values()
    assert len(part.faces) > 100
    shown = outputs_of(notebook, 'head.glb')
    assert 'watertight: True' in said(notebook, 'stdout')
    assert 'text/html' in shown[-1].data
    with zipfile.ZipFile(root / 'results.zip') as packed:
        assert {'adapter.safetensors', 'results/head.glb', 'results/turntable.mp4'} <= set(packed.namelist())


@pytest.mark.slow
def test_method_runs_whole(run, tiny_experiment):
    few = {'STEPS': 0.5, 'SHORT_STEPS': 1.0, 'LEFT_OUT': 'dis', 'SOURCE_SAMPLES': 4}
    notebook, _ = run('method', {'CONFIG': str(tiny_experiment), **few})
    assert 'Warning' not in said(notebook, 'stderr')
    drawing = [cell for cell in code(notebook) if '\nshow(' in cell.source or '\nstructure_picture(' in cell.source]
    assert len(drawing) == 14
    for cell in drawing:
        (picture,) = pictures(cell.outputs)
        assert picture.std() > 1, cell.source
    edges, *printed = said(notebook, 'stdout').splitlines()
    assert float(edges.removeprefix('new edges: ')) >= 0
    table = {line[:10].strip(): list(map(float, line[10:].split())) for line in printed[1:4]}
    assert list(table) == ['source', 'all', 'no TDL']
    direction, _, image, features, fine, hues, own = table['source']  # which has not moved yet
    assert direction == pytest.approx(2.0, abs=1e-2)  # two encoders
    assert abs(image) < 1e-2
    assert abs(features) < 1e-2
    assert min(fine, hues, own) > 0.01  # no losses of a move: the source's are those of photos
    assert table['all'] != table['no TDL']
    assert [line.split()[0] for line in printed[4:]] == ['source', 'adapted']  # consistency between views


@pytest.mark.parametrize('name', EXECUTED)
def test_the_committed_notebook_is_that_of_its_script(name: str):
    file = FOLDER / f'{name}.ipynb'
    committed, written = nbformat.read(file, as_version=4), read(name)
    nbformat.validate(committed)
    assert [cell.source for cell in committed.cells] == [cell.source for cell in written.cells]
    outputs = [output for cell in code(committed) for output in cell.outputs]
    assert bool(outputs) == EXECUTED[name]
    assert not [output for output in outputs if output.output_type == 'error']
    assert file.stat().st_size < LARGEST


def test_both_notebooks_install_alike():
    first, second = (
        next(cell.source for cell in code(read(name)) if 'pip' in cell.source) for name in ('method', 'adapt')
    )
    assert second.startswith(first)  # adapt mounts a drive after it


def test_parameters_that_a_notebook_does_not_have_are_refused():
    with pytest.raises(ValueError, match='NO_SUCH'):
        with_parameters(read('adapt'), {'NO_SUCH': 1})
