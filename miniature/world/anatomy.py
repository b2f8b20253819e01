"""How a head is built: landmarks from its attributes, and the solids that make it up.

Lengths are world units: the head is about 0.6 tall, the face looks to +z, and all of it fits into |x|, |y|, |z| <= 0.5.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from miniature.world.latent import CHOICES, Heads
from miniature.world.solids import Body, Quadric, Slab, Solid, above, below, turned
from miniature.world.vectors import Scalar, Vector

_X, _Y, _Z = Vector(1.0, 0.0, 0.0), Vector(0.0, 1.0, 0.0), Vector(0.0, 0.0, 1.0)
_SIDES = (-1.0, 1.0)


class Part(IntEnum):
    """What a surface is made of; NOTHING is the background."""

    NOTHING = 0
    SKIN = 1
    HAIR = 2
    BEARD = 3
    CLOTHES = 4
    TRIM = 5  # collars and scarves
    GLASSES = 6
    HEADWEAR = 7
    BAND = 8  # headbands, hat bands and bobbles
    EARRING = 9


class Landmarks(NamedTuple):
    """Where things are on this head; the painted features and the solids both read it."""

    skull: Quadric
    jaw: Quadric
    nose: Quadric
    cap: Quadric  # the hair on the skull, which hats and bands sit on
    eye_x: Scalar
    eye_y: Scalar
    eye_width: Scalar  # half of it
    eye_height: Scalar  # half of it
    brow_y: Scalar
    mouth_y: Scalar
    mouth_width: Scalar  # half of it
    chin_y: Scalar
    hairline_y: Scalar


def landmarks(head: Heads) -> Landmarks:
    a = head.amount
    width = 0.192 + 0.034 * a('head_width')
    skull = Quadric(Vector(0.0, 0.075, -0.015), Vector(width, 0.212 + 0.026 * a('head_height'), 0.212))
    jaw = Quadric(
        Vector(0.0, -0.050, 0.012),
        Vector(width * (0.76 + 0.20 * a('jaw_width')), 0.150 + 0.030 * a('chin_length'), 0.185),
    )
    eye_width = 0.036 + 0.013 * a('eye_size')
    eye_y = 0.020
    nose_y = -0.040 - 0.012 * a('nose_length')
    nose = Quadric(
        Vector(0.0, nose_y, front(jaw, 0.0, nose_y)),
        Vector(0.021 + 0.017 * a('nose_width'), 0.024 + 0.020 * a('nose_length'), 0.030 + 0.016 * a('nose_length')),
    )
    return Landmarks(
        skull=skull,
        jaw=jaw,
        nose=nose,
        cap=_cap(head, skull),
        eye_x=0.078 + 0.020 * a('eye_spacing'),
        eye_y=eye_y,
        eye_width=eye_width,
        eye_height=eye_width * 1.18,
        brow_y=eye_y + eye_width * 1.18 + 0.024 + 0.020 * a('brow_height'),
        mouth_y=-0.118,
        mouth_width=0.042 + 0.034 * a('mouth_width'),
        chin_y=jaw.center.y - jaw.radii.y,
        hairline_y=0.125 + 0.045 * a('fringe_height'),
    )


def front(quadric: Quadric, x: Scalar, y: Scalar) -> Array:
    """The z of an upright ellipsoid's front surface at (x, y)."""
    u = (x - quadric.center.x) / quadric.radii.x
    v = (y - quadric.center.y) / quadric.radii.y
    return quadric.center.z + quadric.radii.z * jnp.sqrt(jnp.maximum(1.0 - u * u - v * v, 0.0))


def solids(head: Heads, marks: Landmarks) -> tuple[Solid, ...]:
    """Everything that a head is made of; the first solids are those that `light` takes shadows from."""
    return (
        *_face(head, marks),
        *_hair(head, marks),
        *_facial_hair(head, marks),
        *_clothes(head),
        *_headwear(head, marks),
        *_glasses(head, marks),
        *_earrings(head, marks),
    )


def _pick(head: Heads, name: str, default: float, **values: float) -> Array:
    """A number that depends on a choice."""
    table = jnp.asarray([values.get(value, default) for value in CHOICES[name]])
    return table[head.choices[name]]


def _face(head: Heads, marks: Landmarks) -> list[Solid]:
    ear = 0.034 + 0.012 * head.amount('ear_size')
    ears = [
        Solid(
            Body(
                Quadric(
                    Vector(side * (marks.skull.radii.x + 0.004), 0.010, -0.005),
                    Vector(0.024, ear * 1.25, ear),
                    turned(side * -18.0, 'y'),
                )
            ),
            Part.SKIN,
        )
        for side in _SIDES
    ]
    neck = Quadric(Vector(0.0, -0.27, -0.025), Vector(0.082, 0.18, 0.082))
    return [
        Solid(Body(marks.skull), Part.SKIN),
        Solid(Body(marks.jaw), Part.SKIN),
        Solid(Body(marks.nose), Part.SKIN),
        Solid(Body(neck), Part.SKIN),
        *ears,
    ]


def _cap(head: Heads, skull: Quadric) -> Quadric:
    thickness = _pick(head, 'hair_style', 0.022, buzzed=0.006, curly=0.034, mohawk=0.006)
    growth = _pick(head, 'hair_style', 0.020, buzzed=0.002, curly=0.022, mohawk=0.002)
    extra = thickness + growth * head.amount('hair_volume')
    return Quadric(
        skull.center + Vector(0.0, 0.006, -0.012),
        skull.radii + Vector(extra, extra, extra + 0.004),
    )


def _hair(head: Heads, marks: Landmarks) -> list[Solid]:
    width = marks.skull.radii.x
    opening = Quadric(Vector(0.0, -0.035, 0.235), Vector(width * 0.93, 0.225, 0.245))
    cap = Solid(
        Body(
            marks.cap, (above(Vector(0.0, 0.894, 0.447), _pick(head, 'hair_style', 0.004, buzzed=0.03, mohawk=0.03)),)
        ),
        Part.HAIR,
        cutter=Body(opening, _fringe(head, marks)),
    )
    return [cap, _mane(head, marks), *_locks(head, marks)]


def _fringe(head: Heads, marks: Landmarks) -> tuple[Slab, Slab]:
    """The two planes under which the forehead is free, one for each side of the parting."""
    has_fringe = head.has('fringe', 'straight', 'swept', 'parted') & head.has(
        'hair_style', 'short', 'bob', 'long', 'bun', 'pigtails', 'curly'
    )
    left = _pick(head, 'fringe', 0.0, swept=0.42, parted=-0.62)
    right = _pick(head, 'fringe', 0.0, swept=0.42, parted=0.62)
    lift = _pick(head, 'fringe', 0.0, swept=0.012, parted=0.052)
    planes = []
    for slope in (left, right):
        scale = 1.0 / jnp.sqrt(1.0 + slope * slope)
        height = jnp.where(has_fringe, (marks.hairline_y + lift) * scale, 0.9)
        planes.append(below(Vector(slope * scale, scale, 0.0), height))
    return planes[0], planes[1]


def _mane(head: Heads, marks: Landmarks) -> Solid:
    """The hair behind the face: down to the chin in a bob, over the shoulders where it is long."""
    is_long = head.has('hair_style', 'long')
    volume = head.amount('hair_volume')
    length = jnp.where(is_long, 0.36, 0.235) + 0.02 * volume
    flare = jnp.where(is_long, 0.048, 0.042) + 0.020 * volume
    quadric = Quadric(
        Vector(0.0, 0.010, -0.070),
        Vector(marks.skull.radii.x + flare, jnp.where(is_long, 0.50, 0.32), 0.185),
    )
    front_plane = below(Vector(0.0, -0.10, 0.995), 0.012)
    return Solid(
        Body(quadric, (front_plane, Slab(_Y, 0.030 - length, 0.09))),
        Part.HAIR,
        present=head.has('hair_style', 'bob', 'long'),
    )


_LOCKS: dict[str, tuple[tuple[float, float, float, float, float, float], ...]] = {
    # centre relative to (widths of the cap, from its centre), then radii: x, y, z each
    'bun': ((0.0, 1.02, -0.10, 0.082, 0.072, 0.082),),
    'pigtails': ((-1.22, -0.10, -0.10, 0.066, 0.098, 0.066), (1.22, -0.10, -0.10, 0.066, 0.098, 0.066)),
    'curly': (
        (-0.98, 0.08, 0.10, 0.072, 0.082, 0.085),
        (0.98, 0.08, 0.10, 0.072, 0.082, 0.085),
        (-0.72, 0.62, 0.30, 0.082, 0.078, 0.085),
        (0.72, 0.62, 0.30, 0.082, 0.078, 0.085),
        (-0.28, 0.88, 0.40, 0.078, 0.070, 0.085),
        (0.28, 0.88, 0.40, 0.078, 0.070, 0.085),
        (0.0, 0.92, -0.25, 0.110, 0.075, 0.110),
    ),
    'mohawk': (
        (0.0, 0.70, 0.76, 0.034, 0.070, 0.062),
        (0.0, 0.93, 0.48, 0.036, 0.085, 0.075),
        (0.0, 1.02, 0.10, 0.036, 0.092, 0.085),
        (0.0, 0.98, -0.30, 0.036, 0.090, 0.085),
        (0.0, 0.80, -0.70, 0.036, 0.080, 0.075),
    ),
}
_LOCK_COUNT = max(len(locks) for locks in _LOCKS.values())
_UNDER_A_HAT_Y = 0.45  # locks centred higher than this part of the cap's radius do not fit under a hat


def _locks(head: Heads, marks: Landmarks) -> list[Solid]:
    """Buns, pigtails, curls and crests: a pool of ellipsoids that each style places in its own way."""
    hatted = head.has('headwear', 'beanie', 'cap', 'hat')
    styles = list(CHOICES['hair_style'])
    table = jnp.zeros((len(styles), _LOCK_COUNT, 6))
    for style, locks in _LOCKS.items():
        table = table.at[styles.index(style), : len(locks)].set(jnp.asarray(locks))
    rows = table[head.choices['hair_style']]
    growth = 0.92 + 0.16 * head.amount('hair_volume')
    pool = []
    for row in rows:
        place = Vector(row[0], row[1], row[2])
        radii = Vector(row[3], row[4], row[5]) * growth
        present = (row[3] > 0.0) & ~(hatted & (row[1] > _UNDER_A_HAT_Y))
        quadric = Quadric(marks.cap.center + place * marks.cap.radii, _above_zero(radii))
        pool.append(Solid(Body(quadric), Part.HAIR, present=present))
    return pool


def _above_zero(radii: Vector) -> Vector:
    """Radii of a solid that may be absent, kept above zero so that nothing divides by it."""
    return Vector(*(jnp.maximum(r, 0.01) for r in (radii.x, radii.y, radii.z)))


def _facial_hair(head: Heads, marks: Landmarks) -> list[Solid]:
    is_full = head.has('beard', 'full')
    jaw = marks.jaw
    full = Quadric(jaw.center + Vector(0.0, -0.016, 0.002), jaw.radii + Vector(0.013, 0.022, 0.015))
    goatee = Quadric(Vector(0.0, marks.chin_y + 0.030, 0.118), Vector(0.056, 0.062, 0.072))
    mouth = Quadric(Vector(0.0, -0.052, 0.20), Vector(jnp.where(is_full, jaw.radii.x * 0.82, 0.30), 0.122, 0.30))
    beard = Solid(
        Body(jax.tree.map(lambda x, y: jnp.where(is_full, x, y), full, goatee), (below(_Y, 0.0), above(_Z, -0.05))),
        Part.BEARD,
        cutter=Body(mouth),
        present=head.has('beard', 'full', 'goatee'),
    )
    lip_y = 0.5 * (marks.nose.center.y - marks.nose.radii.y + marks.mouth_y) + 0.002
    halves = [
        Solid(
            Body(
                Quadric(
                    Vector(side * 0.030, lip_y, front(jaw, 0.030, lip_y) - 0.002),
                    Vector(0.042, 0.0155, 0.020),
                    turned(side * -16.0, 'z'),
                )
            ),
            Part.BEARD,
            present=head.has('moustache', 'moustache'),
        )
        for side in _SIDES
    ]
    return [beard, *halves]


def _clothes(head: Heads) -> list[Solid]:
    width = 0.262 + 0.055 * head.amount('shoulder_width')
    floor = above(_Y, -0.5)
    torso = Solid(Body(Quadric(Vector(0.0, -0.520, -0.025), Vector(width, 0.215, 0.165)), (floor,)), Part.CLOTHES)
    is_scarf, is_tall = head.has('neckline', 'scarf'), head.has('neckline', 'turtleneck')
    radius = jnp.where(is_scarf, 0.132, jnp.where(is_tall, 0.100, 0.108))
    height = jnp.where(is_scarf, 0.044, jnp.where(is_tall, 0.075, 0.022))
    ring = Solid(
        Body(Quadric(Vector(0.0, jnp.where(is_tall, -0.300, -0.312), -0.020), Vector(radius, height, radius * 0.98))),
        Part.TRIM,
        present=head.has('neckline', 'crew', 'turtleneck', 'scarf'),
    )
    flaps = [
        Solid(
            Body(Quadric(Vector(side * 0.062, -0.325, 0.062), Vector(0.062, 0.026, 0.045), turned(side * 34.0, 'z'))),
            Part.TRIM,
            present=head.has('neckline', 'collar'),
        )
        for side in _SIDES
    ]
    return [torso, ring, *flaps]


def _headwear(head: Heads, marks: Landmarks) -> list[Solid]:
    cap = marks.cap
    is_beanie, is_cap, is_hat = (head.has('headwear', name) for name in ('beanie', 'cap', 'hat'))
    is_band = head.has('headwear', 'headband')
    tilt = Vector(0.0, 0.970, -0.243)
    dome = Solid(
        Body(
            Quadric(cap.center, cap.radii + Vector(0.012, jnp.where(is_hat, 0.030, 0.016), 0.012)),
            (above(tilt, jnp.where(is_beanie, 0.150, 0.128)),),
        ),
        Part.HEADWEAR,
        present=is_beanie | is_cap | is_hat,
    )
    width = jnp.where(is_hat, cap.radii.x + 0.095, cap.radii.x * 0.78)
    brim_center = Vector(
        cap.center.x,
        jnp.where(is_hat, 0.146, 0.168),
        jnp.where(is_hat, cap.center.z + 0.02, cap.center.z + cap.radii.z * 0.82),
    )
    brim = Solid(
        Body(
            Quadric(
                brim_center,
                Vector(width, 0.020, jnp.where(is_hat, cap.radii.z + 0.080, 0.150)),
                (_X, Vector(0.0, 0.970, -0.243), Vector(0.0, 0.243, 0.970)),
            )
        ),
        Part.HEADWEAR,
        present=is_cap | is_hat,
    )
    low = jnp.where(is_band, 0.150, jnp.where(is_beanie, 0.105, 0.150))
    high = jnp.where(is_band, 0.200, jnp.where(is_beanie, 0.165, 0.195))
    band = Solid(
        Body(
            Quadric(cap.center, cap.radii + Vector(0.018, 0.024, 0.018)),
            (Slab(tilt, low, high),),
        ),
        Part.BAND,
        present=is_band | is_beanie | is_hat,
    )
    bobble = Solid(
        Body(Quadric(cap.center + Vector(0.0, cap.radii.y + 0.030, -0.010), Vector(0.052, 0.050, 0.052))),
        Part.BAND,
        present=is_beanie,
    )
    return [dome, brim, band, bobble]


_LENS_TURN = 15.0  # degrees by which each lens follows the face around
_FRAME = 0.0155  # width of a rim


def _glasses(head: Heads, marks: Landmarks) -> list[Solid]:
    present = head.has('glasses', 'round', 'square')
    half_width = marks.eye_width + 0.026
    x = jnp.maximum(marks.eye_x, half_width + 0.006)
    center = Vector(x, marks.eye_y, front(marks.skull, x, marks.eye_y))
    rims = [_rim(head, center.mirrored(side), half_width, turned(side * _LENS_TURN, 'y'), present) for side in _SIDES]
    across = turned(_LENS_TURN, 'y')[0]
    inner, outer = center - across * (half_width - 0.006), center + across * (half_width - 0.006)
    bridge = Quadric(
        Vector(0.0, marks.eye_y + 0.016, jnp.maximum(inner.z, front(marks.skull, 0.0, marks.eye_y)) + 0.004),
        Vector(inner.x + 0.008, 0.0095, 0.013),
    )
    hinge = outer + Vector(0.0, 0.012, -0.002)
    ear = Vector(marks.skull.radii.x + 0.004, marks.eye_y + 0.012, -0.005)
    along = (ear - hinge).unit()
    arms = [
        Quadric(
            ((hinge + ear) * 0.5).mirrored(side),
            Vector(0.0085, 0.0100, (ear - hinge).norm() * 0.56),
            (Vector(along.z, 0.0, -along.x * side), _Y, along.mirrored(side)),
        )
        for side in _SIDES
    ]
    return [*rims, *(Solid(Body(quadric), Part.GLASSES, present=present) for quadric in (bridge, *arms))]


def _rim(head: Heads, center: Vector, half_width: Scalar, axes: tuple[Vector, Vector, Vector], present: Array) -> Solid:
    """A ring around a lens: an elliptic cylinder cut into a rounded square, or left round, minus a smaller one."""
    is_square = head.has('glasses', 'square')
    half_height = half_width * jnp.where(is_square, 0.84, 1.0)
    roundness = jnp.where(is_square, 1.28, 1.0)

    def outline(inset: float) -> Body:
        w, h = half_width - inset, half_height - inset
        return Body(
            Quadric(center, Vector(w * roundness, h * roundness, jnp.inf), axes),
            (_around(axes[0], center, w), _around(axes[1], center, h)),
        )

    outer = outline(0.0)
    depth = axes[2].dot(center)
    plate = Slab(axes[2], depth - 0.024, depth + 0.019)
    return Solid(Body(outer.quadric, (*outer.slabs, plate)), Part.GLASSES, cutter=outline(_FRAME), present=present)


def _around(normal: Vector, center: Vector, half_width: Scalar) -> Slab:
    middle = normal.dot(center)
    return Slab(normal, middle - half_width, middle + half_width)


def _earrings(head: Heads, marks: Landmarks) -> list[Solid]:
    drop = 0.010 - 1.25 * (0.034 + 0.012 * head.amount('ear_size')) - 0.016
    return [
        Solid(
            Body(Quadric(Vector(side * (marks.skull.radii.x + 0.008), drop, 0.012), Vector(0.019, 0.024, 0.019))),
            Part.EARRING,
            present=head.has('earrings', 'earrings'),
        )
        for side in _SIDES
    ]
