"""A drawing, on the published FFHQ generator at full size, 512 x 512 pixels.

    python -m adaptation.main --config=configs/ffhq512_sketch.py --config.generator=S --config.clip=S,S \
        --config.reference.image=FILE

S is a published file (a path, https://..., or hf://owner/repo), or a directory that `python -m convert.eg3d` or
`python -m convert.clip` wrote; the encoders are ViT-B/32 and ViT-B/16. Writes runs/ffhq512_sketch. Batches of 1 stay
below 16 GiB; raise batch_size where there is more.
"""

from ml_collections import config_dict

from adaptation.config import default_config


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.generator = ''  # these three are the user's
    config.clip = ''
    config.reference.image = ''
    config.batch_size = 1
    config.truncation_psi = 0.7
    config.conditioning = 'frontal'
    return config
