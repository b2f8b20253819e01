"""A pencil sketch, a ukiyo-e print and a cartoon in one generator, on the shipped miniature: no download.

    python -m adaptation.main --config=configs/three_styles.py

Writes runs/three_styles: `samples/` shows each reference, the source's heads and the same heads adapted;
`adapter.safetensors` holds all three styles: `python -m adaptation.generate --workdir=runs/three_styles
--domain=sketch`, or `--domain=sketch:0.5,cartoon:0.5`.
"""

from ml_collections import config_dict

from adaptation.config import default_config


def get_config() -> config_dict.ConfigDict:
    """The settings of this experiment."""
    config = default_config()
    config.references = {
        'sketch': {
            'image': 'miniature/references/sketch.png',
            'factors': {'dis': 2.0, 'istr': 0.5, 'fine': 30.0, 'crisp': 0.0, 'edges': 0.0},
        },
        'ukiyoe': {
            'image': 'miniature/references/ukiyoe.png',
            'factors': {'dis': 1.0, 'istr': 0.24, 'fine': 10.0, 'palette': 0.0},
            'rate': 0.7,
            'strokes': False,  # the sketch's alone
        },
        'cartoon': {  # as in its own config: slowly, or the reference's own skin and background colour every head
            'image': 'miniature/references/cartoon.png',
            'factors': {
                'dis': 0.12,
                'fstr': 4.0,
                'fine': 3.0,
                'crisp': 0.0,
                'palette': 0.0,
                'edges': 0.0,
                'pair': 0.3,
            },
            'rate': 0.3,
            'strokes': False,
        },
    }
    config.clip_layers = (1,)  # the paper's fourth of twelve blocks is the second of the miniature's five
    config.batch_size = 2
    config.source_samples = 64
    config.direction_whitening = 3.0  # without, the references' own colours have a part in their directions
    config.encoder_crop = 0.1  # as in the print's own config; the sketch's has 0.2, the cartoon's none
    config.phases.phase1.steps = 60
    config.phases.phase1.render_resolution = 32  # a quarter of the rays: Tri-D learns colours, not lines
    config.phases.phase2.steps = 20
    config.phases.phase2.updates = 8  # rendering costs more than training G2
    config.phases.phase1.learning_rate = 1e-2
    config.phases.phase2.learning_rate = 8e-3
    config.phases.phase2.weights.fine = 1.0  # times a domain's factor
    config.phases.phase2.weights.crisp = 30.0  # the print's alone
    config.phases.phase2.weights.edges = 50.0  # as well
    config.phases.phase2.strokes = True
    for phase in (config.phases.phase1, config.phases.phase2):
        phase.final_rate = 0.02
        phase.weights.dis = 1.0  # times a domain's factor
        phase.weights.palette = 150.0  # the sketch's alone
        phase.weights.pair = 3.0  # times a domain's factor
    return config
