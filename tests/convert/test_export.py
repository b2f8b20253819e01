"""Adapted generators as PyTorch's users take them back: bit for bit, and nothing else touched."""

from __future__ import annotations

import json
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import convert.eg3d
import convert.export
import eg3d_jax
from adaptation.adapter import load_source, save_adapter
from adaptation.leaves import fingerprint, named_leaves
from convert import ConversionError
from convert.eg3d_names import DISCRIMINATOR, GENERATOR, discriminator_filters, generator_filters
from convert.eg3d_sources import PUBLISHED
from convert.engine import convert_arrays, model_shapes, restore_arrays
from convert.testing import eg3d_entries, eg3d_pickle

ADAPTED = ('decoder.', 'superresolution.')
FIXTURES = Path(__file__).parents[1] / 'fixtures'


@pytest.fixture(scope='session')
def directory(small_pickle, tmp_path_factory) -> Path:
    """The converted generator of the small pickle."""
    path = tmp_path_factory.mktemp('converted') / 'small'
    convert.eg3d.convert(small_pickle, path)
    return path


@pytest.fixture(scope='session')
def adapter(directory, tmp_path_factory) -> Path:
    """Tri-D and G2 of that generator with other numbers, the smallest one and negative zero among them."""
    path = tmp_path_factory.mktemp('run')
    source = load_source(directory)
    write_adapter(path, source, lambda name: name.startswith(ADAPTED))
    return path


def write_adapter(path: Path, source: eg3d_jax.TriPlaneGenerator, chosen: Callable[[str], bool]) -> None:
    rng = np.random.default_rng(0)
    leaves = {name: leaf for name, leaf in named_leaves(source).items() if chosen(name)}
    adapted = {name: rng.standard_normal(leaf.shape).astype(np.float32) for name, leaf in leaves.items()}
    for name, array in adapted.items():
        if name.endswith('bias'):
            array[:2] = [np.finfo(np.float32).smallest_subnormal, -0.0][: array.size]
    arrays = {name: jnp.asarray(array) for name, array in adapted.items()}
    save_adapter(path, source, arrays, fingerprint(source), {})


def published(name: str, array: np.ndarray) -> np.ndarray:
    """An adapted leaf in PyTorch's layout."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T if name.endswith('weight') else array


class Rebuilt(torch.nn.Module):
    """What the stand-in for EG3D's loader makes of a persistent object."""


@pytest.fixture
def torch_load() -> Iterator[Callable[[Path], dict[str, Any]]]:
    """EG3D's own way of loading, with PyTorch and Python's pickle: persistent objects become modules with their state.
    The sources inside are handed over as they are, and not run."""
    sources: list[str] = []

    class Loader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if name == '_reconstruct_persistent_obj':
                return self.rebuild
            if module.startswith(('training.', 'dnnlib')):
                return dict if name == 'EasyDict' else Rebuilt
            return super().find_class(module, name)

        def rebuild(self, meta: dict[str, Any]) -> torch.nn.Module:
            sources.append(meta['module_src'])
            module = Rebuilt()
            module.__dict__.update(meta['state'])
            return module

    def load(path: Path) -> dict[str, Any]:
        sources.clear()
        with path.open('rb') as file:
            content = Loader(file).load()
        assert set(sources) == {eg3d_pickle.MODULE_SOURCE}
        return content

    yield load


def bits(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        convert.export.export(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize('name', ['it.pt', 'it.safetensors', 'it.pkl'])
def test_a_full_disk(directory, adapter, tmp_path, name):
    """A limit on the size of files stands for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        message = refused(adapter, directory, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message.startswith(f'{tmp_path / name} cannot be written: ')
    assert message.endswith('; make room or choose another --output.')
    assert list(tmp_path.iterdir()) == []


class TestPickle:
    def test_only_the_adapted_arrays_change(self, small_pickle, directory, adapter, tmp_path, torch_load):
        exported = convert.export.export(adapter, directory, tmp_path / 'it.pkl')
        adapted = load_file(adapter / 'adapter.safetensors')
        assert set(exported.written) == set(adapted)
        assert exported.original == small_pickle.resolve()
        before, after = torch_load(small_pickle), torch_load(tmp_path / 'it.pkl')
        assert before.keys() == after.keys()
        for network in ('G', 'D', 'G_ema'):
            old, new = before[network].state_dict(), after[network].state_dict()
            assert list(old) == list(new)
            for name, tensor in new.items():
                changed = network == 'G_ema' and name in adapted
                expected = published(name, adapted[name]) if changed else old[name].numpy()
                assert bits(tensor.numpy()) == bits(expected), f'{network}.{name}'
            assert (old.keys() >= adapted.keys()) == (network != 'D')
        for key in ('rendering_kwargs', '_init_kwargs', 'neural_rendering_resolution'):
            assert after['G_ema'].__dict__[key] == before['G_ema'].__dict__[key]

    def test_byte_for_byte(self, small_pickle, directory, adapter, tmp_path):
        """Undoing the values in the bytes gives the original file."""
        convert.export.export(adapter, directory, tmp_path / 'it.pkl')
        before, after = (np.frombuffer(path.read_bytes(), np.uint8) for path in (small_pickle, tmp_path / 'it.pkl'))
        assert before.shape == after.shape
        differing = np.flatnonzero(before != after)
        values = sum(array.nbytes for array in load_file(adapter / 'adapter.safetensors').values())
        assert 0.9 * values < len(differing) <= values
        source = load_source(directory)
        unchanged = {name: leaf for name, leaf in named_leaves(source).items() if name.startswith(ADAPTED)}
        save_adapter(tmp_path / 'same', source, unchanged, fingerprint(source), {})
        convert.export.export(tmp_path / 'same', directory, tmp_path / 'same.pkl')
        assert (tmp_path / 'same.pkl').read_bytes() == small_pickle.read_bytes()

    def test_comes_back_as_the_adapted_generator(self, directory, adapter, tmp_path):
        convert.export.export(adapter, directory, tmp_path / 'it.pkl')
        convert.eg3d.convert(tmp_path / 'it.pkl', tmp_path / 'again')
        weights, before = (load_file(path / 'weights.safetensors') for path in (tmp_path / 'again', directory))
        adapted = load_file(adapter / 'adapter.safetensors')
        for name, array in weights.items():
            assert bits(array) == bits(adapted.get(name, before[name])), name

    def test_of_the_network_that_was_converted(self, small_pickle, tmp_path, torch_load):
        convert.eg3d.convert(small_pickle, tmp_path / 'G', network='G')
        write_adapter(tmp_path / 'run', load_source(tmp_path / 'G'), lambda name: name.startswith('decoder'))
        convert.export.export(tmp_path / 'run' / 'adapter.safetensors', tmp_path / 'G', tmp_path / 'it.pkl')
        before, after = torch_load(small_pickle), torch_load(tmp_path / 'it.pkl')
        name = 'decoder.net.0.weight'
        assert torch.equal(before['G_ema'].state_dict()[name], after['G_ema'].state_dict()[name])
        assert not torch.equal(before['G'].state_dict()[name], after['G'].state_dict()[name])

    @pytest.mark.parametrize('protocol', [3, 4, 5])
    def test_layouts_and_protocols(self, write_snapshot, tmp_path, protocol, torch_load):
        """Strided views and storages that hold more than a tensor keep their layout."""

        def change(generator, reference):
            layer = generator.decoder.net[0]
            layer.weight = torch.nn.Parameter(layer.weight.t().contiguous().t())
            flat = torch.cat([torch.zeros(3), layer.bias.data, torch.ones(4)])
            layer.bias = torch.nn.Parameter(flat[3:-4])
            return generator

        source = write_snapshot(change, protocol)
        convert.eg3d.convert(source, tmp_path / 'source')
        write_adapter(tmp_path / 'run', load_source(tmp_path / 'source'), lambda name: name.startswith(ADAPTED))
        convert.export.export(tmp_path / 'run', tmp_path / 'source', tmp_path / 'it.pkl')
        adapted = load_file(tmp_path / 'run' / 'adapter.safetensors')
        state = torch_load(tmp_path / 'it.pkl')['G_ema'].state_dict()
        for name, array in adapted.items():
            assert bits(state[name].numpy()) == bits(published(name, array)), name
        bias = state['decoder.net.0.bias']
        assert bias.untyped_storage().nbytes() == 4 * (3 + len(bias) + 4)
        around = torch.tensor([]).set_(bias.untyped_storage(), 0, (3 + len(bias) + 4,))
        assert around[:3].tolist() + around[-4:].tolist() == [0, 0, 0, 1, 1, 1, 1]

    @pytest.mark.parametrize('protocol', [0, 2])
    def test_old_protocols_have_no_place(self, write_snapshot, tmp_path, protocol):
        source = write_snapshot(lambda generator, _: generator, protocol)
        convert.eg3d.convert(source, tmp_path / 'source')
        write_adapter(tmp_path / 'run', load_source(tmp_path / 'source'), lambda name: name.startswith('decoder'))
        message = refused(tmp_path / 'run', tmp_path / 'source', tmp_path / 'it.pkl')
        assert 'does not hold the bytes of decoder.net' in message
        assert '--output=NAME.pt' in message
        assert not (tmp_path / 'it.pkl').exists()

    def test_values_that_others_share(self, small_arguments, tmp_path):
        """A pickle in which G and G_ema are one network: it cannot be changed in one of them."""
        arrays = eg3d_entries.random_arrays(eg3d_entries.generator_entries(small_arguments), 0)
        with eg3d_pickle.reference_modules() as reference, (tmp_path / 'it.pkl').open('wb') as file:
            generator = eg3d_pickle.generator(reference, small_arguments, arrays, 64)
            other = eg3d_pickle.generator(reference, small_arguments, arrays, 64)
            other.decoder.net[0].weight = generator.decoder.net[0].weight
            pickle.dump({'G': other, 'G_ema': generator}, file)
        convert.eg3d.convert(tmp_path / 'it.pkl', tmp_path / 'source')
        write_adapter(tmp_path / 'run', load_source(tmp_path / 'source'), lambda name: name.startswith('decoder'))
        message = refused(tmp_path / 'run', tmp_path / 'source', tmp_path / 'out.pkl')
        assert 'shares values of the adapted arrays with G.decoder.net.0.weight' in message
        assert not (tmp_path / 'out.pkl').exists()

    def test_adapted_values_that_share(self, write_snapshot, tmp_path):
        def tie(generator, reference):
            blocks = generator.superresolution
            blocks.block1.torgb.bias = blocks.block0.torgb.bias
            return generator

        convert.eg3d.convert(write_snapshot(tie), tmp_path / 'source')
        chosen = 'superresolution.block0.torgb.bias', 'superresolution.block1.torgb.bias'
        write_adapter(tmp_path / 'run', load_source(tmp_path / 'source'), lambda name: name in chosen)
        assert 'in a storage that other adapted' in refused(tmp_path / 'run', tmp_path / 'source', tmp_path / 'it.pkl')

    def test_another_pickle_is_refused(self, directory, adapter, small_arguments, tmp_path):
        eg3d_pickle.write_pickle(tmp_path / 'other.pkl', small_arguments, neural_resolution=64, seed=5, whole=False)
        before = (tmp_path / 'other.pkl').read_bytes()
        message = refused(adapter, directory, tmp_path / 'out.pkl', pickle=tmp_path / 'other.pkl')
        assert 'is not the pickle that the source was converted from: 150 arrays differ' in message
        assert (tmp_path / 'other.pkl').read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ['other.pkl']

    def test_a_moved_original(self, directory, adapter, small_pickle, tmp_path):
        record = json.loads((directory / 'conversion.json').read_text())
        moved = tmp_path / 'moved'
        moved.mkdir()
        for name in ('config.json', 'weights.safetensors'):
            (moved / name).write_bytes((directory / name).read_bytes())
        assert 'does not say what it was converted from' in refused(adapter, moved, tmp_path / 'it.pkl')
        (moved / 'conversion.json').write_text(json.dumps(record | {'path': '/absent/it.pkl'}))
        assert '/absent/it.pkl: does not exist any more' in refused(adapter, moved, tmp_path / 'it.pkl')
        convert.export.export(adapter, moved, tmp_path / 'it.pkl', pickle=small_pickle)
        convert.export.export(adapter, directory, tmp_path / 'other.pkl')
        assert (tmp_path / 'it.pkl').read_bytes() == (tmp_path / 'other.pkl').read_bytes()

    def test_a_state_dict_has_no_pickle(self, directory, adapter, tmp_path):
        convert.export.export(None, directory, tmp_path / 'it.safetensors')
        preset = str(directory / 'config.json')
        convert.eg3d.convert(tmp_path / 'it.safetensors', tmp_path / 'source', preset=preset)
        assert 'is no pickle' in refused(adapter, tmp_path / 'source', tmp_path / 'it.pkl')
        assert 'copy it instead' in refused(None, directory, tmp_path / 'it.pkl')


class TestStateDict:
    @pytest.mark.parametrize('ending', ['.pt', '.pth', '.safetensors'])
    def test_adapted(self, small_arguments, directory, adapter, tmp_path, ending):
        exported = convert.export.export(adapter, directory, tmp_path / f'it{ending}')
        path = tmp_path / f'it{ending}'
        state = load_file(path) if ending == '.safetensors' else torch.load(path, weights_only=True)
        entries = eg3d_entries.generator_entries(small_arguments)
        assert state.keys() == entries.keys() == set(exported.written)
        original = eg3d_entries.random_arrays(entries, 0)
        adapted = load_file(adapter / 'adapter.safetensors')
        for name, array in state.items():
            expected = published(name, adapted[name]) if name in adapted else original[name]
            assert array.shape == entries[name].shape
            assert bits(np.asarray(array)) == bits(expected), name

    def test_discriminator(self, small_pickle, small_arguments, tmp_path):
        convert.eg3d.convert(small_pickle, tmp_path / 'D', network='D')
        convert.export.export(None, tmp_path / 'D', tmp_path / 'it.pt')
        state = torch.load(tmp_path / 'it.pt', weights_only=True)
        expected = eg3d_entries.random_arrays(eg3d_entries.discriminator_entries(small_arguments), 2)
        assert state.keys() == expected.keys()
        for name, tensor in state.items():
            assert bits(tensor.numpy()) == bits(expected[name]), name


@pytest.mark.parametrize('strength', [0.0, 0.1])
def test_strokes_that_are_lost_are_named(strength, tmp_path):
    source = load_source('miniature')  # whose G2 can draw hatching
    strengths = {'superresolution.block1.conv1.noise_strength': jnp.asarray(strength)}
    save_adapter(tmp_path, source, strengths, fingerprint(source), {})
    exported = convert.export.export(tmp_path, 'miniature', tmp_path / 'it.safetensors')
    assert exported.strokes == (strength != 0)
    assert ('without its strokes' in str(exported)) == (strength != 0)


def test_missing_parents_are_made(directory, tmp_path):
    convert.export.export(None, directory, tmp_path / 'absent' / 'too' / 'it.safetensors')
    assert (tmp_path / 'absent' / 'too' / 'it.safetensors').is_file()


class TestRefusals:
    def test_outputs(self, directory, adapter, small_pickle, tmp_path):
        assert 'ends in .pkl, .pickle, .pt, .pth, .safetensors' in refused(adapter, directory, tmp_path / 'it.zip')
        (tmp_path / 'it.pt').write_text('mine')
        assert 'cannot be made' in refused(adapter, directory, tmp_path / 'it.pt' / 'it.pt')
        assert 'with --force' in refused(adapter, directory, tmp_path / 'it.pt')
        assert (tmp_path / 'it.pt').read_text() == 'mine'
        convert.export.export(adapter, directory, tmp_path / 'it.pt', True)
        assert 'decoder.net.0.weight' in torch.load(tmp_path / 'it.pt', weights_only=True)
        before = small_pickle.read_bytes()
        assert 'is the original itself' in refused(adapter, directory, small_pickle, True)
        assert small_pickle.read_bytes() == before
        assert '--pickle is for' in refused(adapter, directory, tmp_path / 'other.pt', pickle=small_pickle)

    def test_adapters_and_sources(self, directory, adapter, small_arguments, tmp_path):
        assert 'cannot read' in refused(tmp_path, directory, tmp_path / 'it.pt')
        assert 'cannot read' in refused(adapter, tmp_path / 'absent', tmp_path / 'it.pt')
        eg3d_pickle.write_pickle(tmp_path / 'other.pkl', small_arguments, seed=9, whole=False)
        convert.eg3d.convert(tmp_path / 'other.pkl', tmp_path / 'other')
        assert 'was adapted from another generator' in refused(adapter, tmp_path / 'other', tmp_path / 'it.pt')

    def test_killed_half_way(self, directory, adapter, tmp_path):
        script = (
            'import os, signal, sys, convert.export, convert.merge\n'
            'convert.export.merge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n'
            'convert.export.export(*sys.argv[1:])\n'
        )
        command = [sys.executable, '-c', script, adapter, directory, tmp_path / 'it.pkl']
        assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
        assert not (tmp_path / 'it.pkl').exists()

    def test_command_line(self, directory, adapter, tmp_path, monkeypatch, capsys):
        arguments = [f'--adapter={adapter}', f'--source={directory}', f'--output={tmp_path / "it.pkl"}']
        monkeypatch.setattr(sys, 'argv', ['it', *arguments])
        for code, expected in (
            (0, '36 arrays replaced (350,347 values); all other bytes are those of'),
            (1, '--force'),
        ):
            with pytest.raises(SystemExit) as caught:
                convert.export.main()
            assert (caught.value.code or 0) == code
            printed = capsys.readouterr()
            assert expected in (printed.err if code else printed.out)


class TestRoundTrip:
    """published -> ours -> published, for every published network."""

    @pytest.mark.parametrize('network', sorted(PUBLISHED))
    def test_files(self, network, tmp_path):
        """In true files, with few channels."""
        image, neural = (128, 64) if network.startswith('shapenet') else (512, int(network.rpartition('-')[2]))
        arguments = eg3d_entries.arguments(image, channel_base=1024, channel_max=8, width=16)
        written = eg3d_pickle.write_pickle(tmp_path / 'it.pkl', arguments, neural_resolution=neural)
        for kind, seed, entries in (
            ('G_ema', 0, eg3d_entries.generator_entries),
            ('G', 1, eg3d_entries.generator_entries),
            ('D', 2, eg3d_entries.discriminator_entries),
        ):
            convert.eg3d.convert(tmp_path / 'it.pkl', tmp_path / kind, network=kind)
            convert.export.export(None, tmp_path / kind, tmp_path / f'{kind}.pt')
            state = torch.load(tmp_path / f'{kind}.pt', weights_only=True)
            written = eg3d_entries.random_arrays(entries(arguments), seed)
            assert state.keys() == written.keys()
            for name, tensor in state.items():
                assert bits(tensor.numpy()) == bits(written[name]), f'{kind}.{name}'

    @pytest.mark.parametrize('kind', ['generator', 'discriminator'])
    @pytest.mark.parametrize('network', [*sorted(PUBLISHED), '256'])
    def test_full_shapes(self, network, kind):
        """With all channels, in memory; random bits, so that each value is told from each other. Nobody published a
        network of 256 pixels, but EG3D has its class."""
        config, entries = full_size(network, kind)
        table = GENERATOR if kind == 'generator' else DISCRIMINATOR
        rng = np.random.default_rng(0)
        filters = {name for name in entries if name.endswith('resample_filter')}
        arrays = {
            name: rng.integers(2**32, size=entry.shape, dtype=np.uint32).view(np.float32)
            for name, entry in entries.items()
            if name not in filters
        }
        converted, report = convert_arrays(arrays, table, model_shapes(lambda: convert.eg3d.build(config)))
        assert set(report.used) == arrays.keys()
        restored = restore_arrays(converted, table, arrays)
        assert restored.keys() == arrays.keys()
        for name, array in arrays.items():
            assert np.array_equal(restored[name].view(np.uint32), array.view(np.uint32)), name
        if kind == 'generator':
            assert set(generator_filters(arrays, config.superresolution.first_block_doubles)) == filters
        else:
            assert set(discriminator_filters(arrays)) == filters


def full_size(network: str, kind: str) -> tuple[Any, eg3d_entries.Entries]:
    """The config and the entries of a published network; those of the fixtures are the reference's own lists."""
    image = 256 if network == '256' else 128 if network.startswith('shapenet') else 512
    arguments = eg3d_entries.arguments(image)
    if kind == 'generator':
        config = eg3d_jax.GeneratorConfig.from_init_kwargs(arguments, 64)
        entries = eg3d_entries.generator_entries(arguments)
    else:
        config = eg3d_jax.DiscriminatorConfig(image_resolution=image)
        entries = eg3d_entries.discriminator_entries(arguments)
    listed = {512: 'eg3d_ffhq512-128', 128: 'eg3d_shapenetcars128-64'}.get(image)
    if listed is not None:
        reference = json.loads((FIXTURES / f'{listed}.json').read_text())[kind]
        assert {name: tuple(shape) for name, shape, _ in reference} == {name: e.shape for name, e in entries.items()}
    return config, entries
