"""Tables of names: Hugging Face's CLIP, and OpenAI's and OpenCLIP's -> ours, which are Hugging Face's."""

from __future__ import annotations

import re

from convert.engine import CONVOLUTION, LINEAR, SAME, Ignore, Layout, Table, Use

TOWER = r'(vision_model|text_model)'
BLOCK = rf'{TOWER}\.encoder\.layers\.\d+'
EMBEDDINGS = r'(vision_model\.embeddings\.position|text_model\.embeddings\.(token|position))_embedding'
LAYER_NORM = rf'({BLOCK}\.layer_norm[12]|vision_model\.(pre_layrnorm|post_layernorm)|text_model\.final_layer_norm)'

HUGGING_FACE: Table = (
    Use.one(r'vision_model\.embeddings\.class_embedding', SAME),
    Use.one(r'vision_model\.embeddings\.patch_embedding\.weight', CONVOLUTION),
    Use.one(rf'{EMBEDDINGS}\.weight', SAME),
    Use.one(rf'{BLOCK}\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])\.weight', LINEAR),
    Use.one(rf'{BLOCK}\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])\.bias', SAME),
    Use.one(rf'{LAYER_NORM}\.(weight|bias)', SAME),
    Use.one(r'(visual|text)_projection\.weight', LINEAR),
    Use.one(r'logit_scale', SAME),
    Ignore(rf'{TOWER}\.embeddings\.position_ids', 'position_ids count from 0'),
)


def _original_tower(resblocks: str, tower: str) -> Table:
    """The blocks of a transformer. `resblocks` is a pattern without groups."""
    source, target = rf'{resblocks}\.(\d+)', rf'{tower}.encoder.layers.\1'
    query, key, value = (rf'{target}.self_attn.{name}_proj' for name in 'qkv')
    return (
        Use(
            rf'{source}\.attn\.in_proj_weight',
            (
                (f'{query}.weight', Layout(LINEAR.axes, third=0)),
                (f'{key}.weight', Layout(LINEAR.axes, third=1)),
                (f'{value}.weight', Layout(LINEAR.axes, third=2)),
            ),
        ),
        Use(
            rf'{source}\.attn\.in_proj_bias',
            (
                (f'{query}.bias', Layout(third=0)),
                (f'{key}.bias', Layout(third=1)),
                (f'{value}.bias', Layout(third=2)),
            ),
        ),
        Use.one(rf'{source}\.attn\.out_proj\.weight', LINEAR, rf'{target}.self_attn.out_proj.weight'),
        Use.one(rf'{source}\.attn\.out_proj\.bias', SAME, rf'{target}.self_attn.out_proj.bias'),
        Use.one(rf'{source}\.ln_([12])\.(weight|bias)', SAME, rf'{target}.layer_norm\2.\3'),
        Use.one(rf'{source}\.mlp\.c_fc\.weight', LINEAR, rf'{target}.mlp.fc1.weight'),
        Use.one(rf'{source}\.mlp\.c_fc\.bias', SAME, rf'{target}.mlp.fc1.bias'),
        Use.one(rf'{source}\.mlp\.c_proj\.weight', LINEAR, rf'{target}.mlp.fc2.weight'),
        Use.one(rf'{source}\.mlp\.c_proj\.bias', SAME, rf'{target}.mlp.fc2.bias'),
    )


def _original(text: str) -> Table:
    """OpenAI's names, which are OpenCLIP's as well. `text` is a pattern of what is in front of the text tower's.

    The two projections are [in, out] already.
    """
    return (
        Use.one(r'visual\.class_embedding', SAME, 'vision_model.embeddings.class_embedding'),
        Use.one(r'visual\.conv1\.weight', CONVOLUTION, 'vision_model.embeddings.patch_embedding.weight'),
        Use.one(r'visual\.positional_embedding', SAME, 'vision_model.embeddings.position_embedding.weight'),
        Use.one(r'visual\.ln_pre\.(weight|bias)', SAME, r'vision_model.pre_layrnorm.\1'),
        *_original_tower(r'visual\.transformer\.resblocks', 'vision_model'),
        Use.one(r'visual\.ln_post\.(weight|bias)', SAME, r'vision_model.post_layernorm.\1'),
        Use.one(r'visual\.proj', SAME, 'visual_projection.weight'),
        Use.one(rf'{text}token_embedding\.weight', SAME, 'text_model.embeddings.token_embedding.weight'),
        Use.one(rf'{text}positional_embedding', SAME, 'text_model.embeddings.position_embedding.weight'),
        *_original_tower(rf'{text}transformer\.resblocks', 'text_model'),
        Use.one(rf'{text}ln_final\.(weight|bias)', SAME, r'text_model.final_layer_norm.\1'),
        Use.one(rf'{text}text_projection', SAME, 'text_projection.weight'),
        Use.one(r'logit_scale', SAME),
        Ignore(r'input_resolution|context_length|vocab_size', 'sizes that the shapes say as well'),
        Ignore(rf'{text}attn_mask', 'attn_mask is what the code makes itself: no token sees a later one'),
    )


TEXT_PREFIX = 'text.'  # of the text tower in OpenCLIP's models that keep it as a module of its own
ORIGINAL = _original('')
ORIGINAL_WITH_TEXT_MODULE = _original(re.escape(TEXT_PREFIX))
