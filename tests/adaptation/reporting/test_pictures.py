"""Data URIs that a browser, and here Pillow, reads back."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from adaptation.reporting.pictures import still, swing_times, swinging

LOSS = 12  # of a smooth picture's bytes, in WebP


def opened(uri: str) -> Image.Image:
    start = 'data:image/webp;base64,'
    assert uri.startswith(start)
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(start), validate=True)))


def smooth(shift: int) -> np.ndarray:
    ramp = np.linspace(40, 200, 32)[:, None, None] + np.array([0, 20, 40]) + shift
    return np.broadcast_to(ramp, (32, 32, 3)).astype(np.uint8)


def test_a_still_picture():
    np.testing.assert_allclose(np.asarray(opened(still(smooth(0)))), smooth(0), atol=LOSS)


def test_a_head_swings_to_and_fro():
    views = np.stack([smooth(shift) for shift in (-40, -10, 15)])
    clip = opened(swinging(views, 2.0))
    assert clip.n_frames == 4
    assert clip.info['loop'] == 0, 'for ever'
    for frame, view in enumerate((0, 1, 2, 1)):
        clip.seek(frame)
        np.testing.assert_allclose(np.asarray(clip.convert('RGB')), views[view], atol=LOSS)


@pytest.mark.parametrize('views', [2, 3, 13])
def test_a_swing_takes_its_time(views: int):
    times = swing_times(views, 2.0)
    there_and_back = sum(times) + sum(times[-2:0:-1])
    assert there_and_back == pytest.approx(4000, abs=views), 'milliseconds, each rounded'
    assert times == times[::-1]
    middle = times[: (views + 1) // 2]
    assert middle == sorted(middle, reverse=True), 'slow at the sides, fast in the middle'
