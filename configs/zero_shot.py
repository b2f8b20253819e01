"""A pencil sketch told in words, without any picture, on the shipped miniature: no download.

    python -m adaptation.main --config=configs/zero_shot.py [--config.target_text='a cartoon of a head']

Writes runs/zero_shot: `samples/` shows the texts, the source's heads and the same heads adapted;
`adapter.safetensors` is the result: grey heads with dark outlines on paper, without hatching, whose skin and hair keep
a tinge of green, blue or violet. With --config.reference.image=FILE the picture guides as well, and text_weight is
the texts' share of the direction. With encoders of your own, take CLIP_TEMPLATES.
"""

from ml_collections import config_dict

from adaptation.config import default_config
from adaptation.templates import MINIATURE_TEMPLATES


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.target_text = 'a pencil sketch of a head'
    config.source_text = 'a photo of a head'
    config.prompt_templates = MINIATURE_TEMPLATES
    config.clip_layers = (1,)  # the paper's fourth of twelve blocks is the second of the miniature's five
    config.phases.phase1.steps = 250
    config.phases.phase2.steps = 200
    for phase in config.phases.values():
        phase.weights.dis = 0.0  # it compares with a picture's patches, and there is none
    return config
