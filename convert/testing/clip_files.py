"""Writes CLIP checkpoints as Hugging Face, OpenAI and OpenCLIP do."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import transformers

from clip_jax import ClipConfig

Form = Literal['safetensors', 'sharded safetensors', 'bin', 'sharded bin', 'old bin']
OPENAI_NAMES = (  # patterns of Hugging Face's names -> OpenAI's; the joint projection is handled apart
    (r'vision_model\.embeddings\.class_embedding', 'visual.class_embedding'),
    (r'vision_model\.embeddings\.patch_embedding\.weight', 'visual.conv1.weight'),
    (r'vision_model\.embeddings\.position_embedding\.weight', 'visual.positional_embedding'),
    (r'vision_model\.pre_layrnorm\.(.*)', r'visual.ln_pre.\1'),
    (r'vision_model\.post_layernorm\.(.*)', r'visual.ln_post.\1'),
    (r'visual_projection\.weight', 'visual.proj'),
    (r'text_model\.embeddings\.token_embedding\.weight', 'token_embedding.weight'),
    (r'text_model\.embeddings\.position_embedding\.weight', 'positional_embedding'),
    (r'text_model\.final_layer_norm\.(.*)', r'ln_final.\1'),
    (r'text_projection\.weight', 'text_projection'),
    (r'logit_scale', 'logit_scale'),
)
OPENAI_BLOCK_NAMES = (
    (r'self_attn\.out_proj\.(.*)', r'attn.out_proj.\1'),
    (r'layer_norm([12])\.(.*)', r'ln_\1.\2'),
    (r'mlp\.fc1\.(.*)', r'mlp.c_fc.\1'),
    (r'mlp\.fc2\.(.*)', r'mlp.c_proj.\1'),
)
HALF_PRECISION = r'.*(conv1|in_proj|out_proj|c_fc|c_proj).*|visual\.proj|text_projection'  # what OpenAI stores so


def random_model(config: ClipConfig, seed: int = 0) -> transformers.CLIPModel:
    """Hugging Face's model of these sizes; every weight is random, so that no bias or scale is trivial."""

    def tower(sizes: object, **others: int) -> dict[str, object]:
        values = vars(sizes)
        names = {'hidden_size': 'width', 'intermediate_size': 'mlp_width', 'num_hidden_layers': 'layers'}
        names |= {'num_attention_heads': 'heads', 'hidden_act': 'hidden_act', 'layer_norm_eps': 'layer_norm_eps'}
        return {theirs: values[ours] for theirs, ours in names.items()} | others

    vision, text = config.vision, config.text
    settings = transformers.CLIPConfig(
        vision_config=tower(vision, image_size=vision.image_size, patch_size=vision.patch_size),
        text_config=tower(
            text,
            vocab_size=text.vocab_size,
            max_position_embeddings=text.context_length,
            eos_token_id=text.eos_token_id,
            bos_token_id=text.vocab_size - 2,
        ),
        projection_dim=config.embed_dim,
    )
    model = transformers.CLIPModel(settings).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if re.search('layer_?norm|layrnorm', name):
                parameter.copy_(0.2 * noise + name.endswith('weight'))
            elif parameter.ndim == 2 and 'embedding' not in name:
                parameter.copy_(noise * parameter.shape[1] ** -0.5)
            else:
                parameter.copy_(0.1 * noise)
    return model


def write_hugging_face(directory: Path, model: transformers.CLIPModel, form: Form = 'safetensors') -> None:
    """Writes `config.json` and the weights into a new directory, in one file or several."""
    if form.endswith('safetensors'):
        size = sum(parameter.nbytes for parameter in model.parameters())
        model.save_pretrained(directory, max_shard_size=size // 3 if form.startswith('sharded') else size)
        return
    model.config.save_pretrained(directory)
    state = {**model.state_dict(), 'text_model.embeddings.position_ids': torch.arange(4)[None]}  # as older files have
    names = list(state)
    shards = {'pytorch_model.bin': names}
    if form == 'sharded bin':
        shards = {f'pytorch_model-{n + 1:05}-of-00002.bin': names[n::2] for n in range(2)}
        weight_map = {name: shard for shard, content in shards.items() for name in content}
        index = {'metadata': {}, 'weight_map': weight_map}
        (directory / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
    for shard, content in shards.items():
        torch.save(
            {name: state[name] for name in content},
            directory / shard,
            _use_new_zipfile_serialization=form != 'old bin',
        )


def openai_state(model: transformers.CLIPModel) -> dict[str, torch.Tensor]:
    """The model's weights under OpenAI's names, in OpenAI's layouts and precisions."""
    return {
        name: tensor.half() if re.fullmatch(HALF_PRECISION, name) else tensor
        for name, tensor in _original_state(model).items()
    }


def _original_state(model: transformers.CLIPModel) -> dict[str, torch.Tensor]:
    """The same in full precision."""
    theirs = dict(model.state_dict())
    state: dict[str, torch.Tensor] = {}
    for name, tensor in theirs.items():
        if block := re.fullmatch(r'(vision|text)_model\.encoder\.layers\.(\d+)\.(.*)', name):
            tower, index, rest = block.groups()
            prefix = f'{"visual." if tower == "vision" else ""}transformer.resblocks.{index}'
            if joint := re.fullmatch(r'self_attn\.q_proj\.(.*)', rest):
                parts = [theirs[name.replace('q_proj', part)] for part in ('q_proj', 'k_proj', 'v_proj')]
                state[f'{prefix}.attn.in_proj_{joint[1]}'] = torch.cat(parts)
            elif not re.fullmatch(r'self_attn\.[kv]_proj\..*', rest):
                state[f'{prefix}.{_renamed(rest, OPENAI_BLOCK_NAMES)}'] = tensor
        else:
            ours = _renamed(name, OPENAI_NAMES)
            state[ours] = tensor.T if ours in ('visual.proj', 'text_projection') else tensor
    return state


def open_clip_state(model: transformers.CLIPModel, text_module: bool = False) -> dict[str, torch.Tensor]:
    """The same under OpenCLIP's names, in full precision; with the text tower as a module of its own or not."""
    state = {}
    for name, tensor in _original_state(model).items():
        is_text = not name.startswith('visual.') and name != 'logit_scale'
        state[f'text.{name}' if text_module and is_text else name] = tensor.contiguous()
    return state


def open_clip_config(config: ClipConfig, **changes: object) -> dict[str, object]:
    """The contents of the `open_clip_config.json` of a model of these sizes."""
    vision, text = config.vision, config.text
    model = {
        'embed_dim': config.embed_dim,
        'vision_cfg': {
            'image_size': vision.image_size,
            'layers': vision.layers,
            'width': vision.width,
            'head_width': vision.width // vision.heads,
            'patch_size': vision.patch_size,
        },
        'text_cfg': {
            'context_length': text.context_length,
            'vocab_size': text.vocab_size,
            'width': text.width,
            'heads': text.heads,
            'layers': text.layers,
        },
    }
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return {'model_cfg': model | changes, 'preprocess_cfg': {'mean': mean, 'std': std}}


def original_shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    """OpenAI's names and shapes of a model of these sizes, made without the model."""
    vision, text = config.vision, config.text
    shapes: dict[str, tuple[int, ...]] = {
        'visual.class_embedding': (vision.width,),
        'visual.conv1.weight': (vision.width, 3, vision.patch_size, vision.patch_size),
        'visual.positional_embedding': (vision.grid**2 + 1, vision.width),
        'visual.proj': (vision.width, config.embed_dim),
        'token_embedding.weight': (text.vocab_size, text.width),
        'positional_embedding': (text.context_length, text.width),
        'text_projection': (text.width, config.embed_dim),
        'logit_scale': (),
    }
    norms = {'visual.ln_pre': vision.width, 'visual.ln_post': vision.width, 'ln_final': text.width}
    for prefix, tower in (('visual.', vision), ('', text)):
        for block in (f'{prefix}transformer.resblocks.{index}' for index in range(tower.layers)):
            norms |= {f'{block}.ln_1': tower.width, f'{block}.ln_2': tower.width}
            shapes |= {
                f'{block}.attn.in_proj_weight': (3 * tower.width, tower.width),
                f'{block}.attn.in_proj_bias': (3 * tower.width,),
                f'{block}.attn.out_proj.weight': (tower.width, tower.width),
                f'{block}.attn.out_proj.bias': (tower.width,),
                f'{block}.mlp.c_fc.weight': (tower.mlp_width, tower.width),
                f'{block}.mlp.c_fc.bias': (tower.mlp_width,),
                f'{block}.mlp.c_proj.weight': (tower.width, tower.mlp_width),
                f'{block}.mlp.c_proj.bias': (tower.width,),
            }
    for name, width in norms.items():
        shapes |= {f'{name}.weight': (width,), f'{name}.bias': (width,)}
    return shapes


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    return next(match.expand(target) for pattern, target in rules if (match := re.fullmatch(pattern, name)))


class _Part(torch.nn.Module):
    """A module of a TorchScript file."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [1, 2]

    def forward(self) -> list[int]:
        return self.sizes


def write_openai(path: Path, state: Mapping[str, torch.Tensor], sizes: tuple[int, int, int]) -> None:
    """Writes a TorchScript archive with these weights.

    Args:
      path: of the archive.
      state: from `openai_state`.
      sizes: input_resolution, context_length and vocab_size, which OpenAI's files hold as well.
    """
    root = _Part()
    parts: dict[str, torch.nn.Module] = {'': root}
    for name, tensor in state.items():
        path_to, _, leaf = name.rpartition('.')
        _part(parts, path_to).register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
    for name, size in zip(('input_resolution', 'context_length', 'vocab_size'), sizes, strict=True):
        root.register_buffer(name, torch.tensor(size))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(root), path)


def _part(parts: dict[str, torch.nn.Module], path: str) -> torch.nn.Module:
    if path not in parts:
        parent, _, name = path.rpartition('.')
        parts[path] = _Part()
        _part(parts, parent).add_module(name, parts[path])
    return parts[path]
