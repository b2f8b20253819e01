"""Pictures inside a page: bytes, WebP files, data URIs.

V views, H and W the size of a picture in pixels.
"""

import base64
import io
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

QUALITY = 90  # of WebP, out of 100
FRAME_QUALITY = 80  # of a moving picture: nobody sees a frame for long
SLOWEST_METHOD = 6  # WebP's smallest files
LARGEST_REFERENCE = 512  # side of the reference in pixels; a larger one is reduced to it


def still(pixels: UInt8[np.ndarray, 'H W 3']) -> str:
    """A picture as the data URI of a WebP file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format='WEBP', quality=QUALITY, method=SLOWEST_METHOD)
    return _data_uri(file)


def swinging(views: UInt8[np.ndarray, 'V H W 3'], seconds: float) -> str:
    """Evenly spaced views, shown to and fro like a pendulum, as the data URI of a WebP file.

    Args:
        views: from one side to the other, at least two.
        seconds: from one side to the other.
    """
    times = swing_times(len(views), seconds)
    frames = [Image.fromarray(view) for view in (*views, *views[-2:0:-1])]
    file = io.BytesIO()
    frames[0].save(
        file,
        format='WEBP',
        save_all=True,
        append_images=frames[1:],
        duration=[*times, *times[-2:0:-1]],
        loop=0,
        quality=FRAME_QUALITY,
        method=SLOWEST_METHOD,
    )
    return _data_uri(file)


def swing_times(views: int, seconds: float) -> list[int]:
    """Milliseconds for each of evenly spaced views, fast in the middle and slow at the sides.

    The first and the last are shown for twice their share: at the end of one swing and the beginning of the next.
    """
    places = np.linspace(-1.0, 1.0, views)
    edges = np.concatenate([[-1.0], (places[1:] + places[:-1]) / 2, [1.0]])
    shares = np.diff(np.arcsin(edges)) / math.pi
    shares[[0, -1]] *= 2
    return [round(1000 * seconds * share) for share in shares]


def _data_uri(file: io.BytesIO) -> str:
    return f'data:image/webp;base64,{base64.b64encode(file.getvalue()).decode("ascii")}'
