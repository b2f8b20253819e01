"""The measuring networks' files through their converters, against PyTorch; and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import convert.arcface
import convert.inception
from adaptation.evaluation.arcface import ArcFaceConfig, load_arcface
from adaptation.evaluation.inception import InceptionConfig, load_inception
from convert import ConversionError
from convert.recognition import describe
from convert.testing.arcface_reference import Face, usual_crop
from convert.testing.inception_reference import Inception
from convert.testing.network_arrays import randomise
from convert.testing.network_parity import TOLERANCE, random_pictures, relative_error

SMALL_INCEPTION = InceptionConfig(resolution=75, divisor=16)
SMALL_FACE = ArcFaceConfig(resolution=4, units=(2, 1), widths=(16, 32), embedding=8)
COUNTS = 'num_batches_tracked counts steps of a training'
State = dict[str, torch.Tensor]


@pytest.fixture(scope='module')
def inception_state() -> State:
    network = Inception(SMALL_INCEPTION)
    randomise(network, random_pictures(4, 75, 75)[1])
    return network.state_dict()


@pytest.fixture(scope='module')
def face_state() -> State:
    network = Face(SMALL_FACE)
    randomise(network, random_pictures(4, 4, 4)[1])
    return network.state_dict()


@pytest.fixture
def fails(tmp_path):
    """Callable: a converter, and a state dict or a file -> the message of a conversion that leaves nothing behind."""

    def message(module: ModuleType, content: Any) -> str:
        source = content
        if not isinstance(content, Path):
            source = tmp_path / 'it.pth'
            torch.save(content, source)
        config = SMALL_INCEPTION if module is convert.inception else SMALL_FACE
        with pytest.raises(ConversionError) as caught:
            module.convert(source, tmp_path / 'out', config=config)
        assert str(caught.value).startswith(f'{source}: ')
        assert list(tmp_path.glob('*out*')) == []
        return str(caught.value)

    return message


def run(monkeypatch: pytest.MonkeyPatch, module: Any, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['it', *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        module.main()
    return caught.value.code or 0


def test_published_size_of_inception(monkeypatch, capsys, tmp_path):
    """The command, on a file as pytorch-fid publishes it."""
    network = Inception(InceptionConfig())
    randomise(network, random_pictures(2, 299, 299, seed=1)[1])
    torch.save(network.state_dict(), tmp_path / 'it.pth')
    arguments = (f'--source={tmp_path / "it.pth"}', f'--output={tmp_path / "out"}', '--check')
    assert run(monkeypatch, convert.inception, *arguments) == 0
    printed = capsys.readouterr().out
    assert '470 entries used to fill 470 arrays' in printed
    assert '470 entries read back and compared: the same, bit for bit' in printed
    assert f'94 ignored: {COUNTS}' in printed
    assert '2 ignored: the classifier behind the features' in printed
    assert '\n  fc.bias\n' in printed
    images, tensor = random_pictures(1, 256, 256)
    with torch.no_grad():
        expected = network(tensor)
    features = jax.jit(lambda network, x: network(x))(load_inception(tmp_path / 'out'), images)
    assert features.shape == (1, 2048)
    assert relative_error(features, expected) <= TOLERANCE


def test_published_size_of_arcface(monkeypatch, capsys, tmp_path):
    """The command, on a file as InsightFace_Pytorch publishes it."""
    network = Face(ArcFaceConfig())
    randomise(network, random_pictures(4, 112, 112, seed=1)[1])
    torch.save(network.state_dict(), tmp_path / 'it.pth')
    arguments = (f'--source={tmp_path / "it.pth"}', f'--output={tmp_path / "out"}', '--check')
    assert run(monkeypatch, convert.arcface, *arguments) == 0
    assert 'read back and compared: the same, bit for bit' in capsys.readouterr().out
    images, tensor = random_pictures(2, 256, 256)
    with torch.no_grad():
        expected = network(usual_crop(tensor))
    embedding = jax.jit(lambda network, x: network(x))(load_arcface(tmp_path / 'out'), images)
    assert relative_error(embedding, expected) <= TOLERANCE


@pytest.mark.parametrize('form', ['plain', 'old', 'nested', 'parallel', 'safetensors', 'half'])
def test_forms_of_files(face_state, tmp_path, form):
    path = tmp_path / ('it.safetensors' if form == 'safetensors' else 'it.pth')
    state = {name: tensor.half() if form == 'half' else tensor for name, tensor in face_state.items()}
    if form == 'safetensors':
        save_file(state, path)
    elif form == 'nested':
        torch.save({'state_dict': state, 'epoch': 3}, path)
    else:
        prefix = 'module.' if form == 'parallel' else ''
        state = {f'{prefix}{name}': tensor for name, tensor in state.items()}
        torch.save(state, path, _use_new_zipfile_serialization=form != 'old')
    report = convert.arcface.convert(path, tmp_path / 'out', check=True, config=SMALL_FACE)
    assert report.compared == len(report.used) == len(report.filled)
    assert [*report.ignored] == [COUNTS]
    kernel = load_arcface(tmp_path / 'out').body[2].res_layer[1].weight[...]
    expected = face_state['body.2.res_layer.1.weight'].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-3 if form == 'half' else 0, atol=1e-6 if form == 'half' else 0)


def test_without_a_classifier(inception_state, tmp_path):
    state = {name: tensor for name, tensor in inception_state.items() if not name.startswith('fc.')}
    torch.save(state, tmp_path / 'it.pth')
    report = convert.inception.convert(tmp_path, tmp_path / 'out', config=SMALL_INCEPTION)  # the folder's one file
    assert report.notes == (convert.inception.NO_CLASSIFIER,)
    assert [*report.ignored] == [COUNTS]
    report = convert.inception.convert(tmp_path / 'it.pth', tmp_path / 'out', True, config=SMALL_INCEPTION)


def test_torchvisions_classifier_is_refused(inception_state, fails):
    """Its names and shapes are the same but for these."""
    state = inception_state | {'fc.weight': torch.ones(1000, 128), 'fc.bias': torch.ones(1000)}
    message = fails(convert.inception, state)
    assert "fc.weight is [1000, 128], expected 1008 classes; torchvision's InceptionV3 has 1000" in message
    state = inception_state | {'AuxLogits.fc.bias': torch.ones(1000)}
    assert "it looks like torchvision's InceptionV3" in fails(convert.inception, state)


def test_relatives_of_the_face_network_are_refused(face_state, fails):
    plain = {name: tensor for name, tensor in face_state.items() if '.res_layer.5.' not in name}
    assert 'it looks like an IR network without squeeze-and-excitation' in fails(convert.arcface, plain)
    deep = face_state | {'body.48.res_layer.0.weight': torch.ones(16)}
    assert "is not ArcFace's IR-SE50: its body has 49 units, expected 3" in fails(convert.arcface, deep)


def test_all_misfits_at_once(inception_state, face_state, fails):
    state = dict(inception_state)
    del state['Mixed_5b.branch1x1.conv.weight']
    state['Mixed_7c.branch_pool.bn.running_var'] = torch.ones(3)
    state['Mixed_6a.branch3x3.conv.weight'] = state['Mixed_6a.branch3x3.conv.weight'].double()
    state['Mixed_8a.branch1x1.conv.weight'] = torch.ones(1)
    message = fails(convert.inception, state)
    assert 'does not fit the model in 4 places' in message
    for problem in (
        'Mixed_5b.branch1x1.conv.weight [1, 1, 12, 4] is missing',
        'Mixed_7c.branch_pool.bn.running_var [3] does not fit Mixed_7c.branch_pool.bn.running_var [12]',
        'Mixed_6a.branch3x3.conv.weight is float64, which float32 cannot hold exactly',
        'Mixed_8a.branch1x1.conv.weight [1] is unknown',
    ):
        assert problem in message
    state = dict(face_state)
    del state['output_layer.3.bias']
    state['body.1.shortcut_layer.0.weight'] = torch.ones(16, 16, 1, 1)  # of a unit that keeps its width
    message = fails(convert.arcface, state)
    assert 'output_layer.3.bias [8] is missing' in message
    assert 'body.1.shortcut_layer.0.weight [16, 16, 1, 1] has no place in the model' in message


def test_each_refuses_the_other(inception_state, face_state, fails):
    expected = 'is not the InceptionV3 of the Fréchet distance: it looks like an IR-SE network'
    assert expected in fails(convert.inception, face_state)
    expected = "is not ArcFace's IR-SE50: it looks like the InceptionV3 of the Fréchet distance"
    assert expected in fails(convert.arcface, inception_state)


@pytest.mark.parametrize('module', [convert.inception, convert.arcface])
def test_bad_files_are_refused(module, face_state, fails, tmp_path):
    assert fails(module, tmp_path / 'absent').endswith('does not exist.')
    torch.save(face_state, tmp_path / 'it.pth')
    whole = (tmp_path / 'it.pth').read_bytes()
    (tmp_path / 'it.pth').write_bytes(whole[: len(whole) // 2])
    assert 'is damaged' in fails(module, tmp_path / 'it.pth')
    (tmp_path / 'it.pth').write_bytes(b'<html>, says the server')
    assert 'neither a safetensors nor a PyTorch file' in fails(module, tmp_path / 'it.pth')
    assert 'is no state dict: it is empty' in fails(module, {})
    assert 'which no known checkpoint needs' in fails(module, torch.nn.Linear(1, 1))  # a whole module, not its weights


def test_several_files(tmp_path):
    for name in ('one.pth', 'other.pt'):
        (tmp_path / name).touch()
    with pytest.raises(ConversionError, match=r'name one of them: one\.pth, other\.pt'):
        convert.arcface.convert(tmp_path, tmp_path / 'out')
    with pytest.raises(ConversionError, match=r'holds no file of weights \(\.pth'):
        (tmp_path / 'empty').mkdir()
        convert.inception.convert(tmp_path / 'empty', tmp_path / 'out')


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('encoder.body.0.res_layer.0.weight', 'an encoder of pSp'),
        ('layer1.0.prelu.weight', 'IResNet'),
        ('layer1.0.conv1.weight', 'a ResNet'),
        ('vision_model.embeddings.class_embedding', 'a CLIP'),
        ('visual.conv1.weight', 'a CLIP'),
        ('backbone.synthesis.b4.const', 'an EG3D generator'),
        ('features.0.weight', 'VGG'),
        ('something.else', 'its 1 entries are something.else'),
    ],
)
def test_other_networks_are_named(name, expected):
    assert expected in describe([name])
