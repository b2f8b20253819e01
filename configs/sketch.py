"""A pencil sketch, on the shipped miniature: no download.

    python -m adaptation.main --config=configs/sketch.py

Writes runs/sketch: `samples/` shows the reference, the source's heads and the same heads adapted;
`adapter.safetensors` is the result.
"""

from ml_collections import config_dict

from adaptation.config import default_config


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.reference.image = 'miniature/references/sketch.png'
    config.clip_layers = (1,)  # the paper's fourth of twelve blocks is the second of the miniature's five
    config.source_samples = 64
    config.direction_whitening = 3.0  # the direction leads towards the reference's own head by less
    config.encoder_crop = 0.2  # marks on the borders of patches, which are no lines, do not pay
    config.phases.phase1.steps = 60
    config.phases.phase1.render_resolution = 32  # a quarter of the rays: Tri-D learns colours, not lines
    config.phases.phase2.steps = 40
    config.phases.phase2.updates = 4  # rendering costs more than training G2
    config.phases.phase1.learning_rate = 1e-2
    config.phases.phase2.learning_rate = 8e-3
    config.phases.phase2.weights.fine = 30.0  # crisp dark outlines, which CLIPs this small do not ask for
    config.phases.phase1.weights.palette = 150.0  # pencil on paper: without, hair, clothes and paper keep tints
    config.phases.phase2.weights.palette = 150.0
    config.phases.phase2.strokes = True  # hatching, which G2 cannot draw out of a smooth feature image
    for phase in (config.phases.phase1, config.phases.phase2):
        phase.final_rate = 0.02  # without, the last steps are as long as the first: soft and smudged lines
        phase.weights.dis = 2.0  # with more, outlines and dark hair are paler
        phase.weights.istr = 0.25
        phase.weights.pair = 3.0  # a little nearer to true drawings, by the search; with more, no longer
    return config
