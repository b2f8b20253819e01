"""CLIP checkpoints of every format, from writers of our own, through the converter, against PyTorch."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.torch import save_file

import convert.clip
from clip_jax import PRESETS, ClipConfig, TextConfig, VisionConfig, load_clip, load_tokenizer
from convert import ConversionError
from convert.safetensors_files import read_safetensors
from convert.testing import clip_files
from convert.testing.clip_reference import assert_same_embeddings

SMALL = ClipConfig(  # heads of 64 channels, as all of OpenAI's have
    vision=VisionConfig(image_size=32, patch_size=8, width=128, layers=2, heads=2, mlp_width=96),
    text=TextConfig(vocab_size=99, context_length=12, width=64, layers=3, heads=1, mlp_width=80, eos_token_id=98),
    embed_dim=24,
)


@pytest.fixture(scope='module')
def model() -> transformers.CLIPModel:
    return clip_files.random_model(SMALL)


@pytest.fixture
def source(model, tmp_path) -> Path:
    """A Hugging Face directory."""
    clip_files.write_hugging_face(tmp_path / 'source', model)
    return tmp_path / 'source'


def change_config(source: Path, **changes: Any) -> None:
    path = source / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def fails(source: Path, output: Path) -> str:
    """The message of a conversion that fails and leaves nothing behind."""
    with pytest.raises(ConversionError) as caught:
        convert.clip.convert(source, output)
    assert str(caught.value).startswith(f'{source}: ')
    assert list(output.parent.glob(f'*{output.name}*')) == []
    return str(caught.value)


def rounded(model: transformers.CLIPModel) -> transformers.CLIPModel:
    """A copy whose weights are those that OpenAI's format can hold."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.copy_(parameter.half())
    return result


@pytest.mark.parametrize('form', get_args(clip_files.Form))
def test_hugging_face(model, tmp_path, form):
    clip_files.write_hugging_face(tmp_path / 'source', model, form)
    report = convert.clip.convert(tmp_path / 'source', tmp_path / 'out', check=True)
    assert report.compared == len(report.used)
    assert set(report.used) == set(report.filled) == {name for name, _ in model.named_parameters()}
    ignored = {name for names in report.ignored.values() for name in names}
    assert ignored == ({'text_model.embeddings.position_ids'} if form.endswith('bin') else set())
    assert load_clip(tmp_path / 'out').config == SMALL
    assert_same_embeddings(tmp_path / 'out', model)


def test_values_are_exact(model, source, tmp_path):
    convert.clip.convert(source, tmp_path / 'out')
    weights = load_file(tmp_path / 'out' / 'weights.safetensors')
    for name, parameter in model.named_parameters():
        value = parameter.numpy(force=True)
        if name.endswith('patch_embedding.weight'):
            value = value.transpose(2, 3, 1, 0)
        elif value.ndim == 2 and 'embedding' not in name:
            value = value.T
        np.testing.assert_array_equal(weights.pop(name), value, err_msg=name)
    assert not weights


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision(model, tmp_path, dtype):
    low = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    (tmp_path / 'source').mkdir()
    model.config.save_pretrained(tmp_path / 'source')
    save_file(low, tmp_path / 'source' / 'model.safetensors')
    convert.clip.convert(tmp_path / 'source', tmp_path / 'safetensors')
    (tmp_path / 'source' / 'model.safetensors').unlink()
    torch.save(low, tmp_path / 'source' / 'pytorch_model.bin')
    convert.clip.convert(tmp_path / 'source', tmp_path / 'bin')
    for name in ('safetensors', 'bin'):
        weights = load_file(tmp_path / name / 'weights.safetensors')
        assert {array.dtype.name for array in weights.values()} == {'float16' if dtype == torch.float16 else 'float32'}
        position = low['vision_model.embeddings.position_embedding.weight'].float().numpy()
        np.testing.assert_array_equal(weights['vision_model.embeddings.position_embedding.weight'], position)


def test_openai_torchscript(model, tmp_path):
    exact = rounded(model)
    clip_files.write_openai(tmp_path / 'it.pt', clip_files.openai_state(exact), (32, 12, 99))
    (tmp_path / 'tokenizer.json').write_text('of some other file in the same directory')
    report = convert.clip.convert(tmp_path / 'it.pt', tmp_path / 'out', check=True)
    assert report.compared == len(report.used)  # the joint projections are put together again
    assert set(report.filled) == {name for name, _ in model.named_parameters()}
    assert len(report.used) == len(report.filled) - 4 * (SMALL.vision.layers + SMALL.text.layers)  # joint projections
    assert {name for names in report.ignored.values() for name in names} == {
        'input_resolution',
        'context_length',
        'vocab_size',
    }
    assert report.notes == (convert.clip.NO_TOKENIZER,)
    assert load_clip(tmp_path / 'out').config == SMALL
    assert_same_embeddings(tmp_path / 'out', exact)


def test_openai_state_dict(model, tmp_path):
    exact = rounded(model)
    torch.save(clip_files.openai_state(exact), tmp_path / 'it.pt')
    report = convert.clip.convert(tmp_path / 'it.pt', tmp_path / 'out')
    assert "QuickGELU is assumed, as in OpenAI's networks" in report.notes[0]
    assert_same_embeddings(tmp_path / 'out', exact)


def test_hugging_face_file_needs_its_config(model, source, tmp_path):
    convert.clip.convert(source / 'model.safetensors', tmp_path / 'out')  # the config lies beside it
    assert_same_embeddings(tmp_path / 'out', model)
    (source / 'config.json').unlink()
    assert 'has no config.json' in fails(source / 'model.safetensors', tmp_path / 'other')


def test_tokenizer_files_come_along(source, tmp_path):
    words = ['a', 'a</w>', 'b', 'b</w>', 'ab</w>', '<|startoftext|>', '<|endoftext|>']
    vocabulary = {word: index for index, word in enumerate(words)}
    (source / 'vocab.json').write_text(json.dumps(vocabulary))
    (source / 'merges.txt').write_text('#version: 0.2\na b</w>\n')
    (source / 'preprocessor_config.json').write_text('{}')
    report = convert.clip.convert(source, tmp_path / 'out')
    assert report.notes == ()
    written = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert written == ['config.json', 'conversion.json', 'merges.txt', 'vocab.json', 'weights.safetensors']
    assert load_tokenizer(tmp_path / 'out')(['ab a'])[0, :4].tolist() == [5, 4, 1, 6]
    convert.clip.convert(source, tmp_path / 'out', force=True)  # its own output may be replaced


def test_old_configs(source, tmp_path):
    """Fields that are absent have defaults; older files have the towers in two places, of which the second wins."""
    content = json.loads((source / 'config.json').read_text())
    text = content.pop('text_config')
    changes = {'text_config': {'num_hidden_layers': 99}, 'text_config_dict': text, 'vision_config_dict': None}
    (source / 'config.json').write_text(json.dumps(content | changes))
    convert.clip.convert(source, tmp_path / 'out')
    assert load_clip(tmp_path / 'out').config == SMALL
    assert convert.clip.clip_configs.from_hugging_face({'model_type': 'clip'}) == PRESETS['ViT-B/32']


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'model_type': 'siglip'}, "of a 'siglip' model"),
        ({'vision_config': {'num_channels': 4}}, '4 channels, expected 3'),
        ({'vision_config': {'hidden_act': 'relu'}}, 'hidden_act'),
        ({'vision_config': {'patch_size': '32'}}, 'patch_size'),
        ({'vision_config': {'hidden_size': 0, 'num_attention_heads': 1}}, 'width must be positive'),
        ({'text_config': [1]}, 'text_config is a list'),
        ({'projection_dim': 23}, 'does not fit the model in 2 places'),
    ],
)
def test_other_configs_are_refused(source, tmp_path, changes, expected):
    change_config(source, **changes)
    assert expected in fails(source, tmp_path / 'out')


@pytest.mark.parametrize('content', ['[1]', '{', '[' * 100_000])
def test_damaged_configs_are_refused(source, tmp_path, content):
    (source / 'config.json').write_text(content)
    assert 'config.json' in fails(source, tmp_path / 'out')


def test_all_misfits_at_once(model, tmp_path):
    state = clip_files.openai_state(model)
    state['visual.proj'] = state['visual.proj'].float()[:, :5]
    state['visual.extra'] = torch.ones(3)
    state['transformer.resblocks.1.attn.in_proj_weight'] = torch.ones(64, 64)
    state['ln_final.bias'] = state['ln_final.bias'].double()
    del state['visual.ln_pre.weight']
    torch.save(state, tmp_path / 'it.pt')
    message = fails(tmp_path / 'it.pt', tmp_path / 'out')
    for problem in (
        'visual.proj [128, 5] does not fit visual_projection.weight [128, 24]',
        'visual.extra [3] is unknown',
        'transformer.resblocks.1.attn.in_proj_weight [64, 64] does not fit text_model.encoder',
        'ln_final.bias is float64, which float32 cannot hold exactly',
        'vision_model.pre_layrnorm.weight [128] is missing',
    ):
        assert problem in message


def test_other_networks_are_refused(model, tmp_path):
    torch.save(
        {'visual.conv1.weight': torch.ones(1), 'visual.layer1.0.conv1.weight': torch.ones(1)}, tmp_path / 'it.pt'
    )
    assert 'ResNet' in fails(tmp_path / 'it.pt', tmp_path / 'out')
    torch.save({'fc.weight': torch.ones(1)}, tmp_path / 'it.pt')
    assert 'is no CLIP: its 1 entries' in fails(tmp_path / 'it.pt', tmp_path / 'out')
    state = clip_files.openai_state(model)
    state['visual.conv1.weight'] = torch.ones(128, 3, 0, 0)
    torch.save(state, tmp_path / 'it.pt')
    assert 'no CLIP of OpenAI has' in fails(tmp_path / 'it.pt', tmp_path / 'out')
    del state['token_embedding.weight']
    torch.save(state, tmp_path / 'it.pt')
    assert 'has no token_embedding.weight' in fails(tmp_path / 'it.pt', tmp_path / 'out')
    torch.save({'visual.conv1.weight': torch.ones(1)}, tmp_path / 'it.pt')
    assert 'no CLIP of OpenAI has' in fails(tmp_path / 'it.pt', tmp_path / 'out')


def test_other_sources_are_refused(source, tmp_path):
    assert fails(tmp_path / 'absent', tmp_path / 'out').endswith('does not exist.')
    weights = (source / 'model.safetensors').read_bytes()
    (source / 'model.safetensors').write_bytes(weights[:-1])
    assert 'damaged or cut short' in fails(source, tmp_path / 'out')
    (source / 'model.safetensors').write_bytes(weights[:1000])
    assert 'ends inside its header' in fails(source, tmp_path / 'out')
    (source / 'model.safetensors').write_bytes(b'<html>, says the server')
    assert 'neither a safetensors nor a PyTorch file' in fails(source, tmp_path / 'out')
    (source / 'model.safetensors').unlink()
    assert 'holds no weights: expected one of' in fails(source, tmp_path / 'out')


@pytest.mark.parametrize(
    ('entry', 'expected'),
    [
        ({'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 4]}, 'does not lie within'),
        ({'dtype': 'F32', 'shape': [-1, -1], 'data_offsets': [0, 4]}, 'does not lie within'),
        ({'dtype': 'F32', 'shape': [1], 'data_offsets': [-4, 0]}, 'does not lie within'),
        ({'dtype': 'F32', 'shape': [1], 'data_offsets': [4, 8]}, 'does not lie within'),
        ({'dtype': 'F8_E4M3', 'shape': [1], 'data_offsets': [0, 1]}, 'F8_E4M3'),
        ({'dtype': 'F32', 'shape': [float('inf')], 'data_offsets': [0, 0]}, 'OverflowError'),
        ({'shape': [1]}, 'dtype'),
        ('odd', 'damaged'),
    ],
)
def test_impossible_safetensors_headers(tmp_path, entry, expected):
    header = json.dumps({'x': entry, '__metadata__': {'format': 'pt'}}).encode()
    (tmp_path / 'it.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    assert expected in fails(tmp_path / 'it.safetensors', tmp_path / 'out')


@pytest.mark.parametrize(('shape', 'size'), [([0, 2**70], 0), ([1] * 70, 4)])
def test_impossible_sizes_in_safetensors(shape, size):
    header = json.dumps({'x': {'dtype': 'F32', 'shape': shape, 'data_offsets': [0, size]}}).encode()
    arrays = read_safetensors(io.BytesIO(len(header).to_bytes(8, 'little') + header + bytes(4)))
    with pytest.raises(ConversionError, match="'x' is of an impossible size"):
        arrays['x']


def test_shards_that_do_not_fit_their_index(model, tmp_path):
    source = tmp_path / 'source'
    clip_files.write_hugging_face(source, model, 'sharded bin')
    path = source / 'pytorch_model.bin.index.json'
    index = json.loads(path.read_text())
    shard = 'pytorch_model-00001-of-00002.bin'

    def with_map(**changes: Any) -> str:
        path.write_text(json.dumps({'weight_map': index['weight_map'] | changes}))
        return fails(source, tmp_path / 'out')

    (tmp_path / 'elsewhere.bin').write_bytes((source / shard).read_bytes())
    assert "points outside of its directory: '../elsewhere.bin'" in with_map(logit_scale='../elsewhere.bin')
    assert 'points outside of its directory' in with_map(logit_scale=str(tmp_path / 'elsewhere.bin'))
    assert 'shards that are missing: absent.bin' in with_map(logit_scale='absent.bin')
    assert f'does not list what {shard} holds: surplus' in with_map(surplus=shard)
    assert 'has no weight_map' in with_map(logit_scale=3)
    path.write_text(json.dumps(index))
    (source / shard).write_bytes((source / shard).read_bytes()[:-100])
    assert f'pytorch_model.bin.index.json: {shard}: is damaged' in fails(source, tmp_path / 'out')


@pytest.mark.slow
def test_full_size(peak_memory, tmp_path):
    config = PRESETS['ViT-B/32']
    model = rounded(clip_files.random_model(config))
    clip_files.write_hugging_face(tmp_path / 'source', model)
    sizes = (config.vision.image_size, config.text.context_length, config.text.vocab_size)
    clip_files.write_openai(tmp_path / 'it.pt', clip_files.openai_state(model), sizes)
    for source, output in (('source', 'hugging_face'), ('it.pt', 'openai')):
        path = tmp_path / source
        size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
        assert peak_memory('convert.clip.convert(*sys.argv[1:], check=True)', path, tmp_path / output) < 2.5 * size
    assert load_clip(tmp_path / 'openai').config == load_clip(tmp_path / 'hugging_face').config == config
    assert_same_embeddings(tmp_path / 'hugging_face', model)
    assert_same_embeddings(tmp_path / 'openai', model)
