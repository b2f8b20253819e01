"""A cartoon, on the shipped miniature: no download.

    python -m adaptation.main --config=configs/cartoon.py

Writes runs/cartoon: `samples/` shows the reference, the source's heads and the same heads adapted;
`adapter.safetensors` is the result.
"""

from ml_collections import config_dict

from adaptation.config import default_config


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.reference.image = 'miniature/references/cartoon.png'
    config.clip_layers = (2,)  # of the miniature's five blocks; the paper takes the fourth of twelve
    config.source_samples = 64
    config.direction_whitening = 3.0  # without, the reference's own colours have a part in the direction
    config.phases.phase1.steps = 20
    config.phases.phase1.render_resolution = 32  # a quarter of the rays: Tri-D learns colours, not lines
    config.phases.phase2.steps = 20
    config.phases.phase2.updates = 4  # rendering costs more than training G2
    config.phases.phase1.learning_rate = 2.5e-3
    config.phases.phase2.learning_rate = 4e-3
    config.phases.phase1.weights.fstr = 4.0
    config.phases.phase2.weights.fine = 3.0  # crisp ink outlines; with more, the reference's contrasts darken faces
    for phase in (config.phases.phase1, config.phases.phase2):
        phase.final_rate = 0.02  # without, the last steps are as long as the first: soft and smudged lines
        phase.weights.dis = 0.12  # with more of it, the reference's own skin and background colour every head
        phase.weights.pair = 1.0  # fewer rings around heads, and no darker faces
    return config
