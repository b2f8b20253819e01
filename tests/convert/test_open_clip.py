"""OpenCLIP's files, the published sizes, and which activation a source has."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from safetensors.torch import save_file

import convert.clip
from clip_jax import PRESETS, Clip, ClipConfig, TextConfig, VisionConfig, load_clip
from convert import ConversionError
from convert.clip_configs import from_original
from convert.clip_names import ORIGINAL
from convert.engine import convert_arrays, model_shapes
from convert.testing import clip_files
from convert.testing.clip_reference import assert_same_embeddings

# Heads of 32 channels in the image tower, which no shape says; exact GELU, as most of OpenCLIP's networks have.
SMALL = ClipConfig(
    vision=VisionConfig(image_size=32, patch_size=8, width=64, layers=2, heads=2, mlp_width=96, hidden_act='gelu'),
    text=TextConfig(
        vocab_size=99,
        context_length=12,
        width=128,
        layers=1,
        heads=2,
        mlp_width=80,
        eos_token_id=98,
        hidden_act='gelu',
    ),
    embed_dim=24,
)
VIT_H_14 = ClipConfig(
    vision=VisionConfig(patch_size=14, width=1280, layers=32, heads=16, mlp_width=5120, hidden_act='gelu'),
    text=TextConfig(width=1024, layers=24, heads=16, mlp_width=4096, hidden_act='gelu'),
    embed_dim=1024,
)


@pytest.fixture(scope='module')
def model() -> transformers.CLIPModel:
    return clip_files.random_model(SMALL)


@pytest.fixture
def source(model, tmp_path) -> Path:
    """A repository of OpenCLIP's."""
    folder = tmp_path / 'source'
    folder.mkdir()
    torch.save(clip_files.open_clip_state(model), folder / 'open_clip_pytorch_model.bin')
    (folder / 'open_clip_config.json').write_text(json.dumps(clip_files.open_clip_config(SMALL)))
    return folder


def refused(source: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        convert.clip.convert(source, source.parent / 'out')
    assert not (source.parent / 'out').exists()
    return str(caught.value)


@pytest.mark.parametrize('text_module', [False, True])
@pytest.mark.parametrize('name', convert.clip.OPEN_CLIP_FILES)
def test_forms(model, source, tmp_path, name, text_module):
    (source / 'open_clip_pytorch_model.bin').unlink()
    state = clip_files.open_clip_state(model, text_module)
    state[f'{"text." if text_module else ""}attn_mask'] = torch.zeros(12, 12)
    save_file(state, source / name) if name.endswith('safetensors') else torch.save(state, source / name)
    report = convert.clip.convert(source, tmp_path / 'out', check=True)
    assert set(report.filled) == {name for name, _ in model.named_parameters()}
    assert report.compared == len(report.used) == len(state) - 1
    assert report.notes == (convert.clip.NO_TOKENIZER,)
    assert load_clip(tmp_path / 'out').config == SMALL
    assert_same_embeddings(tmp_path / 'out', model)
    convert.clip.convert(source / name, tmp_path / 'file')  # the config lies beside it
    assert load_clip(tmp_path / 'file').config == SMALL


def test_tokenizer_files_come_along(source, tmp_path):
    (source / 'tokenizer.json').write_text('of OpenCLIP')
    convert.clip.convert(source, tmp_path / 'out')
    assert (tmp_path / 'out' / 'tokenizer.json').read_text() == 'of OpenCLIP'


def test_without_config(tmp_path):
    """Heads of 64 channels, and GELU, are what such a file has."""
    config = ClipConfig(
        vision=VisionConfig(image_size=16, patch_size=8, width=128, layers=1, heads=2, mlp_width=32, hidden_act='gelu'),
        text=TextConfig(
            vocab_size=99,
            context_length=8,
            width=64,
            layers=1,
            heads=1,
            mlp_width=32,
            eos_token_id=98,
            hidden_act='gelu',
        ),
        embed_dim=8,
    )
    model = clip_files.random_model(config)
    torch.save(clip_files.open_clip_state(model), tmp_path / 'open_clip_pytorch_model.bin')
    report = convert.clip.convert(tmp_path / 'open_clip_pytorch_model.bin', tmp_path / 'out')
    assert load_clip(tmp_path / 'out').config == config
    assert "GELU is assumed, as in most of OpenCLIP's networks" in report.notes[0]
    assert '--activation' in report.notes[0]
    assert_same_embeddings(tmp_path / 'out', model)


class TestActivation:
    def decided(self, path: Path, **options: Any) -> tuple[str, int]:
        """The activation of both towers, and the number of notes on it."""
        output = path.parent / f'out-{path.stem}-{options.get("activation")}'
        report = convert.clip.convert(path, output, True, **options)
        config = load_clip(output).config
        assert config.vision.hidden_act == config.text.hidden_act
        return config.vision.hidden_act, sum('is assumed' in note for note in report.notes)

    def test_open_clip_config(self, source, model, tmp_path):
        assert self.decided(source) == ('gelu', 0)
        for quick, expected in ((True, 'quick_gelu'), (False, 'gelu')):
            content = clip_files.open_clip_config(SMALL, quick_gelu=quick)
            (source / 'open_clip_config.json').write_text(json.dumps(content))
            assert self.decided(source) == (expected, 0)
        (source / 'open_clip_config.json').write_text(json.dumps(content['model_cfg']))  # OpenCLIP's own collection
        assert self.decided(source) == ('gelu', 0)

    def test_names_and_training_checkpoints(self, model, tmp_path):
        state = clip_files.open_clip_state(model)
        torch.save(state, tmp_path / 'ViT-B-32-quickgelu.pt')
        assert self.decided(tmp_path / 'ViT-B-32-quickgelu.pt') == ('quick_gelu', 1)
        parallel = {f'module.{name}': tensor for name, tensor in state.items()}
        torch.save({'epoch': 3, 'name': 'it', 'state_dict': parallel}, tmp_path / 'epoch.pt')
        assert self.decided(tmp_path / 'epoch.pt') == ('gelu', 1)
        torch.save({'state_dict': parallel}, tmp_path / 'parallel.pt')
        assert self.decided(tmp_path / 'parallel.pt') == ('gelu', 1)

    def test_openai(self, model, tmp_path):
        state = clip_files.openai_state(model)
        torch.save(state, tmp_path / 'state.pt')
        assert self.decided(tmp_path / 'state.pt') == ('quick_gelu', 1)
        clip_files.write_openai(tmp_path / 'script.pt', state, (32, 12, 99))
        assert self.decided(tmp_path / 'script.pt') == ('quick_gelu', 0)

    @pytest.mark.parametrize('activation', ['quick_gelu', 'gelu'])
    def test_hugging_face(self, tmp_path, activation):
        config = convert.clip.with_activation(SMALL, activation)
        assert dataclasses.replace(config, vision=SMALL.vision, text=SMALL.text) == SMALL
        clip_files.write_hugging_face(tmp_path / 'it', clip_files.random_model(config))
        assert self.decided(tmp_path / 'it') == (activation, 0)

    @pytest.mark.parametrize('activation', ['quick_gelu', 'gelu'])
    def test_override(self, source, model, tmp_path, activation):
        assert self.decided(source, activation=activation) == (activation, 0)
        clip_files.write_hugging_face(tmp_path / 'it', model)
        assert self.decided(tmp_path / 'it', activation=activation) == (activation, 0)
        clip_files.write_openai(tmp_path / 'script.pt', clip_files.openai_state(model), (32, 12, 99))
        assert self.decided(tmp_path / 'script.pt', activation=activation) == (activation, 0)


@pytest.mark.parametrize(
    ('name', 'config', 'values'),
    [
        ('ViT-B/32', PRESETS['ViT-B/32'], 151_277_313),
        ('ViT-B/16', PRESETS['ViT-B/16'], 149_620_737),
        ('ViT-L/14', PRESETS['ViT-L/14'], 427_616_513),
        ('ViT-L/14@336', PRESETS['ViT-L/14@336'], 427_944_193),
        ('ViT-H/14', VIT_H_14, 986_109_441),
    ],
)
def test_published_sizes(name, config, values):
    """From shapes alone; the arrays are views of one number, so that a network of 4 GB needs none."""
    shapes = clip_files.original_shapes(config)
    arrays = {entry: np.broadcast_to(np.float32(0), shape) for entry, shape in shapes.items()}
    activation = config.vision.hidden_act
    assert from_original(arrays, activation) == config
    assert from_original(arrays, activation, '', clip_files.open_clip_config(config)) == config
    converted, report = convert_arrays(arrays, ORIGINAL, model_shapes(lambda: Clip(config, rngs=nnx.Rngs(0))))
    assert len(converted) == len(report.filled)
    assert report.values == values
    assert set(report.used) == shapes.keys()


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (lambda config: config['model_cfg'].update(multimodal_cfg={'width': 3}), 'asks for multimodal_cfg'),
        (lambda config: config['model_cfg']['vision_cfg'].update(timm_model_name='it'), 'vision_cfg.timm_model_name'),
        (lambda config: config['model_cfg']['text_cfg'].update(hf_model_name='it'), 'text_cfg.hf_model_name'),
        (lambda config: config['model_cfg'].update(vision_cfg=[1]), 'vision_cfg is a list'),
        (lambda config: config['model_cfg']['vision_cfg'].update(head_width=48), 'a width of 64 has no heads of 48'),
        (lambda config: config['model_cfg']['vision_cfg'].update(layers=3), 'the arrays: vision_cfg.layers'),
        (lambda config: config['model_cfg'].update(embed_dim=3), 'other sizes than the arrays: embed_dim'),
        (lambda config: config['preprocess_cfg'].update(mean=[0.5, 0.5, 0.5]), "not CLIP's"),
        (lambda config: config['preprocess_cfg'].update(mean=[0.5, 0.5]), 'values of an unexpected kind'),
        (lambda config: config['model_cfg']['vision_cfg'].update(head_width='x'), 'values of an unexpected kind'),
        (lambda config: config['model_cfg']['text_cfg'].update(heads=[8]), 'values of an unexpected kind'),
        (lambda config: config.update(model_cfg=3), 'model_cfg is a int'),
    ],
)
def test_configs_that_are_not_supported(source, change, expected):
    config = clip_files.open_clip_config(SMALL)
    change(config)
    (source / 'open_clip_config.json').write_text(json.dumps(config))
    message = refused(source)
    assert expected in message
    assert message.count('\n') == 0


def test_a_model_that_compares_otherwise_is_refused(model, source):
    state = clip_files.open_clip_state(model) | {'logit_bias': torch.zeros(())}
    torch.save(state, source / 'open_clip_pytorch_model.bin')
    assert 'logit_bias [] is unknown' in refused(source)
