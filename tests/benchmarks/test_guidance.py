"""What the shipped encoders say of true drawings, and the table of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import clip_jax
from adaptation.guidance import make_guides
from adaptation.inputs import encoder_directories
from benchmarks import guidance
from benchmarks.target_domain import BATCH, Images
from eg3d_jax import PRESETS
from eg3d_jax.cameras import sample_poses
from miniature import world
from miniature.references import DIRECTORY

pytestmark = pytest.mark.usefixtures('optimised')  # worlds are rendered

RESOLUTION = 64


def shipped_sketch() -> jax.Array:
    """The reference of the sketch's config."""
    return jnp.asarray(np.asarray(Image.open(DIRECTORY / 'sketch.png').convert('RGB')), jnp.float32) / 127.5 - 1


@pytest.fixture(scope='module')
def pictures(optimised: None) -> dict[str, Images]:
    """The same heads as photos and as sketches."""
    heads = world.sample(jax.random.key(3), BATCH)
    cameras = sample_poses(jax.random.key(4), BATCH, PRESETS['miniature'].camera)
    drawn = world.render_styles(heads, cameras, RESOLUTION, styles=('photo', 'sketch'))
    return {style: np.asarray(images) for style, images in drawn.items()}


def test_true_drawings_have_smaller_losses_than_photos(pictures: dict[str, Images]) -> None:
    photos, drawings = pictures['photo'], pictures['sketch']
    clips = [clip_jax.load_clip(directory) for directory in encoder_directories(['miniature'])]
    reference = shipped_sketch()
    for guide in make_guides(clips, [1] * len(clips), reference, [jnp.asarray(photos)]):
        of_photos = guidance.said_of(guide, photos, photos)
        of_drawings = guidance.said_of(guide, drawings, photos)
        assert of_photos['direction'] == pytest.approx(1.0)  # nothing has moved
        assert of_photos['structure'] == pytest.approx(0.0, abs=1e-5)
        assert of_drawings['direction'] < 0.5
        assert of_drawings['distribution'] < 0.5 * of_photos['distribution']
        assert of_drawings['structure'] > 0.1


def test_all_samples_count_alike(pictures: dict[str, Images]) -> None:
    photos, drawings = pictures['photo'], pictures['sketch']
    clip = clip_jax.load_clip(encoder_directories(['miniature'])[0])
    reference = shipped_sketch()
    (guide,) = make_guides([clip], [1], reference, [jnp.asarray(photos)])
    first, second = guidance.said_of(guide, drawings, photos), guidance.said_of(guide, photos, photos)
    both = guidance.said_of(guide, np.concatenate([drawings, photos]), np.concatenate([photos, photos]))
    for name in guidance.LOSSES:
        assert both[name] == pytest.approx((first[name] + second[name]) / 2, abs=1e-5)


def record(style: str, truth: float, adapted: float) -> dict[str, Any]:
    said = {whose: dict.fromkeys(guidance.LOSSES, loss) for whose, loss in (('truth', truth), ('adapted', adapted))}
    return {'style': style, 'said': {'clip_patch8': said}}


def test_the_table_has_true_and_adapted_heads_of_each_style_side_by_side() -> None:
    records = [record('sketch', 0.2, 0.3), record('sketch', 0.4, 0.7), record('cartoon', 0.1, 0.1)]
    lines = guidance.table(records).splitlines()
    assert lines[0] == '| | sketch, true | sketch, adapted | cartoon, true | cartoon, adapted |'
    assert lines[2] == (
        '| DDR, clip_patch8 | 0.30 (0.20 to 0.40) | 0.50 (0.30 to 0.70) | 0.10 (0.10 to 0.10) | 0.10 (0.10 to 0.10) |'
    )
    assert [line.split(',')[0] for line in lines[2:]] == ['| DDR', '| TDL', '| ISSM']


@pytest.mark.parametrize('samples', ['0', '24', '528'])
def test_a_number_of_samples_that_cannot_be_is_refused(samples: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        guidance.main([f'--samples={samples}'])
    assert stopped.value.code == 2
    assert f'--samples: expected a multiple of 16 up to 512, got {samples}' in capsys.readouterr().err
