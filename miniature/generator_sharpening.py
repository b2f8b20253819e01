"""Sharpen the miniature's generator: its G2 against a discriminator, everything else frozen.

    python -m miniature.generator_sharpening --initial=miniature/weights/generator --output=miniature/weights/generator

What a network that learns by mean differences does not know, it blurs. As EG3D's own G2 does, this one learns crisp
pictures from a dual discriminator (EG3D, section 4.3), which sees an image together with its raw rendering. Here both
the true and the generated image are shown with the generator's own raw rendering, so that what tells them apart is what
G2 has made of it; differences of colours and gradients keep the picture that of the head. The rendering is frozen, so
that all feature images are rendered once, before training. What is written lies between the initial weights and the
trained ones: two thirds of the way are as crisp to the judge, without the halos of the end and nearer to the heads.
Resumable (Ctrl-C, then the same command).

Letters: N batch, h side of a feature image, H = 2 h side of a picture.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from eg3d_jax import TriPlaneGenerator, load_generator, save_generator
from eg3d_jax.config import RGB_CHANNELS, DiscriminatorConfig
from eg3d_jax.discriminator import DualDiscriminator
from eg3d_jax.files import replacing
from eg3d_jax.huge_pages import restart_with_huge_pages
from miniature import views, world
from miniature.generator_losses import gradient_difference, superresolve_patch
from miniature.generator_quality import measure
from miniature.generator_training import draw, save_preview
from miniature.training import claim, fit, read_recipe, trained_weights, write_recipe
from miniature.unit_kernels import unit_kernels

POOL = 1024  # heads whose feature images are kept
DRAWN = 16  # of them rendered at a time
BATCH = 8
PART = 0.5  # side of the part of a picture that a step sees
STEPS = 2500
LEARNING_RATE = 1e-3  # of G2
DISCRIMINATOR = DiscriminatorConfig(image_resolution=64, channel_base=1024, channel_max=128, mapping_layers=2)
DISCRIMINATOR_RATE = 2e-3
ADAM = {'b1': 0.0, 'b2': 0.99}
PENALTY = 1.0  # weight of the squared gradient of the discriminator at true pictures (R1)
PENALTY_NOISE = 0.01  # deviation of the noise that this gradient is measured with: as good, and far cheaper
WEIGHTS = {'image': 10.0, 'gradient': 3.0, 'adversarial': 1.0}  # absolute differences of colours in [0, 1]
AVERAGING = 0.998  # of the weights, over steps
STRENGTH = 0.67  # of the change that is written


class Pool(NamedTuple):
    """What G2 is trained on: N heads, in half precision."""

    features: Float[np.ndarray, 'N h h F']
    ws: Float[np.ndarray, 'N L D']
    camera: Float[np.ndarray, 'N 25']
    image: Float[np.ndarray, 'N H H 3']  # the true picture, in [-1, 1]


class Batch(NamedTuple):
    """Parts of pictures."""

    features: Float[Array, 'N h h F']
    ws: Float[Array, 'N L D']
    camera: Float[Array, 'N 25']  # that sees the part
    image: Float[Array, 'N H H 3']


class State(NamedTuple):
    """G2 and its running average, the discriminator, and both optimisers' states."""

    g2: Any
    average: Any
    discriminator: Any
    optimiser: Any
    discriminator_optimiser: Any


def make_pool(generator: TriPlaneGenerator, path: Path, size: int, seed: int) -> Pool:
    """Renders the pool, or reads it where that is done."""
    if not path.exists():
        parts = []
        for index in tqdm(range(size // DRAWN), desc='drawing', unit='batch'):
            z, camera = draw(DRAWN, jax.random.fold_in(jax.random.key(seed), index))
            true = world.render(world.from_latent(z), camera, 'photo', generator.config.image_resolution)
            parts.append([np.asarray(x, np.float16) for x in (*_stages(generator, z, camera), camera, true)])
        pool = Pool(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
        with replacing(path) as unfinished, unfinished.open('wb') as file:
            np.savez(file, **pool._asdict())
    with np.load(path) as stored:
        return Pool(**{name: stored[name] for name in stored.files})


def _pool_file(size: int, seed: int) -> str:
    return f'pool_{size}_{seed}.npz'


@jax.jit
def _stages(generator: TriPlaneGenerator, z: Array, camera: Array) -> tuple[Array, Array]:
    ws = generator.mapping(z, camera)
    return generator.render(generator.planes(ws), camera).feature_image, ws


def draw_parts(pool: Pool, key: PRNGKeyArray) -> Batch:
    """Parts of random pictures, at random places of the feature images' grid."""
    head_key, corner_key = jax.random.split(key)
    heads = jax.random.randint(head_key, (BATCH,), 0, len(pool.camera))
    side = pool.features.shape[1]
    size = round(side * PART)
    corner = jax.random.randint(corner_key, (BATCH, 2), 0, side - size + 1)  # (u, v)

    def cut(picture: Array, corner: Array, scale: int) -> Array:
        start = (corner[1] * scale, corner[0] * scale, 0)
        return jax.lax.dynamic_slice(picture, start, (size * scale, size * scale, picture.shape[-1]))

    features, image, camera = (jnp.asarray(array)[heads] for array in (pool.features, pool.image, pool.camera))
    return Batch(
        jax.vmap(partial(cut, scale=1))(features, corner).astype(jnp.float32),
        jnp.asarray(pool.ws)[heads].astype(jnp.float32),
        views.crop(camera.astype(jnp.float32), corner / side, PART),
        jax.vmap(partial(cut, scale=2))(image, corner).astype(jnp.float32),
    )


def make_step(
    generator: TriPlaneGenerator, critic: Any, pool: Pool, optimisers: tuple[Any, Any], seed: int
) -> Callable[[State, Array], tuple[State, dict[str, Array]]]:
    """The jitted step ``(state, index) -> (state, metrics)``: the discriminator's update, then G2's."""
    g2_graph, _, *rest = nnx.split(generator.superresolution, nnx.Param, ...)
    (buffers,) = rest

    def superresolve(g2: Any, batch: Batch) -> Array:
        return superresolve_patch(nnx.merge(g2_graph, g2, buffers), batch.features, batch.ws)

    def judged(discriminator: Any, image: Array, batch: Batch) -> Array:
        return nnx.merge(critic, discriminator)(image, batch.features[..., :RGB_CHANNELS], batch.camera)

    def discriminator_loss(discriminator: Any, made: Array, batch: Batch, key: PRNGKeyArray) -> Array:
        noisy = batch.image + PENALTY_NOISE * jax.random.normal(key, batch.image.shape)
        true, near, false = (judged(discriminator, image, batch) for image in (batch.image, noisy, made))
        penalty = jnp.mean(jnp.square((near - true) / PENALTY_NOISE))
        return jnp.mean(jax.nn.softplus(false) + jax.nn.softplus(-true)) + 0.5 * PENALTY * penalty

    def g2_loss(g2: Any, discriminator: Any, batch: Batch) -> tuple[Array, dict[str, Array]]:
        made = superresolve(g2, batch)
        losses = {
            'image': jnp.mean(jnp.abs(made - batch.image)) / 2,
            'gradient': gradient_difference(made / 2, batch.image / 2),
            'adversarial': jnp.mean(jax.nn.softplus(-judged(discriminator, made, batch))),
        }
        return sum((WEIGHTS[name] * value for name, value in losses.items()), jnp.zeros(())), losses

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, pool: Pool, index: Array) -> tuple[State, dict[str, Array]]:
        part_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
        batch = draw_parts(pool, part_key)
        made = superresolve(state.g2, batch)
        loss, slope = jax.value_and_grad(discriminator_loss)(state.discriminator, made, batch, noise_key)
        change, discriminator_state = optimisers[1].update(slope, state.discriminator_optimiser, state.discriminator)
        discriminator = optax.apply_updates(state.discriminator, change)
        slope, losses = jax.grad(g2_loss, has_aux=True)(state.g2, discriminator, batch)
        change, g2_state = optimisers[0].update(slope, state.optimiser, state.g2)
        g2 = optax.apply_updates(state.g2, change)
        decay = jnp.minimum(AVERAGING, (1.0 + index) / (10.0 + index))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, g2)
        metrics = {**losses, 'discriminator': loss}
        return State(g2, average, discriminator, g2_state, discriminator_state), metrics

    kept = jax.tree.map(jnp.asarray, pool)
    return lambda state, index: step(state, kept, index)


def sharpen(generator: TriPlaneGenerator, workdir: Path, steps: int, pool_size: int, seed: int) -> float:
    """Trains the generator's G2 in place; returns the seconds of training."""
    pool = make_pool(generator, workdir / _pool_file(pool_size, seed), pool_size, seed)
    critic, discriminator = nnx.split(DualDiscriminator(DISCRIMINATOR, rngs=nnx.Rngs(seed)))
    g2 = nnx.state(generator.superresolution, nnx.Param)
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, steps, 0.05)
    optimisers = (optax.adam(schedule, **ADAM), optax.adam(DISCRIMINATOR_RATE, **ADAM))
    start = State(g2, g2, discriminator, optimisers[0].init(g2), optimisers[1].init(discriminator))
    # Copies, since a step gives its state's memory away.
    state = jax.device_put(jax.tree.map(lambda x: jnp.array(x, jnp.asarray(x).dtype), start), jax.devices()[0])
    step = make_step(generator, critic, pool, optimisers, seed + 1)

    def preview(state: State, done: int) -> None:
        nnx.update(generator.superresolution, state.average)
        save_preview(generator, workdir / f'sharpening_{done:06d}.png')

    state, seconds = fit(step, state, steps, workdir / 'sharpening', name='sharpening', preview=preview)
    nnx.update(generator.superresolution, state.average)
    return seconds


def weaken(generator: TriPlaneGenerator, initial: TriPlaneGenerator, strength: float) -> None:
    """Takes G2, in place, this far along the line from the initial weights to its own."""
    before, after = (nnx.state(network.superresolution, nnx.Param) for network in (initial, generator))
    nnx.update(generator.superresolution, jax.tree.map(lambda a, b: a + strength * (b - a), before, after))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m miniature.generator_sharpening', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--initial', type=trained_weights, required=True, help='directory of the generator to sharpen')
    parser.add_argument('--output', type=Path, required=True, help='directory of the finished weights')
    parser.add_argument(
        '--workdir', type=Path, default=Path('runs/miniature_sharpening'), help='pool, checkpoints and previews'
    )
    parser.add_argument('--steps', type=int, default=STEPS)
    parser.add_argument('--pool', type=int, default=POOL, help=f'heads, a multiple of {DRAWN}')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--strength', type=float, default=STRENGTH, help='of the change that is written, 0 to 1')
    options = parser.parse_args(arguments)
    if not 0.0 <= options.strength <= 1.0:
        parser.error(f'--strength: expected a number from 0 to 1, got {options.strength}')
    if options.steps < 1:
        parser.error(f'--steps: expected at least 1, got {options.steps}')
    if options.pool < DRAWN or options.pool % DRAWN:
        parser.error(f'--pool: expected a multiple of {DRAWN}, got {options.pool}')
    generator, initial = load_generator(options.initial), read_recipe(options.initial)
    settings = {'seed': options.seed, 'steps': options.steps, 'pool': options.pool, 'weights': WEIGHTS}
    made = ('sharpening', _pool_file(options.pool, options.seed))
    try:
        claim(options.workdir, 'generator', settings, options.initial, made)
    except ValueError as error:
        parser.error(str(error))
    try:
        seconds = sharpen(generator, options.workdir, options.steps, options.pool, options.seed)
    except KeyboardInterrupt:
        return 130
    weaken(generator, load_generator(options.initial), options.strength)
    unit_kernels(generator.superresolution)
    save_generator(generator, options.output, dtype='float16')
    command = 'python -m miniature.generator_sharpening '
    write_recipe(
        options.output,
        command=command + ' '.join(sys.argv[1:] if arguments is None else arguments),
        seconds=seconds,
        settings={**settings, 'strength': options.strength},
        quality=measure(options.output),
        initial=initial,
    )
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(main())
