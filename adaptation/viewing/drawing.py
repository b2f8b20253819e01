"""What the viewer shows, from what it is asked for: heads are painted once, and only looked at again.

S side of an image.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from adaptation.generation.pictures import Description
from adaptation.generation.rendering import map_seeds, paint, to_pixels
from adaptation.generation.strength import at_strength
from adaptation.generation.subjects import ADAPTED, SOURCE
from adaptation.leaves import fingerprint, matching
from adaptation.step import frontal_cameras
from eg3d_jax import CameraConfig, TriPlaneGenerator, cameras

REMEMBERED = 16  # heads, and adapted generators
QUICK = 2  # while the camera moves, there are this many times fewer rays along a side


@dataclass(frozen=True)
class View:
    """What is asked for.

    Attributes:
        seed: of the head.
        truncation: 1 none, 0 the mean head.
        style: 'source', or the name of an adapter.
        strength: of the adaptation, 0 to 1.5.
        compare: the source beside it, at the left.
        yaw, pitch: radians.
        zoom: 1: as the training pictures were taken.
    """

    seed: int = 0
    truncation: float = 0.7
    style: str = SOURCE
    strength: float = 1.0
    compare: bool = False
    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0

    @property
    def title(self) -> str:
        """The generator, in words."""
        if self.style == SOURCE or self.strength == 1.0:
            return self.style
        return f'{self.style}, strength {self.strength:.2f}'


class Drawing:
    """Draws views of a source and its adapters.

    Args:
        source: the generator.
        adapters: adapted leaves, by the adapter's name and the leaf's.
        camera: the distribution of cameras; None: the generator's.
    """

    def __init__(
        self,
        source: TriPlaneGenerator,
        adapters: Mapping[str, Mapping[str, Array]],
        camera: CameraConfig | None = None,
    ):
        self.source, self.adapters, self.camera = source, adapters, camera or source.config.camera
        self._heads: OrderedDict[Hashable, Any] = OrderedDict()
        self._generators: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.RLock()  # pages save pictures while the loop draws

    @property
    def styles(self) -> tuple[str, ...]:
        """What a view's style may be."""
        return (SOURCE, *self.adapters)

    def draw(self, view: View, *, quick: bool = False) -> UInt8[np.ndarray, 'S W 3']:
        """One image of S = W, or two side by side; with fewer rays where it has to be quick.

        Raises:
            KeyError: there is no such style.
        """
        shown = [replace(view, style=SOURCE), view] if view.compare else [view]
        looking = camera_of(view, self.camera)
        resolution = self.source.config.rendering.neural_resolution
        look = _look(max(1, resolution // QUICK) if quick else resolution)
        with self._lock:
            images = []
            for one in shown:
                ws, planes = self._head(one)
                images.append(np.asarray(look(self._generator(one), planes, ws, looking))[0])
        return np.concatenate([to_pixels(image) for image in images], axis=1)

    def describe(self, view: View) -> Description:
        """How a view's picture is made: where two are side by side, that of the one at the right."""
        looking, frontal = (
            tuple(map(float, np.asarray(camera)[0]))
            for camera in (camera_of(view, self.camera), frontal_cameras(1, self.camera))
        )
        with self._lock:
            mark = fingerprint(self._generator(view))
        return Description(view.seed, view.yaw, view.pitch, looking, frontal, view.truncation, mark, view.title)

    def _head(self, view: View) -> tuple[Array, Array]:
        """The source's, which all styles share but those that have a mapping or backbone of their own."""
        if not matching(tuple(self.adapters.get(view.style, ())), 'backbone'):
            view = replace(view, style=SOURCE, strength=1.0)

        def make() -> tuple[Array, Array]:
            generator = self._generator(view)
            ws = map_seeds(generator, (view.seed,), view.truncation, self.camera)
            return ws, paint(generator, ws)

        key = (view.style, round(view.strength, 4), view.seed, round(view.truncation, 4))
        return _remembered(self._heads, key, make)

    def _generator(self, view: View) -> TriPlaneGenerator:
        if view.style == SOURCE:
            return self.source
        adapter = self.adapters[view.style]
        make = partial(at_strength, self.source, adapter, view.strength)
        return _remembered(self._generators, (view.style, round(view.strength, 4)), make)


def named_styles(styles: Sequence[tuple[str, str, Mapping[str, Array]]]) -> dict[str, Mapping[str, Array]]:
    """Leaves by what the page calls them: the run or, of several domains, the domain, with its run where that is not
    enough; a run that is called as the source is told from it.

    Args:
        styles: the run's name, the domain ('': the only style), and the leaves.
    """
    short = [domain or run for run, domain, _ in styles]
    named = {}
    for name, (run, domain, leaves) in zip(short, styles, strict=True):
        if name == SOURCE or short.count(name) > 1:
            name = f'{run} {domain or ADAPTED}' if domain or name == SOURCE else name
        named[name] = leaves
    return named


def camera_of(view: View, camera: CameraConfig) -> Array:
    """The view's camera, [1, 25]: on the generator's own sphere, nearer or farther by its focal length."""
    (looking,) = cameras.orbit_cameras(jnp.float32([view.yaw]), jnp.float32([view.pitch]), camera)
    focal = looking[16] * view.zoom
    return looking.at[jnp.asarray([16, 20])].set(focal)[None]


def angles(offset: tuple[float, float, float]) -> tuple[float, float]:
    """(yaw, pitch) in radians of a camera, from its place relative to what it looks at."""
    x, y, z = offset
    return math.atan2(x, z), math.atan2(y, math.hypot(x, z))


@lru_cache
def _look(resolution: int) -> Callable[[TriPlaneGenerator, Array, Array, Array], Array]:
    @jax.jit
    def look(generator: TriPlaneGenerator, planes: Array, ws: Array, looking: Array) -> Array:
        rendered = generator.render(planes, looking, resolution=resolution)
        return generator.superresolve(rendered.feature_image, ws, rendered.points)

    return look


def _remembered(cache: OrderedDict[Hashable, Any], key: Hashable, make: Callable[[], Any]) -> Any:
    """What is made of a key, or was lately."""
    if key not in cache:
        cache[key] = make()
        if len(cache) > REMEMBERED:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key]
