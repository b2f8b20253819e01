"""Light that is fixed to the world: a warm key, a cool sky, a rim from behind, and soft contact shadows.

Nothing depends on the camera, so a radiance field without view directions can hold the result.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from miniature.world.anatomy import Part
from miniature.world.scene import Scene, nearest_distance
from miniature.world.vectors import Vector, smoothstep

_KEY = Vector(*(np.array([-0.50, 0.55, 0.67]) / np.linalg.norm([-0.50, 0.55, 0.67])).tolist())
_RIM = Vector(*(np.array([0.80, 0.35, -0.49]) / np.linalg.norm([0.80, 0.35, -0.49])).tolist())
_KEY_COLOUR = Vector(0.70, 0.675, 0.63)
_SKY_COLOUR = Vector(0.43, 0.445, 0.48)
_GROUND_COLOUR = Vector(0.37, 0.33, 0.31)
_RIM_COLOUR = Vector(0.22, 0.22, 0.24)
_WRAP = 0.36  # how far the key reaches around the terminator, as light does in skin and vinyl
_REACH = 0.055  # distance at which occluders are looked for
_GLOSSY = {Part.HAIR: 0.16, Part.GLASSES: 0.20, Part.EARRING: 0.35, Part.SKIN: 0.05}


def shade(normal: Vector, openness: Array) -> Vector:
    """Returns the light that falls on surfaces, as a factor of their albedo.

    Args:
      normal: outward unit normals.
      openness: from `openness`, in [0, 1].
    """
    key = jnp.maximum((normal.dot(_KEY) + _WRAP) / (1.0 + _WRAP), 0.0)
    rim = jnp.square(jnp.maximum(normal.dot(_RIM), 0.0))
    up = 0.5 + 0.5 * normal.y
    ambient = _SKY_COLOUR * up + _GROUND_COLOUR * (1.0 - up)
    shadow = 0.45 + 0.55 * openness
    return (_KEY_COLOUR * key + _RIM_COLOUR * rim) * shadow + ambient * (0.55 + 0.45 * openness)


def gloss(part: Array, normal: Vector) -> Array:
    """A highlight painted where the key is mirrored towards the front, whatever the camera."""
    half = (_KEY + Vector(0.0, 0.0, 1.0)).unit()
    strength = jnp.zeros_like(normal.x)
    for name, value in _GLOSSY.items():
        strength = jnp.where(part == name, value, strength)
    return strength * smoothstep(0.90, 0.995, normal.dot(half))


def openness(scene: Scene, p: Vector, normal: Vector) -> Array:
    """How freely light reaches surface points: 1 in the open, towards 0 in creases and under brims."""
    nearest = nearest_distance(scene, p + (normal * 0.75 + _KEY * 0.55) * _REACH)
    return smoothstep(-0.45, 0.75, jnp.minimum(nearest / _REACH, 1.0))
