"""The generator: mapping -> planes -> render -> superresolve, as stages that can be called one at a time.

Letters: N batch, Z channels of z, L number of w vectors, D channels of w, C channels of a plane, F colour features.
"""

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from eg3d_jax.backbone import PLANES, Backbone
from eg3d_jax.config import RGB_CHANNELS, GeneratorConfig
from eg3d_jax.superresolution import Superresolution
from eg3d_jax.triplane import TriPlaneDecoder, sample_planes
from eg3d_jax.volume_rendering import RenderOutput, render


class GeneratorOutput(NamedTuple):
    """What a call of the generator returns; images are in [-1, 1] by convention (not clipped).

    image: [N, H, W, 3], the final image.
    image_raw: [N, h, w, 3], the volume-rendered RGB: the first three channels of the feature image. (For the cars
        network the reference returns something else under this name: its super-resolution adds the first block's
        output to it in place. Here it is always the clean rendering.)
    depth: [N, h, w, 1], distance from the camera along the ray, in world units.
    feature_image: [N, h, w, F].
    weights_sum: [N, h, w, 1], accumulated weight in [0, 1].
    """

    image: Float[Array, 'N H W 3']
    image_raw: Float[Array, 'N h w 3']
    depth: Float[Array, 'N h w 1']
    feature_image: Float[Array, 'N h w F']
    weights_sum: Float[Array, 'N h w 1']


class TriPlaneGenerator(nnx.Module):
    """EG3D's generator (arXiv 2112.07945): `backbone` is G1, `decoder` Tri-D, `superresolution` G2.

    A generator is a pytree: under a transformation, pass it as an argument, as in
    ``jax.jit(lambda generator, z, camera: generator(z, camera))(generator, z, camera)``.
    No stage holds state, caches or randomness.
    """

    def __init__(self, config: GeneratorConfig, *, rngs: nnx.Rngs):
        self.backbone = Backbone(config, rngs=rngs)
        self.superresolution = Superresolution(config, rngs=rngs)
        self.decoder = TriPlaneDecoder(config, rngs=rngs)
        self.config = config

    def mapping(
        self,
        z: Float[Array, 'N Z'],
        camera: Float[Array, 'N 25'],
        truncation_psi: float | Float[Array, ''] = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Float[Array, 'N L D']:
        """Latents and conditioning cameras to w vectors; see `MappingNetwork`.

        Raises:
            ValueError: z or camera of a wrong shape.
        """
        _check_shape('z', z, ('N', self.config.z_dim))
        _check_shape('camera', camera, (z.shape[0], self.config.c_dim))
        return self.backbone.mapping(z, camera, truncation_psi, truncation_cutoff)

    def planes(
        self, ws: Float[Array, 'N L D'], *, noise_mode: str = 'const', key: PRNGKeyArray | None = None
    ) -> Float[Array, 'N 3 H W C']:
        """w vectors to feature planes. `noise_mode`: 'const' (stored noise), 'random' (needs a key) or 'none'.

        Raises:
            ValueError: ws of a wrong shape, an unknown noise mode, or a random one without a key.
        """
        _check_shape('ws', ws, ('N', self.config.num_ws, self.config.w_dim))
        return self.backbone.synthesis(ws, noise_mode=noise_mode, key=key)

    def render(
        self,
        planes: Float[Array, 'N 3 H W C'],
        camera: Float[Array, 'N 25'],
        key: PRNGKeyArray | None = None,
        resolution: int | None = None,
    ) -> RenderOutput:
        """Planes seen by cameras: (feature_image, depth, weights_sum, points); see `eg3d_jax.volume_rendering.render`.

        Without a key the samples are deterministic; with one they are jittered. The camera is taken as a constant: it
        gets no gradient. Where the planes are not differentiated, no gradient reaches back through the sampling.

        Raises:
            ValueError: planes or camera of a wrong shape, or a resolution that is no positive whole number.
        """
        _check_shape('planes', planes, ('N', PLANES, 'H', 'W', self.config.backbone.plane_channels))
        _check_shape('camera', camera, (planes.shape[0], self.config.c_dim))
        if resolution is not None and (not isinstance(resolution, int | np.integer) or resolution < 1):
            raise ValueError(f'resolution must be a positive whole number of pixels, got {resolution!r}')
        return render(planes, self.decoder, camera, self.config.rendering, key, resolution)

    def superresolve(
        self,
        feature_image: Float[Array, 'N h w F'],
        ws: Float[Array, 'N L D'],
        points: Float[Array, 'N h w 3'] | None = None,
        *,
        noise_mode: str | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, 'N H W 3']:
        """Feature image to final image.

        Args:
            feature_image, points: what `render` returned under these names; points are needed where the noise mode is
                'hatching'.
            ws: w vectors, of which the last is used.
            noise_mode: None: the config's, which is 'none' in the published networks; 'hatching': see
                `eg3d_jax.hatching`.
            key: for the noise mode 'random'.

        Raises:
            ValueError: a feature image that is not square or has a wrong number of channels, ws or points of a wrong
                shape, an unknown noise mode, a random one without a key, hatching without points, or a stored noise
                of another size than the image.
        """
        _check_shape('feature_image', feature_image, ('N', 'h', 'w', self.config.decoder.feature_channels))
        if feature_image.shape[1] != feature_image.shape[2] or not feature_image.shape[1]:
            raise ValueError(f'feature_image must be square, got {feature_image.shape[1]} x {feature_image.shape[2]}')
        _check_shape('ws', ws, (feature_image.shape[0], self.config.num_ws, self.config.w_dim))
        if points is not None:
            _check_shape('points', points, (*feature_image.shape[:3], 3))
        return self.superresolution(feature_image, ws, points=points, noise_mode=noise_mode, key=key)

    def query(
        self, points: Float[Array, 'N P 3'], ws: Float[Array, 'N L D']
    ) -> tuple[Float[Array, 'N P F'], Float[Array, 'N P']]:
        """(colour features in about [0, 1], density before any activation) at world points.

        Differentiable with respect to the points as well: the density's gradient points into the surface.

        Raises:
            ValueError: points or ws of a wrong shape.
        """
        _check_shape('ws', ws, ('N', self.config.num_ws, self.config.w_dim))
        _check_shape('points', points, (ws.shape[0], 'P', 3))
        return self.decoder(sample_planes(self.planes(ws), points, self.config.rendering.box_warp))

    def __call__(
        self,
        z: Float[Array, 'N Z'],
        camera: Float[Array, 'N 25'],
        conditioning_camera: Float[Array, 'N 25'] | None = None,
        truncation_psi: float | Float[Array, ''] = 1.0,
        truncation_cutoff: int | None = None,
        key: PRNGKeyArray | None = None,
        *,
        resolution: int | None = None,
        noise_mode: str = 'const',
    ) -> GeneratorOutput:
        """Latents seen by cameras.

        Args:
            z: latents.
            camera: the cameras that look.
            conditioning_camera: the cameras that the mapping network is told; None: `camera`.
            truncation_psi, truncation_cutoff: see `mapping`.
            key: for jittered rendering and random noise; None: deterministic.
            resolution: side of the rendered feature image; None: the config's.
            noise_mode: of the backbone; the super-resolution has its own in the config.

        Raises:
            ValueError: an argument of a wrong shape, a resolution that is no positive whole number, an unknown noise
                mode, or a random one without a key.
        """
        noise_key, render_key, image_key = (None,) * 3 if key is None else jax.random.split(key, 3)
        conditioning = camera if conditioning_camera is None else conditioning_camera
        ws = self.mapping(z, conditioning, truncation_psi, truncation_cutoff)
        planes = self.planes(ws, noise_mode=noise_mode, key=noise_key)
        rendered = self.render(planes, camera, key=render_key, resolution=resolution)
        return GeneratorOutput(
            image=self.superresolve(rendered.feature_image, ws, rendered.points, key=image_key),
            image_raw=rendered.feature_image[..., :RGB_CHANNELS],
            depth=rendered.depth,
            feature_image=rendered.feature_image,
            weights_sum=rendered.weights_sum,
        )


def _check_shape(name: str, array: Array, expected: tuple[int | str, ...]) -> None:
    """Refuses another shape than the expected one, in which a letter stands for any size."""
    fits = len(array.shape) == len(expected) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(array.shape, expected, strict=True)
    )
    if not fits:
        raise ValueError(f'{name} must have shape ({", ".join(map(str, expected))}), got {array.shape}')
