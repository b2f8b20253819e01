"""What is painted on the solids: eyes, brows, lips, strands of hair, patterns of cloth.

Every painter takes world points and returns colours there, with soft edges about a third of a pixel wide at 128 x 128.
`ink` is the share of a drawn facial line at a point (lids, brows, mouth, wrinkles), which drawing styles trace.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from miniature.world.anatomy import Landmarks, Part
from miniature.world.latent import CHOICES, Heads
from miniature.world.vectors import Scalar, Vector, grey, mix, select, smoothstep, vector

_SOFT = 0.0028  # half-width of a painted edge

_SCLERA = Vector(0.985, 0.975, 0.965)
_PUPIL = Vector(0.07, 0.06, 0.08)
_LID = Vector(0.20, 0.12, 0.11)
_BLUSH = Vector(0.96, 0.42, 0.38)
_LIP = Vector(0.80, 0.26, 0.28)
_MOUTH_INSIDE = Vector(0.42, 0.09, 0.12)
_TEETH = Vector(0.99, 0.97, 0.94)
_DARK_BROWN = Vector(0.20, 0.13, 0.10)


class Paint(NamedTuple):
    albedo: Vector
    ink: Array


def paint(head: Heads, marks: Landmarks, part: Array, p: Vector) -> Paint:
    """Returns the colour of points p that lie on (or near) the surface of `part`."""
    colour = {name: vector(value) for name, value in head.colours.items()}
    skin = _skin(head, marks, p)
    trim, band = _trim(head, colour), _contrast(colour['headwear'])
    hair = _strands(head, marks, colour['hair'], p)
    coats = {
        Part.HAIR: hair,
        Part.BEARD: _bristles(marks, colour['hair'], p),
        Part.CLOTHES: _cloth(head, colour['clothes'], p),
        Part.TRIM: _ribs(trim, p, head.has('neckline', 'scarf')),
        Part.GLASSES: colour['glasses'],
        Part.HEADWEAR: colour['headwear'],
        Part.BAND: select(head.has('headwear', 'headband'), colour['headwear'], band),
        Part.EARRING: colour['earrings'],
    }
    albedo = skin.albedo
    for name, coat in coats.items():
        albedo = select(part == name, coat, albedo)
    return Paint(albedo, jnp.where(part == Part.SKIN, skin.ink, 0.0))


def _inside(distance: Scalar) -> Array:
    """Coverage of a shape whose signed distance is given."""
    return smoothstep(_SOFT, -_SOFT, distance)


def _skin(head: Heads, marks: Landmarks, p: Vector) -> Paint:
    skin = vector(head.colours['skin'])
    facing = smoothstep(0.02, 0.08, p.z)  # features are painted on the front only
    mirrored = Vector(jnp.abs(p.x), p.y, p.z)
    albedo = mix(skin, skin * Vector(0.97, 0.86, 0.82), smoothstep(0.75, 1.0, p.x * p.x * 26.0) * (p.z < 0.06))
    cheek = _radius(mirrored.x - 0.118, p.y + 0.052, 0.048, 0.036)
    albedo = mix(
        albedo, skin * 0.4 + _BLUSH * skin * 0.75, facing * smoothstep(1.0, 0.35, cheek) * 0.75 * head.amount('blush')
    )
    albedo = mix(albedo, skin * Vector(0.70, 0.52, 0.45), facing * _freckles(head, p) * 0.75)
    lines = facing * _age_lines(head, marks, mirrored)
    albedo = mix(albedo, skin * Vector(0.62, 0.50, 0.46), lines * 0.7)
    brows = facing * _brows(head, marks, mirrored)
    hair = vector(head.colours['hair'])
    albedo = mix(albedo, hair * 0.62 + _DARK_BROWN * 0.18, brows)
    albedo, mouth_ink = _mouth(head, marks, skin, albedo, p, facing)
    albedo, eye_ink = _eyes(head, marks, skin, albedo, p, facing)
    return Paint(albedo, jnp.maximum(jnp.maximum(lines * 0.6, brows * 0.85), jnp.maximum(mouth_ink, eye_ink)))


def _radius(x: Scalar, y: Scalar, radius_x: Scalar, radius_y: Scalar) -> Array:
    """Squared distance from the centre of an ellipse, 1 on its outline."""
    return jnp.square(x / radius_x) + jnp.square(y / radius_y)


def _ellipse(x: Scalar, y: Scalar, radius_x: Scalar, radius_y: Scalar) -> Array:
    """Signed distance to an ellipse, exact for a circle and close to it for a stout ellipse."""
    return (jnp.sqrt(_radius(x, y, radius_x, radius_y) + 1e-9) - 1.0) * jnp.minimum(radius_x, radius_y)


def _eyes(
    head: Heads, marks: Landmarks, skin: Vector, albedo: Vector, p: Vector, facing: Array
) -> tuple[Vector, Array]:
    side = jnp.where(p.x > 0.0, 1.0, -1.0)
    x, y = jnp.abs(p.x) - marks.eye_x, p.y - marks.eye_y  # x grows outwards
    w, h = marks.eye_width, marks.eye_height
    outline = _ellipse(x, y, w, h)
    lid_y = h * (0.28 + 0.72 * head.amount('eye_openness')) - 0.10 * h * x / w
    lid = y - lid_y
    opening = jnp.maximum(outline, lid)
    open_ = facing * _inside(opening)
    albedo = mix(albedo, skin * Vector(0.90, 0.78, 0.74), facing * _inside(outline - 0.004))
    eye = _iris(head, marks, x, y, side)
    lid_shade = 1.0 - 0.22 * smoothstep(-0.020, 0.0, opening) * (y > 0.0)
    albedo = mix(albedo, eye * lid_shade, open_)
    line = _inside(jnp.abs(opening) - 0.0052) * smoothstep(-0.010, 0.004, y - 0.1 * h)
    lash = _inside(
        jnp.maximum(
            _segment(x, y, w * 0.80, jnp.minimum(lid_y, h * 0.62), w * 1.28, jnp.minimum(lid_y, h * 0.62) + 0.014)
            - 0.0055,
            -9.0,
        )
    )
    lash = lash * head.has('lashes', 'lashes')
    rim = _inside(jnp.abs(opening) - 0.0022) * 0.45
    ink = facing * jnp.maximum(jnp.maximum(line, lash), rim)
    pupil = _inside(_ellipse(x, y, 0.52 * w * 0.6, 0.6 * w * 0.6))
    return mix(albedo, _LID, ink), jnp.maximum(ink, open_ * pupil)


def _iris(head: Heads, marks: Landmarks, x: Array, y: Array, side: Array) -> Vector:
    size = marks.eye_width * (0.62 + 0.16 * head.amount('iris_size'))
    x, y = x + 0.10 * marks.eye_width, y + 0.004
    colour = vector(head.colours['eyes'])
    glow = mix(colour * 0.72, colour * 1.12 + grey(0.08), smoothstep(0.4, -0.9, y / size))
    iris = _ellipse(x, y, size, size)
    eye = mix(_SCLERA, colour * 0.42, _inside(iris))
    eye = mix(eye, glow, _inside(iris + 0.0050))
    eye = mix(eye, _PUPIL, _inside(_ellipse(x, y, size * 0.52, size * 0.56)))
    gleam = _ellipse(side * x + 0.36 * size, y - 0.40 * size, 0.28 * size, 0.28 * size)
    return mix(eye, grey(1.0), _inside(gleam))


def _segment(x: Array, y: Array, x0: Scalar, y0: Scalar, x1: Scalar, y1: Scalar) -> Array:
    """Distance to the line segment from (x0, y0) to (x1, y1)."""
    dx, dy = x1 - x0, y1 - y0
    t = jnp.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return jnp.sqrt(jnp.square(x - x0 - t * dx) + jnp.square(y - y0 - t * dy) + 1e-12)


def _brows(head: Heads, marks: Landmarks, p: Vector) -> Array:
    """Arched strokes, thick towards the nose; tilt raises the outer or the inner ends."""
    x = (p.x - marks.eye_x) / (marks.eye_width * 1.15)
    tilt = 0.030 * (head.amount('brow_tilt') - 0.5)
    arch = marks.brow_y + tilt * x - 0.010 * x * x
    thickness = (0.0055 + 0.0095 * head.amount('brow_thickness')) * (1.0 - 0.30 * x)
    end = jnp.maximum(jnp.abs(x) - 1.0, 0.0) * marks.eye_width
    return _inside(jnp.sqrt(jnp.square(p.y - arch) + end * end + 1e-12) - thickness)


def _mouth(
    head: Heads, marks: Landmarks, skin: Vector, albedo: Vector, p: Vector, facing: Array
) -> tuple[Vector, Array]:
    """A curve that smiles or sulks, lips of varying fullness, and teeth where the smile is wide."""
    smile, w = head.amount('smile'), marks.mouth_width
    u = p.x / w
    taper = jnp.maximum(1.0 - u * u, 0.0)
    curve = marks.mouth_y + (0.056 * smile - 0.013) * (u * u - 0.5)
    gap = 0.036 * smoothstep(0.60, 1.0, smile) * taper
    fullness = 0.004 + 0.0135 * head.amount('lip_fullness')
    middle = curve - 0.5 * gap
    end = jnp.maximum(jnp.abs(u) - 1.0, 0.0) * w
    lips = jnp.abs(p.y - middle + 0.12 * fullness) - 0.5 * gap - fullness * jnp.sqrt(taper) + end
    inside = jnp.abs(p.y - middle) - 0.5 * gap
    line = jnp.sqrt(jnp.square(jnp.maximum(inside, 0.0)) + end * end + 1e-12) - 0.0042
    front = facing * (jnp.abs(u) < 1.3)
    lip_colour = mix(skin * Vector(0.86, 0.52, 0.50), _LIP, 0.45)
    albedo = mix(albedo, lip_colour, front * _inside(lips))
    albedo = mix(albedo, _MOUTH_INSIDE * mix(grey(1.0), skin, 0.5), front * _inside(line))
    teeth = jnp.maximum(inside + 0.001, middle - p.y)
    albedo = mix(albedo, _TEETH, front * _inside(teeth + 0.0015) * (gap > 0.004))
    return albedo, front * _inside(line) * (1.0 - _inside(teeth) * (gap > 0.004))


def _age_lines(head: Heads, marks: Landmarks, p: Vector) -> Array:
    """Folds beside the nose, bags under the eyes, and two lines across the forehead."""
    fold = _segment(p.x, p.y, 0.047, -0.060, 0.054 + 0.34 * marks.mouth_width, marks.mouth_y + 0.016) - 0.0042
    v = (p.x - marks.eye_x) / marks.eye_width
    bag = (
        jnp.abs(p.y - marks.eye_y + marks.eye_height + 0.014 - 0.012 * v * v)
        - 0.0042
        + jnp.maximum(jnp.abs(v) - 0.7, 0.0)
    )
    brow = jnp.minimum(
        jnp.abs(p.y - marks.brow_y - 0.034 + 0.6 * p.x * p.x), jnp.abs(p.y - marks.brow_y - 0.056 + 0.6 * p.x * p.x)
    )
    forehead = brow - 0.0040 + jnp.maximum(p.x - 0.085, 0.0)
    lines = _inside(jnp.minimum(jnp.minimum(fold, bag), forehead))
    return lines * head.has('age_lines', 'lines')


_FRECKLES = (
    (0.075, -0.052),
    (0.098, -0.040),
    (0.122, -0.052),
    (0.088, -0.075),
    (0.113, -0.076),
    (0.139, -0.068),
    (0.028, -0.022),
)


def _freckles(head: Heads, p: Vector) -> Array:
    lean = jnp.where(p.x > 0.0, 0.005, -0.004)  # the two cheeks differ a little
    squared = [jnp.square(jnp.abs(p.x) - x - lean) + jnp.square(p.y - y + lean) for x, y in _FRECKLES]
    nearest = jnp.sqrt(jnp.min(jnp.stack(squared), axis=0) + 1e-12)
    return _inside(nearest - 0.0068) * head.has('freckles', 'freckles')


def _strands(head: Heads, marks: Landmarks, hair: Vector, p: Vector) -> Vector:
    """Broad strands that run down from the crown, wavier on some heads, and a soft gloss around the top."""
    return hair * (1.0 + 0.16 * strand_pattern(head, marks, p))


def strand_pattern(head: Heads, marks: Landmarks, p: Vector) -> Array:
    """The stripes of the hair in [-1, 1], constant along a strand."""
    q = p - marks.cap.center
    angle = jnp.arctan2(q.x, q.z + 0.35 * q.y)
    waves = 0.16 * head.amount('hair_waviness') * jnp.sin(q.y * 55.0)
    return jnp.sin((angle + waves) * 21.0)


def _bristles(marks: Landmarks, hair: Vector, p: Vector) -> Vector:
    angle = jnp.arctan2(p.x, marks.mouth_y + 0.10 - p.y)
    return hair * 0.86 * (1.0 + 0.10 * jnp.sin(angle * 26.0))


def _contrast(colour: Vector) -> Vector:
    """A companion colour: lighter for dark ones, darker for light ones."""
    lightness = colour.dot(Vector(0.30, 0.59, 0.11))
    return select(lightness > 0.55, colour * 0.62, mix(colour, grey(1.0), 0.55))


def _trim(head: Heads, colour: dict[str, Vector]) -> Vector:
    scarf = select(head.has('headwear', 'none'), _contrast(colour['clothes']), colour['headwear'])
    plain = mix(colour['clothes'], _contrast(colour['clothes']), 0.35)
    collar = mix(colour['clothes'], grey(1.0), 0.82)
    return select(head.has('neckline', 'scarf'), scarf, select(head.has('neckline', 'collar'), collar, plain))


def paired_colours(heads: Heads) -> Float[Array, 'N 6']:
    """The companion colours that hats' bands, and after them patterns on clothes, take: rgb in [0, 1]."""
    return jnp.concatenate(
        [_contrast(vector(heads.colours[name])).array() for name in ('headwear', 'clothes')], axis=-1
    )


def worn_colours(heads: Heads) -> Float[Array, 'N W']:
    """The colours of what some heads wear and others do not, rgb in [0, 1]: black where it is not worn.

    W is three for each entry of `WORN`, in its order. Unlike the attributes, which all heads have and not all show,
    these are what a picture shows.
    """
    colour = {name: vector(value) for name, value in heads.colours.items()}
    painted = {
        'headwear': colour['headwear'],
        'hair': colour['hair'],
        'glasses': colour['glasses'],
        'earrings': colour['earrings'],
        'band': _contrast(colour['headwear']),
        'pattern': _contrast(colour['clothes']),
        'trim': _trim(heads, colour),
    }
    return jnp.concatenate(
        [painted[item].array() * heads.has(name, *values)[:, None] for item, name, values in WORN], axis=-1
    )


WORN = (  # what is painted, and the choice and its values that show it
    ('headwear', 'headwear', ('beanie',)),
    ('headwear', 'headwear', ('cap',)),
    ('headwear', 'headwear', ('hat',)),
    ('headwear', 'headwear', ('headband',)),
    ('band', 'headwear', ('beanie', 'cap', 'hat')),
    ('hair', 'headwear', ('none', 'headband')),
    ('trim', 'neckline', ('crew', 'turtleneck')),
    ('trim', 'neckline', ('collar',)),
    ('trim', 'neckline', ('scarf',)),
    ('pattern', 'pattern', ('striped',)),
    ('pattern', 'pattern', ('dotted',)),
    ('glasses', 'glasses', ('round', 'square')),
    ('earrings', 'earrings', ('earrings',)),
)


def _ribs(trim: Vector, p: Vector, is_scarf: Array) -> Vector:
    depth = jnp.where(is_scarf, 0.14, 0.07)
    return trim * (1.0 - depth * smoothstep(-0.2, 0.9, jnp.sin(p.x * 95.0 + p.y * jnp.where(is_scarf, 60.0, 0.0))))


def _cloth(head: Heads, clothes: Vector, p: Vector) -> Vector:
    second = _contrast(clothes)
    stripes = smoothstep(-0.12, 0.12, jnp.sin((p.y + 0.5) * 115.0))
    row = jnp.floor((p.y + 0.5) / 0.046)
    x = p.x + 0.023 * (row % 2.0)
    dots = _inside(
        jnp.sqrt(jnp.square(x - jnp.round(x / 0.046) * 0.046) + jnp.square(p.y + 0.5 - (row + 0.5) * 0.046) + 1e-12)
        - 0.012
    )
    names = list(CHOICES['pattern'])
    amount = jnp.where(
        head.choices['pattern'] == names.index('striped'),
        stripes,
        jnp.where(head.choices['pattern'] == names.index('dotted'), dots, 0.0),
    )
    return mix(clothes, second, amount)
