"""Where the cameras stand: a fan of views, the closed path of a film, and the views that a texture is made from.

Poses are (yaw, pitch) in radians. N cameras, V views, T frames.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adaptation.generation.defaults import LARGEST_PITCH
from eg3d_jax import CameraConfig, cameras

PITCH_SHARE = 0.4  # of a film's turn: how far it rises and sinks
BAKING_REACH = 2.0  # standard deviations of the training poses: what lies beyond, the generator has hardly drawn
BAKING_TURNS = 12  # views of an object that is seen from all around
OUTERMOST = 8  # views around the border of the training poses

Poses = Float[np.ndarray, 'N 2']


def fan(views: int, yaw: float, pitch: float, camera: CameraConfig) -> Float[np.ndarray, 'V 2']:
    """Poses from `yaw` left to `yaw` right of the distribution's middle, `pitch` above it; one view: the middle."""
    turns = np.linspace(-yaw, yaw, views) if views > 1 else np.zeros(1)
    return np.stack([camera.yaw_mean + turns, np.full(views, _within_poles(camera.pitch_mean + pitch))], axis=1)


def closed_path(frames: int, yaw: float, pitch: float, camera: CameraConfig) -> Float[np.ndarray, 'T 2']:
    """The poses of a film whose last frame leads back to its first.

    A generator that was trained on views from all around (uniform yaw, half range of pi or more) is circled; others are
    swayed: `yaw` to either side, and a share of it up and down, since of their backs nothing is known.
    """
    phase = 2.0 * math.pi * np.arange(frames) / frames
    if sees_all_around(camera):
        turns, rise = camera.yaw_mean + phase, np.zeros(frames)
    else:
        turns, rise = camera.yaw_mean + yaw * np.sin(phase), PITCH_SHARE * yaw * np.cos(phase)
    return np.stack([turns, _within_poles(camera.pitch_mean + pitch + rise)], axis=1)


def baking_poses(camera: CameraConfig) -> Float[np.ndarray, 'V 2']:
    """Poses that together see as much of the surface as the generator can draw well."""
    yaw, pitch = camera.yaw_mean, camera.pitch_mean
    rise = BAKING_REACH * camera.pitch_std
    if sees_all_around(camera):
        return np.stack([closed_path(BAKING_TURNS, 0.0, sign * rise / 4, camera) for sign in (-1, 1)]).reshape(-1, 2)
    turn = BAKING_REACH * camera.yaw_std
    turned = [(yaw + share * turn, pitch) for share in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    return np.asarray([*turned, (yaw, _within_poles(pitch + rise)), (yaw, _within_poles(pitch - rise))])


def outermost_poses(camera: CameraConfig) -> Float[np.ndarray, 'V 2']:
    """The middle pose, then poses on the ellipse around it within which the generator can draw well."""
    reach = BAKING_REACH if camera.distribution == 'gaussian' else 1.0
    phase = 2.0 * math.pi * np.arange(OUTERMOST) / OUTERMOST
    turns = camera.yaw_mean + reach * camera.yaw_std * np.append(0.0, np.cos(phase))
    rise = camera.pitch_mean + reach * camera.pitch_std * np.append(0.0, np.sin(phase))
    return np.stack([turns, _within_poles(rise)], axis=1)


def pose_cameras(poses: Poses, camera: CameraConfig) -> Float[Array, 'N 25']:
    """The cameras at these poses."""
    return cameras.orbit_cameras(jnp.asarray(poses[:, 0]), jnp.asarray(poses[:, 1]), camera)


def sees_all_around(camera: CameraConfig) -> bool:
    """Whether the training views went all the way around."""
    return camera.distribution == 'uniform' and camera.yaw_std >= math.pi - 1e-6


def _within_poles(pitch: np.ndarray | float) -> np.ndarray:
    return np.asarray(np.clip(pitch, -LARGEST_PITCH, LARGEST_PITCH))
