"""Published EG3D pickles, from writers of our own, through the converter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import convert.eg3d
import eg3d_jax
from adaptation.adapter import load_source, save_adapter
from adaptation.leaves import fingerprint, named_leaves
from convert import ConversionError
from convert.testing import eg3d_entries, eg3d_pickle

FIXTURES = Path(__file__).parents[1] / 'fixtures'
NETWORKS = ('eg3d_ffhq512-128', 'eg3d_shapenetcars128-64')
TRUNCATION_PSI = {'eg3d_ffhq512-128': 0.7, 'eg3d_shapenetcars128-64': 1.0}
CUTOFF = 14
TOLERANCE = 2e-5  # as in the generator's own parity tests


def ours(name: str, array: np.ndarray) -> np.ndarray:
    """An array in this project's layout: HWC constants, HWIO kernels, in-by-out linear weights."""
    if name.endswith('.const'):
        return array.transpose(1, 2, 0)
    if name.endswith('.weight'):
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return array


def assert_holds(directory: Path, expected: dict[str, np.ndarray]) -> None:
    """The weights are exactly these, given in PyTorch's layout, and nothing else."""
    weights = load_file(directory / 'weights.safetensors')
    assert sorted(weights) == sorted(name for name in expected if not name.endswith('resample_filter'))
    for name, array in weights.items():
        np.testing.assert_array_equal(array, ours(name, expected[name]), err_msg=name)


def fails(source: Path, output: Path) -> str:
    """The message of a conversion that fails and leaves nothing behind."""
    with pytest.raises(ConversionError) as caught:
        convert.eg3d.convert(source, output)
    assert str(caught.value).startswith(f'{source}: ')
    assert list(output.parent.glob(f'*{output.name}*')) == []
    return str(caught.value)


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def description(network: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f'{network}.json').read_text())


@pytest.mark.parametrize('network', NETWORKS)
def test_writers_have_the_published_entries(network):
    published = description(network)
    for kind, entries_of in (
        ('generator', eg3d_entries.generator_entries),
        ('discriminator', eg3d_entries.discriminator_entries),
    ):
        written = entries_of(published['init_kwargs'])
        assert {name: [list(entry.shape), entry.kind] for name, entry in written.items()} == {
            name: rest for name, *rest in published[kind]
        }


@pytest.mark.parametrize(('resolution', 'protocol'), [(128, 2), (128, 3), (256, 4), (512, 5)])
def test_exact_and_complete(tmp_path, resolution, protocol):
    arguments = eg3d_entries.arguments(resolution, channel_base=1024, channel_max=8, width=16)
    written = eg3d_pickle.write_pickle(
        tmp_path / 'it.pkl', arguments, neural_resolution=48, protocol=protocol, whole=False
    )
    report = convert.eg3d.convert(tmp_path / 'it.pkl', tmp_path / 'out')

    assert_holds(tmp_path / 'out', written)
    filters = {name for name in written if name.endswith('resample_filter')}
    assert set(report.used) == set(report.filled) == written.keys() - filters
    assert {name for names in report.ignored.values() for name in names} == filters
    assert report.values == sum(written[name].size for name in report.used)
    assert report.notes == ()
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'config.json',
        'conversion.json',
        'weights.safetensors',
    ]

    config = eg3d_jax.load_generator(tmp_path / 'out').config
    assert config == eg3d_jax.GeneratorConfig.from_init_kwargs(arguments, 48)
    assert config.image_resolution == resolution


def test_whole_file_gives_the_moving_average(small_pickle, small_arguments, tmp_path):
    convert.eg3d.convert(small_pickle, tmp_path / 'out')
    entries = eg3d_entries.generator_entries(small_arguments)
    assert_holds(tmp_path / 'out', eg3d_entries.random_arrays(entries, 0))  # G and D have other seeds


def test_numpy_1_names(write_snapshot, tmp_path):
    path = write_snapshot(lambda generator, _: generator, protocol=3)
    content = path.read_bytes()
    assert b'cnumpy._core.multiarray\n' in content
    path.write_bytes(content.replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'))
    assert len(convert.eg3d.convert(path, tmp_path / 'out').used) == 150


def test_what_the_network_ran_with_last_counts(write_snapshot, tmp_path):
    def change(generator, reference):
        generator.rendering_kwargs['depth_resolution'] = 20
        generator.neural_rendering_resolution = 32
        return generator

    convert.eg3d.convert(write_snapshot(change), tmp_path / 'out')
    rendering = eg3d_jax.load_generator(tmp_path / 'out').config.rendering
    assert (rendering.depth_resolution, rendering.neural_resolution) == (20, 32)


def test_unknown_arguments_are_noted(write_snapshot, tmp_path):
    def change(generator, reference):
        generator._init_kwargs['sparkle'] = np.float64(3)
        return generator

    report = convert.eg3d.convert(write_snapshot(change), tmp_path / 'out')
    assert len(report.notes) == 1
    assert 'sparkle' in report.notes[0]
    assert report.notes[0] in str(report)


def test_members_outside_of_the_state_dict_do_not_matter(write_snapshot, tmp_path):
    def change(generator, reference):
        generator.backbone.register_buffer('scratch', torch.ones(3), persistent=False)
        generator.backbone.register_parameter('absent', None)
        generator.backbone.add_module('nothing', None)
        generator.backbone.grid = np.arange(6).reshape(2, 3)
        return generator

    for protocol in (4, 5):  # NumPy writes arrays in two ways
        report = convert.eg3d.convert(write_snapshot(change, protocol), tmp_path / f'out{protocol}')
        assert len(report.used) == 150


def test_all_misfits_at_once(write_snapshot, tmp_path):
    def change(generator, reference):
        generator.decoder.net[0].register_parameter('extra', torch.nn.Parameter(torch.ones(2)))
        generator.decoder.net[2].bias = torch.nn.Parameter(torch.ones(7))
        generator.superresolution.block0.conv0.weight = torch.nn.Parameter(torch.ones(5))
        generator.backbone.mapping.fc0.weight = torch.nn.Parameter(torch.ones(16, 32, dtype=torch.float64))
        generator.backbone.synthesis.b8.resample_filter.mul_(2)
        del generator.backbone.mapping.w_avg
        return generator

    message = fails(write_snapshot(change), tmp_path / 'out')
    assert 'in 6 places' in message
    for problem in (
        'decoder.net.0.extra [2] is unknown',
        'decoder.net.2.bias [7] does not fit decoder.net.2.bias [33]',
        'superresolution.block0.conv0.weight [5] does not fit superresolution.block0.conv0.weight [3, 3, 32, 128]',
        'backbone.mapping.fc0.weight is float64, which float32 cannot hold exactly',
        'backbone.synthesis.b8.resample_filter has not the value that the model takes for granted',
        'backbone.mapping.w_avg [16] is missing',
    ):
        assert problem in message


def test_other_networks_are_refused(small_arguments, write_snapshot, tmp_path):
    def discriminator(generator, reference):
        entries = eg3d_entries.discriminator_entries(small_arguments)
        return eg3d_pickle.discriminator(reference, small_arguments, eg3d_entries.random_arrays(entries, 1))

    assert "a 'DualDiscriminator' as its G_ema" in fails(write_snapshot(discriminator), tmp_path / 'out')
    backbone = write_snapshot(lambda generator, _: generator.backbone)
    assert "a 'Generator' as its G_ema" in fails(backbone, tmp_path / 'out')
    assert 'its G_ema is a int' in fails(write_snapshot(lambda generator, _: 3), tmp_path / 'out')


def test_unsupported_constructor_arguments_are_refused(write_snapshot, tmp_path):
    def change(key, value):
        def apply(generator, reference):
            generator.rendering_kwargs[key] = value
            return generator

        return write_snapshot(apply)

    assert 'clamp_mode' in fails(change('clamp_mode', 'relu'), tmp_path / 'out')
    assert 'ray_start' in fails(change('ray_start', 'auto'), tmp_path / 'out')
    assert 'superresolution_module' in fails(change('superresolution_module', 'training.Other'), tmp_path / 'out')
    assert 'not supported' in fails(change('depth_resolution', [1]), tmp_path / 'out')
    assert 'not supported' in fails(change('depth_resolution', float('inf')), tmp_path / 'out')


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (b'', 'is no pickle'),
        (b'<!DOCTYPE html><html>', 'is no pickle'),
        (b'PK\x03\x04 a zip file', 'is damaged or cut short'),
        (b'\x80\x04}.', 'has no G_ema, as published EG3D files do; it holds nothing'),
        (b'\x80\x04K\x01.', 'has no G_ema, as published EG3D files do; it holds a int'),
        (b'\x80\x04garbage', 'is damaged or cut short'),
    ],
)
def test_other_files_are_refused(tmp_path, content, expected):
    (tmp_path / 'it.pkl').write_bytes(content)
    assert expected in fails(tmp_path / 'it.pkl', tmp_path / 'out')


def test_no_file(tmp_path):
    assert fails(tmp_path / 'absent.pkl', tmp_path / 'out').endswith('does not exist.')
    (tmp_path / 'directory.pkl').mkdir()
    assert 'holds no EG3D file' in fails(tmp_path / 'directory.pkl', tmp_path / 'out')


@pytest.mark.parametrize('part', [0.0001, 0.3, 0.9, 0.9999])
def test_cut_short(small_pickle, tmp_path, part):
    content = small_pickle.read_bytes()
    (tmp_path / 'cut.pkl').write_bytes(content[: int(part * len(content))])
    assert 'is damaged or cut short' in fails(tmp_path / 'cut.pkl', tmp_path / 'out')


def relative_error(actual: Any, expected: jax.Array) -> float:
    expected = np.asarray(expected)
    return float(np.sqrt(np.mean(np.square(np.asarray(actual) - expected))) / np.std(expected))


@pytest.mark.slow
@pytest.mark.usefixtures('optimised')
@pytest.mark.parametrize('network', NETWORKS)
def test_converted_generator_has_the_golden_outputs(network, tmp_path):
    """The whole way at full size: the weights of the golden outputs -> pickle -> converter -> generator -> outputs."""
    published = description(network)
    eg3d_pickle.write_pickle(
        tmp_path / 'it.pkl',
        published['init_kwargs'],
        neural_resolution=published['neural_rendering_resolution'],
        whole=False,
    )
    convert.eg3d.convert(tmp_path / 'it.pkl', tmp_path / 'out')
    generator = eg3d_jax.load_generator(tmp_path / 'out')
    with np.load(FIXTURES / f'{network}.npz') as file:
        arrays = {name: jnp.asarray(array) for name, array in file.items()}
    ws = generator.mapping(arrays['z'], arrays['c_cond'], TRUNCATION_PSI[network], CUTOFF)
    assert relative_error(ws, arrays['ws']) <= TOLERANCE
    # The programs of the generator's own parity tests, so that a run of all tests compiles them once.
    planes = jax.jit(lambda generator, ws: generator.planes(ws))(generator, ws)
    rendered = jax.jit(lambda generator, planes, camera: generator.render(planes, camera))(
        generator, planes, arrays['c']
    )
    image_raw = np.asarray(rendered.feature_image)[..., :3].transpose(0, 3, 1, 2)
    assert relative_error(image_raw, arrays['image_raw']) <= TOLERANCE
    image = jax.jit(lambda generator, feature_image, ws: generator.superresolve(feature_image, ws))(
        generator, rendered.feature_image, ws
    )
    step = image.shape[1] // arrays['image_strided'].shape[-1]
    image = np.asarray(image).transpose(0, 3, 1, 2)[:, :, ::step, ::step]
    assert relative_error(image, arrays['image_strided']) <= TOLERANCE


@pytest.mark.slow
def test_full_size_file_there_and_back_within_bounded_memory(peak_memory, tmp_path):
    """The largest published shape: converted, checked, and exported into a copy of the pickle."""
    source, output = tmp_path / 'ffhq512-128.pkl', tmp_path / 'out'
    written = eg3d_pickle.write_pickle(source, description('eg3d_ffhq512-128')['init_kwargs'])
    limit = 2.5 * source.stat().st_size
    assert peak_memory('convert.eg3d.convert(*sys.argv[1:], check=True)', source, output) < limit
    assert_holds(output, written)
    generator = load_source(output)
    leaves = {name: leaf + 1 for name, leaf in named_leaves(generator).items() if not name.startswith('backbone')}
    save_adapter(tmp_path / 'run', generator, leaves, fingerprint(generator), {})
    exported = tmp_path / 'adapted.pkl'
    assert peak_memory('convert.export.export(*sys.argv[1:])', tmp_path / 'run', output, exported) < limit
    convert.eg3d.convert(exported, tmp_path / 'again')
    adapted = load_file(tmp_path / 'run' / 'adapter.safetensors')
    before, after = (load_file(path / 'weights.safetensors') for path in (output, tmp_path / 'again'))
    for name, array in after.items():
        np.testing.assert_array_equal(array, adapted.get(name, before[name]), err_msg=name)
    assert len(adapted) == 36


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['.pkl', '.pt', '_flat.pt'])
def test_full_size_file_of_one_network_within_bounded_memory(peak_memory, ending, tmp_path):
    """A third of the size of a published file, beside the same program: hardly room to hold the network once."""
    source, arguments = tmp_path / f'it{ending}', description('eg3d_ffhq512-128')['init_kwargs']
    if ending == '.pkl':
        written = eg3d_pickle.write_pickle(source, arguments, whole=False)
    else:
        written = eg3d_entries.random_arrays(eg3d_entries.generator_entries(arguments), 0)
        state = as_tensors(written)
        if ending == '_flat.pt':
            parts = torch.cat([tensor.flatten() for tensor in state.values()]).split(
                [t.numel() for t in state.values()]
            )
            state = {name: part.view(state[name].shape) for name, part in zip(state, parts, strict=True)}
        torch.save({'init_kwargs': arguments, 'neural_rendering_resolution': 128, 'G_ema': state}, source)
    size = source.stat().st_size
    assert size < 130e6
    assert peak_memory('convert.eg3d.convert(*sys.argv[1:], check=True)', source, tmp_path / 'out') < 2.5 * size
    assert_holds(tmp_path / 'out', written)
