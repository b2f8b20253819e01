"""Words in pictures: labels, and the texts that guide a run where its reference picture would stand.

S side of a square in pixels.
"""

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = (255, 255, 255), (20, 20, 20), (120, 120, 120)
SMALLEST_TYPE = 6  # pixels; what does not fit at this size is cut off
LABEL_TYPE = 14  # pixels; labels are no larger
MARGIN = 0.06  # of the side, around the texts
LARGEST_SHARE = 0.11  # of the side, that a line of the largest type takes
LEADING = 1.25  # from line to line, in sizes of the type


def prompt_picture(target: str, source: str, side: int) -> Float[np.ndarray, 'S S 3']:
    """The texts of a run as a picture in [-1, 1]: what it leads to in ink, below it what it comes from, faint."""
    page = Image.new('RGB', (side, side), PAPER)
    draw = ImageDraw.Draw(page)
    margin = round(side * MARGIN)
    width = side - 2 * margin
    for size in range(max(SMALLEST_TYPE, round(side * LARGEST_SHARE)), SMALLEST_TYPE - 1, -1):
        lines = [(line, INK) for line in wrap(target, size, width)]
        lines += [('', INK), *((line, FAINT) for line in wrap(f'instead of {source}', size, width))]
        if len(lines) * size * LEADING <= width and all(_width(line, size) <= width for line, _ in lines):
            break
    top = max(margin, (side - len(lines) * size * LEADING) / 2)
    for index, (line, colour) in enumerate(lines):
        draw.text((margin, top + index * size * LEADING), line, fill=colour, font=_font(size))
    return np.asarray(page, np.float32) / 127.5 - 1


def label(text: str, width: int, height: int) -> np.ndarray:
    """A [height, width, 3] uint8 strip with a line of text in its middle, smaller where it is too long."""
    page = Image.new('RGB', (width, height), PAPER)
    size = max(SMALLEST_TYPE, min(LABEL_TYPE, round(height * 0.7)))
    while size > SMALLEST_TYPE and _width(text, size) > width - 4:
        size -= 1
    ImageDraw.Draw(page).text((width / 2, height / 2), text, fill=INK, font=_font(size), anchor='mm')
    return np.asarray(page)


def wrap(text: str, size: int, width: int) -> list[str]:
    """A text in lines no wider than `width` pixels at this size of type, broken between words where possible."""
    lines: list[str] = []
    for word in text.split():
        longer = f'{lines[-1]} {word}' if lines else word
        if lines and _width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same everywhere."""
    return ImageFont.load_default(size)
