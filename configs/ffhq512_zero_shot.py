"""A drawing told in words, without any picture, on the published FFHQ generator at full size, 512 x 512 pixels.

    python -m adaptation.main --config=configs/ffhq512_zero_shot.py --config.generator=S --config.clip=S,S \
        [--config.target_text='an ukiyo-e print of a face']

S is a published file (a path, https://..., or hf://owner/repo), or a directory that `python -m convert.eg3d` or
`python -m convert.clip` wrote, with the tokenizer's files beside the encoder; the encoders are ViT-B/32 and ViT-B/16.
Writes runs/ffhq512_zero_shot. Batches of 1 stay below 16 GiB; raise batch_size where there is more.
"""

from ml_collections import config_dict

from adaptation.config import default_config
from adaptation.templates import CLIP_TEMPLATES


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.generator = ''  # these two are the user's
    config.clip = ''
    config.target_text = 'a pencil sketch of a face'
    config.source_text = 'a face'
    config.prompt_templates = CLIP_TEMPLATES
    config.batch_size = 1
    config.truncation_psi = 0.7
    config.conditioning = 'frontal'
    for phase in config.phases.values():
        phase.weights.dis = 0.0  # it compares with a picture's patches, and there is none
    return config
