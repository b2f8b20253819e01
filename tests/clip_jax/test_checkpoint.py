"""Checkpoints on disk."""

import errno
import json

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import clip_jax.checkpoint
from clip_jax import Clip, ClipConfig, TextConfig, VisionConfig, load_clip, named_weights, save_clip

TINY = ClipConfig(
    vision=VisionConfig(image_size=8, patch_size=4, width=8, layers=1, heads=2, mlp_width=12),
    text=TextConfig(vocab_size=5, context_length=4, width=8, layers=1, heads=2, mlp_width=12, eos_token_id=4),
    embed_dim=6,
)
BIAS = 'vision_model.encoder.layers.0.mlp.fc1.bias'


@pytest.fixture
def clip(random_clip) -> Clip:
    return random_clip(TINY)


def test_round_trip_is_exact(clip, tmp_path):
    save_clip(clip, tmp_path / 'clip', tokenizer_files={'tokenizer.json': '{}'})
    assert sorted(path.name for path in (tmp_path / 'clip').iterdir()) == [
        'config.json',
        'tokenizer.json',
        'weights.safetensors',
    ]
    loaded = load_clip(tmp_path / 'clip')
    assert loaded.config == TINY
    before, after = named_weights(clip), named_weights(loaded)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


def test_half_precision_on_disk_is_float32_in_memory(clip, tmp_path):
    save_clip(clip, tmp_path, dtype=np.float16)
    assert {value.dtype for value in load_file(tmp_path / 'weights.safetensors').values()} == {np.dtype(np.float16)}
    loaded = named_weights(load_clip(tmp_path))
    assert {value.dtype for value in loaded.values()} == {jnp.dtype(jnp.float32)}
    for name, value in named_weights(clip).items():
        np.testing.assert_allclose(loaded[name], value, rtol=1e-3, atol=1e-6)


def test_overwriting_keeps_other_files(clip, tmp_path):
    (tmp_path / 'recipe.json').write_text('{}')
    save_clip(clip, tmp_path)
    clip.logit_scale[...] = jnp.asarray(3.0)
    save_clip(clip, tmp_path)
    assert load_clip(tmp_path).logit_scale[...] == 3.0
    assert (tmp_path / 'recipe.json').read_text() == '{}'


def test_a_failure_leaves_the_old_checkpoint_whole(clip, tmp_path, monkeypatch):
    save_clip(clip, tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    write_bytes = clip_jax.checkpoint.Path.write_bytes

    def full_disk(self, content):
        write_bytes(self, content[:3])
        raise OSError(errno.ENOSPC, 'No space left on device')

    clip.logit_scale[...] = jnp.asarray(3.0)
    monkeypatch.setattr(clip_jax.checkpoint.Path, 'write_bytes', full_disk)
    with pytest.raises(OSError, match='the CLIP cannot be written') as raised:
        save_clip(clip, tmp_path)
    assert str(raised.value) == (
        f'the CLIP cannot be written to {tmp_path}: No space left on device; '
        'make room there, or give another directory.'
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_directory_that_cannot_be_made_is_named(clip, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=r'the CLIP cannot be written to .*file.inside: Not a directory; make room'):
        save_clip(clip, tmp_path / 'file' / 'inside')


def test_all_misfits_are_named_at_once(clip, tmp_path):
    save_clip(clip, tmp_path)
    weights = load_file(tmp_path / 'weights.safetensors')
    weights['extra'] = weights.pop('logit_scale')
    weights[BIAS] = weights[BIAS][:5]
    save_file(weights, tmp_path / 'weights.safetensors')
    with pytest.raises(ValueError, match='does not fit the config') as raised:
        load_clip(tmp_path)
    message = str(raised.value)
    assert 'weights.safetensors' in message
    assert 'logit_scale is missing' in message
    assert 'extra is unknown' in message
    assert f'{BIAS} has shape [5], expected [12]' in message


def test_half_a_clip_is_told(clip, tmp_path):
    save_clip(clip, tmp_path)
    weights = load_file(tmp_path / 'weights.safetensors')
    images = {name: weight for name, weight in weights.items() if not name.startswith('text_')}
    save_file(images, tmp_path / 'weights.safetensors')
    with pytest.raises(ValueError, match=r'weights\.safetensors: has no text tower, half of a CLIP is missing'):
        load_clip(tmp_path)


def test_damaged_files_are_named(clip, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'config\.json is missing'):
        load_clip(tmp_path)
    save_clip(clip, tmp_path)
    content = (tmp_path / 'weights.safetensors').read_bytes()
    (tmp_path / 'weights.safetensors').write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r'weights\.safetensors: is damaged or cut short'):
        load_clip(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(TINY.to_dict() | {'embed_dim': 0}))
    with pytest.raises(ValueError, match=r'config\.json: embed_dim must be positive'):
        load_clip(tmp_path)
    (tmp_path / 'weights.safetensors').unlink()
    with pytest.raises(FileNotFoundError, match=r'weights\.safetensors is missing'):
        load_clip(tmp_path)


def test_unknown_tokenizer_files_are_refused(clip, tmp_path):
    with pytest.raises(ValueError, match=r"'notes\.txt' is no tokenizer file"):
        save_clip(clip, tmp_path, tokenizer_files={'notes.txt': ''})
    assert not list(tmp_path.iterdir())
