"""What else people have: every network of a file, pickles of other times and hands, and plain state dicts."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

import convert.eg3d
import eg3d_jax
from convert import ConversionError
from convert.eg3d_sources import NETWORKS, PUBLISHED, preset_config
from convert.persistence import named_tensors, read_modules
from convert.testing import eg3d_entries, eg3d_pickle

ENTRIES = 150  # of the small generator that are no filters


class Calling:
    """Pickled as a call of `function` with `args`."""

    def __init__(self, function: Any, *args: Any):
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


def python_2_dump(content: Any, file: Any, protocol: int) -> None:
    eg3d_pickle.Python2Pickler(file).dump(content)


@pytest.fixture
def arrays(small_arguments) -> dict[str, np.ndarray]:
    """Of the generator that `write_snapshot` writes."""
    return eg3d_entries.random_arrays(eg3d_entries.generator_entries(small_arguments), 0)


@pytest.fixture
def expected(write_snapshot, tmp_path) -> dict[str, np.ndarray]:
    """The weights that the unchanged generator is converted to."""
    convert.eg3d.convert(write_snapshot(lambda generator, _: generator), tmp_path / 'expected')
    return load_file(tmp_path / 'expected' / 'weights.safetensors')


def assert_converts(source: Path, expected: dict[str, np.ndarray], **options: Any) -> None:
    """The converted weights are bit for bit these."""
    output = source.parent / 'out'
    report = convert.eg3d.convert(source, output, True, check=True, **options)
    assert report.compared == len(report.used) == ENTRIES
    weights = load_file(output / 'weights.safetensors')
    assert weights.keys() == expected.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def refused(source: Path, **options: Any) -> str:
    output = source.parent / 'refused'
    with pytest.raises(ConversionError) as caught:
        convert.eg3d.convert(source, output, **options)
    assert not output.exists()
    return str(caught.value)


class TestNetworks:
    def test_each_is_its_own(self, small_pickle, small_arguments, tmp_path):
        for seed, network in enumerate(('G_ema', 'G')):
            convert.eg3d.convert(small_pickle, tmp_path / network, network=network)
            written = eg3d_entries.random_arrays(eg3d_entries.generator_entries(small_arguments), seed)
            weights = load_file(tmp_path / network / 'weights.safetensors')
            np.testing.assert_array_equal(weights['decoder.net.0.bias'], written['decoder.net.0.bias'])

    def test_discriminator(self, small_pickle, small_arguments, tmp_path):
        report = convert.eg3d.convert(small_pickle, tmp_path / 'D', network='D', check=True)
        entries = eg3d_entries.discriminator_entries(small_arguments)
        written = eg3d_entries.random_arrays(entries, 2)
        filters = {name for name in entries if name.endswith('resample_filter')}
        assert set(report.used) == set(report.filled) == entries.keys() - filters
        assert {name for names in report.ignored.values() for name in names} == filters
        discriminator = eg3d_jax.load_discriminator(tmp_path / 'D')
        assert discriminator.config.image_resolution == small_arguments['img_resolution']
        weights = load_file(tmp_path / 'D' / 'weights.safetensors')
        np.testing.assert_array_equal(
            weights['b128.fromrgb.weight'], written['b128.fromrgb.weight'].transpose(2, 3, 1, 0)
        )
        np.testing.assert_array_equal(weights['b4.fc.weight'], written['b4.fc.weight'].T)
        record = json.loads((tmp_path / 'D' / 'conversion.json').read_text())
        assert (record['kind'], record['network'], record['used']) == ('discriminator', 'D', len(report.used))

    def test_a_descendant_without_discriminator(self, write_snapshot, tmp_path):
        source = write_snapshot(lambda generator, _: generator)
        assert 'has no D, as published EG3D files do; it holds G_ema' in refused(source, network='D')
        assert "no network 'E'; expected one of G_ema, G, D" in refused(source, network='E')

    def test_another_discriminator_is_refused(self, small_arguments, arrays, tmp_path):
        with eg3d_pickle.reference_modules() as reference, (tmp_path / 'it.pkl').open('wb') as file:
            pickle.dump({'D': eg3d_pickle.generator(reference, small_arguments, arrays, 64).backbone}, file)
        assert "a 'Generator' as its D, which is no dual discriminator" in refused(tmp_path / 'it.pkl', network='D')


class TestPickles:
    """Of the same network, so that the result must be the same."""

    def test_python_2(self, write_snapshot, expected, monkeypatch):
        monkeypatch.setattr(pickle, 'dump', python_2_dump)
        source = write_snapshot(lambda generator, _: generator)
        content = source.read_bytes()
        assert b'X' + (5).to_bytes(4, 'little') + b'G_ema' not in content
        assert b'U\x05G_ema' in content  # a string of bytes
        source.write_bytes(content.replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'))
        assert_converts(source, expected)

    @pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4, 5])
    def test_every_protocol(self, write_snapshot, expected, protocol):
        assert_converts(write_snapshot(lambda generator, _: generator, protocol), expected)

    def test_of_a_machine_with_cuda(self, write_snapshot, expected, monkeypatch):
        monkeypatch.setattr(torch.serialization, 'location_tag', lambda storage: 'cuda:3')
        source = write_snapshot(lambda generator, _: generator)
        assert b'cuda:3' in source.read_bytes()
        assert_converts(source, expected)

    def test_non_contiguous_and_shared_storages(self, write_snapshot, expected):
        def change(generator, reference):
            layer = generator.decoder.net[0]
            layer.weight = torch.nn.Parameter(layer.weight.t().contiguous().t())
            shared = torch.cat([torch.zeros(5), *(part.bias for part in generator.decoder.net[::2])])
            for part, start in zip(generator.decoder.net[::2], (5, 5 + len(layer.bias)), strict=True):
                part.bias = torch.nn.Parameter(shared[start : start + len(part.bias)])
            wide = torch.zeros(*generator.superresolution.block1.conv1.weight.shape[:3], 7)
            wide[..., ::3] = generator.superresolution.block1.conv1.weight
            generator.superresolution.block1.conv1.weight = torch.nn.Parameter(wide[..., ::3])
            return generator

        assert_converts(write_snapshot(change), expected)

    def test_storages_without_a_type(self, write_snapshot, expected):
        def change(generator, reference):
            for layer in generator.decoder.net[::2]:
                storage, shape = layer.bias.untyped_storage(), tuple(layer.bias.shape)
                others = (0, shape, (1,), False, OrderedDict(), torch.float32)
                layer._parameters['bias'] = Calling(torch._utils._rebuild_tensor_v3, storage, *others)
            return generator

        source = write_snapshot(change)
        assert b'UntypedStorage' in source.read_bytes()
        assert_converts(source, expected)

    def test_tensors_with_attributes(self, write_snapshot, expected):
        def change(generator, reference):
            generator.decoder.net[0].bias.note = 'a parameter with state'
            generator.backbone.mapping.w_avg.note = 'a tensor with state'
            return generator

        source = write_snapshot(change)
        for name in (b'_rebuild_parameter_with_state', b'_rebuild_from_type_v2'):
            assert name in source.read_bytes()
        assert_converts(source, expected)

    def test_extra_keys(self, small_arguments, arrays, expected, tmp_path):
        optimiser = torch.optim.Adam([parameter := torch.nn.Parameter(torch.ones(2))])
        parameter.sum().backward()
        optimiser.step()
        extra = {
            'args': argparse.Namespace(rate=0.1, path=Path('data') / 'it', tags={'a'}),
            'optimizer': optimiser.state_dict(),
            'history': defaultdict(list, loss=[1.0, 2.0]),
            'means': np.arange(6.0).reshape(2, 3),
            'device': torch.device('cpu'),
            'size': torch.ones(2, 3).shape,
            'loss': torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()),
            'window': (slice(1, 2), range(3), 2j, b'bytes', bytearray(b'it'), frozenset({1})),
        }
        with eg3d_pickle.reference_modules() as reference, (tmp_path / 'it.pkl').open('wb') as file:
            generator = eg3d_pickle.generator(reference, small_arguments, arrays, 64)
            pickle.dump({**extra, 'G_ema': generator, 'seed': 3}, file)
        assert_converts(tmp_path / 'it.pkl', expected)

    @pytest.mark.filterwarnings("ignore:Couldn't retrieve source code:UserWarning")
    def test_written_by_torch_save(self, small_arguments, arrays, expected, tmp_path):
        for archive in (True, False):
            with eg3d_pickle.reference_modules() as reference:
                generator = eg3d_pickle.generator(reference, small_arguments, arrays, 64)
                torch.save({'G_ema': generator}, tmp_path / 'it.pkl', _use_new_zipfile_serialization=archive)
            assert_converts(tmp_path / 'it.pkl', expected)

    @pytest.mark.parametrize('version', [1, 5, 6])
    def test_persistence_versions(self, write_snapshot, expected, version, monkeypatch):
        monkeypatch.setattr(eg3d_pickle, 'PERSISTENCE_VERSION', version)
        assert_converts(write_snapshot(lambda generator, _: generator), expected)

    def test_an_unknown_persistence_version(self, write_snapshot, monkeypatch):
        monkeypatch.setattr(eg3d_pickle, 'PERSISTENCE_VERSION', 7)
        message = refused(write_snapshot(lambda generator, _: generator))
        assert 'persistent objects of version 7; known are versions up to 6' in message

    def test_nested_archives_are_read_as_pytorch_reads_weights_only(self, small_pickle):
        """They go through a weights-only loader of ours, which runs nothing; PyTorch's own finds the same in each."""
        with small_pickle.open('rb') as file:
            content = read_modules(file)
            networks = [named_tensors(content[name]) for name in NETWORKS]
            storages = [tensor.storage for tensors in networks for tensor in tensors.values()]
            assert len(storages) > 3 * ENTRIES / 2
            for storage in storages:
                theirs = torch.load(io.BytesIO(storage.payload.read()), weights_only=True)
                assert storage.values().tobytes() == bytes(theirs._untyped_storage)


class TestPresets:
    @pytest.fixture
    def state(self, arrays) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    @pytest.fixture
    def config(self, expected, tmp_path) -> str:
        """A config of ours, of the small network."""
        return str(tmp_path / 'expected' / 'config.json')

    @pytest.mark.parametrize('ending', ['.pt', '.pth', '.safetensors'])
    def test_state_dict(self, state, expected, config, tmp_path, ending):
        path = tmp_path / f'it{ending}'
        save_file(state, path) if ending == '.safetensors' else torch.save(state, path)
        assert 'does not say what network it is of; name it with --preset (ffhq512-64, ' in refused(path)
        assert_converts(path, expected, preset=config)

    @pytest.mark.parametrize(
        'wrap',
        [
            lambda state: {'G_ema': state, 'step': 3},
            lambda state: {'state_dict': state},
            lambda state: OrderedDict((f'module.{name}', tensor) for name, tensor in state.items()),
        ],
        ids=['network', 'state_dict', 'parallel'],
    )
    def test_wrapped(self, state, expected, config, tmp_path, wrap: Callable[..., Any]):
        torch.save(wrap(state), tmp_path / 'it.pt')
        assert_converts(tmp_path / 'it.pt', expected, preset=config)

    def test_with_constructor_arguments_inside(self, state, expected, small_arguments, tmp_path):
        inside = {'G_ema': state, 'init_kwargs': small_arguments, 'neural_rendering_resolution': 64}
        torch.save(inside, tmp_path / 'it.pt')
        assert_converts(tmp_path / 'it.pt', expected)
        config = json.loads((tmp_path / 'out' / 'config.json').read_text())
        assert config == json.loads((tmp_path / 'expected' / 'config.json').read_text())

    def test_half_precision_stays_exact(self, state, config, tmp_path):
        half = {name: tensor.half() for name, tensor in state.items()}
        save_file(half, tmp_path / 'it.safetensors')
        report = convert.eg3d.convert(tmp_path / 'it.safetensors', tmp_path / 'out', check=True, preset=config)
        assert report.compared == ENTRIES
        weights = load_file(tmp_path / 'out' / 'weights.safetensors')
        np.testing.assert_array_equal(weights['decoder.net.0.bias'], half['decoder.net.0.bias'].numpy())

    def test_discriminator(self, small_arguments, tmp_path):
        written = eg3d_entries.random_arrays(eg3d_entries.discriminator_entries(small_arguments), 0)
        torch.save({name: torch.from_numpy(array) for name, array in written.items()}, tmp_path / 'it.pt')
        config = {'image_resolution': 128, 'channel_base': 1024, 'channel_max': 8}
        (tmp_path / 'D.json').write_text(json.dumps(config))
        preset = str(tmp_path / 'D.json')
        convert.eg3d.convert(tmp_path / 'it.pt', tmp_path / 'D', network='D', preset=preset, check=True)
        eg3d_jax.load_discriminator(tmp_path / 'D')
        assert 'convert it with --network=D' in refused(tmp_path / 'it.pt', preset=preset)

    def test_generator_as_discriminator(self, state, config, tmp_path):
        torch.save(state, tmp_path / 'it.pt')
        assert 'convert it with --network=G_ema' in refused(tmp_path / 'it.pt', network='D', preset=config)

    def test_names(self):
        assert len(PUBLISHED) == 6
        for name, ours in PUBLISHED.items():
            image, neural = (int(digits) for digits in re.findall(r'\d+', name))
            config = preset_config(name, 'G_ema')
            assert config == eg3d_jax.PRESETS[ours] == preset_config(ours, 'G')
            assert (config.image_resolution, config.rendering.neural_resolution) == (image, neural)
            assert preset_config(name, 'D') == eg3d_jax.DiscriminatorConfig(image_resolution=image)

    def test_wrong_presets(self, state, write_snapshot, config, tmp_path):
        torch.save(state, tmp_path / 'it.pt')
        assert '--preset=ffhq is unknown; known are ffhq512-64' in refused(tmp_path / 'it.pt', preset='ffhq')
        assert 'is no config of such a network' in refused(tmp_path / 'it.pt', preset='absent.json')
        assert 'does not fit the model in ' in refused(tmp_path / 'it.pt', preset='shapenetcars128-64')
        source = write_snapshot(lambda generator, _: generator)
        assert 'so it takes no --preset' in refused(source, preset=config)

    def test_pickle_without_constructor_arguments(self, write_snapshot, expected, config):
        def change(generator, reference):
            del generator._init_kwargs
            return generator

        source = write_snapshot(change)
        assert 'does not say what its G_ema was made with' in refused(source)
        assert_converts(source, expected, preset=config)
