"""A ukiyo-e print, on the shipped miniature: no download.

    python -m adaptation.main --config=configs/ukiyoe.py

Writes runs/ukiyoe: `samples/` shows the reference, the source's heads and the same heads adapted;
`adapter.safetensors` is the result.
"""

from ml_collections import config_dict

from adaptation.config import default_config


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.reference.image = 'miniature/references/ukiyoe.png'
    config.clip_layers = (1,)  # the paper's fourth of twelve blocks is the second of the miniature's five
    config.source_samples = 64
    config.batch_size = 3  # and the pair's head
    config.direction_whitening = 3.0  # without, the reference's own colours have a part in the direction
    config.encoder_crop = 0.1  # marks on the borders of patches, which are no lines, do not pay
    config.phases.phase1.steps = 60
    config.phases.phase1.render_resolution = 32  # a quarter of the rays: Tri-D learns colours, not lines
    config.phases.phase2.steps = 40
    config.phases.phase2.updates = 4  # rendering costs more than training G2
    config.phases.phase1.learning_rate = 1e-2
    config.phases.phase2.learning_rate = 8e-3
    config.phases.phase2.weights.fine = 10.0  # ink outlines, which CLIPs this small do not ask for
    config.phases.phase2.weights.crisp = 30.0  # without, they are as strong as the reference's, and softer
    config.phases.phase2.weights.edges = 50.0  # without, pale rings around heads, frames, and fringes of colour
    for phase in (config.phases.phase1, config.phases.phase2):
        phase.final_rate = 0.02  # without, the last steps are as long as the first: soft and smudged lines
        phase.weights.dis = 1.0  # with more, the reference's own clothes and skin colour every head
        phase.weights.istr = 0.12
        phase.weights.pair = 3.0  # what the print makes of skin, hair and outlines, where CLIPs this small are vague
    return config
