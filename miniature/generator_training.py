"""Train the miniature's generator on the procedural world.

    python -m miniature.generator_training --output=miniature/weights/generator

The mapping network is constructed (`miniature.mapping_construction`), so that w is linear in all that pictures show of
the head, and left as it is: trained along, it jitters, and what is learnt from w is learnt worse. Then stages, each of
them resumable (Ctrl-C, then the same command): the tri-plane field at points in space, without ray marching, first on
coarse planes, where a step sees four times the heads; field and pictures together, through volume rendering and G2. The
generator and the world get the same latents, so that every latent has a true head.

With ``--initial`` the coarse planes are skipped: what was learnt there is in the given weights already. A mapping
network that says less of the head than a constructed one is replaced, and the layers behind it are fitted to the
new w; a generator of fewer channels than the preset's is widened (`miniature.widening`). ``--stage=NAME:STEPS:RATE``,
once for each, runs these stages instead; ``--average=0.5`` ends halfway between the given and the trained weights.
"""

import argparse
import dataclasses
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
from jaxtyping import Array, PRNGKeyArray
from PIL import Image

from eg3d_jax import PRESETS, TriPlaneGenerator, cameras, load_generator, save_generator
from eg3d_jax.huge_pages import restart_with_huge_pages
from eg3d_jax.layers import FullyConnected
from miniature import views, world
from miniature.field_targets import FieldTargets, field_rays, field_targets
from miniature.generator_losses import (
    PATCH,
    PictureTargets,
    field_losses,
    patch_corners,
    picture_losses,
    picture_targets,
    total,
)
from miniature.generator_quality import CAMERA_SPREAD, measure
from miniature.mapping_construction import construct_mapping, shown
from miniature.optimisers import is_matrix, muon
from miniature.training import claim, fit, read_recipe, trained_weights, write_recipe
from miniature.unit_kernels import unit_kernels
from miniature.widening import widened

CONFIG = PRESETS['miniature']
LARGEST_ERROR = 0.01  # of what is read off w; a mapping network that is worse is constructed anew
FIELDS = {16: (32, 14), 32: (16, 16), 64: (8, 20)}  # side of the planes -> heads; rays along a side, see `field_rays`
FIELD_STAGES = ((16, 2200, 1e-2), (32, 2200, 8e-3), (64, 1400, 6e-3))  # side of the planes, steps, learning rate
PICTURE_BATCH = 8
MEAN_W_SAMPLES = 4096
SMALLEST_VARIANCE = 1e-3
CLIP_NORM = 2.0
AVERAGING = 0.998  # of the weights, over steps
RATES = {'decoder': 2.0, 'rest': 1.0}  # learning rates relative to the base rate
TRAINED = nnx.All(nnx.Param, nnx.Not(nnx.PathContains('mapping')))
COMPARED_LATENTS = 32_768  # whose w tell how a mapping network has changed


class State(NamedTuple):
    """Parameters, their running average, and the optimiser's state."""

    params: Any
    average: Any
    optimiser: Any


class Batch(NamedTuple):
    """What a step is given."""

    z: Array
    camera: Array
    field: FieldTargets
    part: Array | None = None  # cameras that see parts of the pictures
    picture: PictureTargets | None = None


class Stage(NamedTuple):
    """A named loss ``(generator, batch, key) -> (loss, metrics)``, and the batches it takes, ``key -> batch``.

    Each batch serves `uses` steps in a row, as much as drawing the world costs.
    """

    name: str
    batch: Callable[[PRNGKeyArray], Any]
    loss: Callable[[TriPlaneGenerator, Any, PRNGKeyArray], tuple[Array, dict[str, Array]]]
    steps: int
    learning_rate: float
    uses: int = 1


def readout_error(generator: TriPlaneGenerator, readout: Array, z: Array) -> Array:
    """The mean over what w is to be linear in (`shown`) of the squared error over the variance, both over these z."""
    w = generator.mapping(z, jnp.zeros((len(z), 25)))[:, 0]
    read = jnp.concatenate([w, jnp.ones((len(z), 1))], axis=1) @ readout
    true = shown(world.from_latent(z))
    return jnp.mean(jnp.square(read - true) / (jnp.var(true, axis=0) + SMALLEST_VARIANCE))


def field_batch(key: PRNGKeyArray, resolution: int) -> Batch:
    """Points along rays of one camera per head, for planes of this resolution."""
    heads, side = FIELDS[resolution]
    draw_key, rays_key, points_key = jax.random.split(key, 3)
    z, camera = draw(heads, draw_key)
    z, twice = jnp.tile(z, (2, 1)), field_rays(camera, side, rays_key)
    targets = field_targets(world.buffers(world.from_latent(z), twice, side), twice, points_key)
    halves = (jnp.concatenate([x[:heads], x[heads:]], axis=1) for x in targets)
    return Batch(z[:heads], camera, FieldTargets(*halves))


def field_loss(
    generator: TriPlaneGenerator, batch: Batch, key: PRNGKeyArray, resolution: int
) -> tuple[Array, dict[str, Array]]:
    """The field at points, held by planes of this resolution."""
    ws = generator.mapping(batch.z, batch.camera)
    planes = generator.backbone.synthesis(ws, noise_mode='none', resolution=resolution)
    losses = field_losses(generator, planes, batch.field)
    return total(losses), losses


def picture_batch(key: PRNGKeyArray) -> Batch:
    """A part of one picture of each head, and points along some of its rays."""
    draw_key, corner_key, points_key = jax.random.split(key, 3)
    z, camera = draw(PICTURE_BATCH, draw_key)
    resolution = CONFIG.rendering.neural_resolution
    corner = patch_corners(camera, resolution, corner_key)
    part = views.crop(camera, corner, PATCH)
    seen = world.buffers(world.from_latent(z), part, 4 * round(resolution * PATCH))
    return Batch(z, camera, field_targets(seen, part, points_key, stride=4), part, picture_targets(seen, corner))


def picture_loss(generator: TriPlaneGenerator, batch: Batch, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
    """The field, and a part of a picture, of each head."""
    assert batch.part is not None
    assert batch.picture is not None
    ws = generator.mapping(batch.z, batch.camera)
    planes = generator.planes(ws, noise_mode='none')
    losses = field_losses(generator, planes, batch.field)
    losses |= picture_losses(generator, planes, ws, batch.picture, batch.part, key)
    return total(losses), losses


def draw(n: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    """Latents, and cameras spread wider than the config's, so that the sides are learnt as well."""
    z_key, camera_key = jax.random.split(key)
    camera = CONFIG.camera
    spread = dataclasses.replace(
        camera, yaw_std=camera.yaw_std * CAMERA_SPREAD, pitch_std=camera.pitch_std * CAMERA_SPREAD
    )
    return jax.random.normal(z_key, (n, CONFIG.z_dim)), cameras.sample_poses(camera_key, n, spread)


def _optimiser(stage: Stage, params: Any) -> optax.GradientTransformation:
    """Muon for the matrices and kernels of backbone and G2, Adam for the rest, both in steps of a root mean
    square of about the learning rate times the stage's rate of the part."""

    def label(path: tuple, leaf: Array) -> str:
        names = {str(getattr(part, 'key', part)) for part in path}
        part = next((name for name in RATES if name in names), 'rest')
        return f'{part} {"matrix" if is_matrix(leaf) and not names & {"const", "decoder"} else "other"}'

    labels = jax.tree_util.tree_map_with_path(label, params)
    warmup = min(100, stage.steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, stage.learning_rate, warmup, stage.steps, 0.02 * stage.learning_rate
    )
    adam = optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.scale_by_adam(b1=0.9, b2=0.99))
    kinds = {'matrix': muon(), 'other': adam}
    parts = {
        f'{part} {kind}': optax.chain(transformation, optax.scale(rate))
        for part, rate in RATES.items()
        for kind, transformation in kinds.items()
    }
    return optax.chain(optax.partition(parts, labels), optax.scale_by_learning_rate(schedule))


def all_stages() -> list[Stage]:
    """What a training from nothing runs."""
    fields = [
        Stage(
            f'field{resolution}',
            partial(field_batch, resolution=resolution),
            partial(field_loss, resolution=resolution),
            steps,
            rate,
        )
        for resolution, steps, rate in FIELD_STAGES
    ]
    return [
        *fields,
        Stage('picture', picture_batch, picture_loss, 4000, 4e-3, uses=2),
    ]


def stage_from_words(words: str) -> Stage:
    """The stage that NAME:STEPS:RATE asks for.

    Raises:
        argparse.ArgumentTypeError: there is no such stage, or the numbers are none.
    """
    known = {stage.name: stage for stage in all_stages()}
    try:
        name, steps, rate = words.split(':')
        stage = known[name]._replace(steps=int(steps), learning_rate=float(rate))
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f'{words!r}: give NAME:STEPS:RATE, NAME one of {", ".join(known)}') from None
    if stage.steps < 1 or not stage.learning_rate > 0:
        raise argparse.ArgumentTypeError(f'{words!r}: steps and rate have to be above 0')
    return stage


def make_step(
    graphdef: Any, buffers: Any, stage: Stage, optimiser: optax.GradientTransformation, seed: int
) -> Callable:
    """The stage's jitted step ``(state, index) -> (state, metrics)``."""

    def loss(params: Any, batch: Any, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        return stage.loss(nnx.merge(graphdef, params, buffers), batch, key)

    # The world compiles slowly: a program of its own, which no change of the losses compiles again.
    make_batch = jax.jit(stage.batch)

    @partial(jax.jit, donate_argnums=0)
    def update(state: State, batch: Any, index: Array, key: PRNGKeyArray) -> tuple[State, dict[str, Array]]:
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, batch, key)
        updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(AVERAGING, (1.0 + index) / (10.0 + index))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, params)
        return State(params, average, optimiser_state), metrics

    latest: dict[int, Any] = {}  # the last batch, by its number

    def step(state: State, index: Array) -> tuple[State, dict[str, Array]]:
        batch_key, update_key = jax.random.split(jax.random.key(seed))
        number = int(index) // stage.uses
        if number not in latest:
            latest.clear()
            latest[number] = make_batch(jax.random.fold_in(batch_key, number))
        return update(state, latest[number], index, jax.random.fold_in(update_key, index))

    return step


def ready_mapping(generator: TriPlaneGenerator, seed: int, *, carry: bool) -> None:
    """Constructs the mapping network, unless all that is shown is read off its w already.

    Args:
        generator: changed in place.
        seed: of the latents that are looked at.
        carry: whether the layers behind are to read off the new w what they read off the old one.
    """
    some = jax.random.normal(jax.random.key(seed + 1), (COMPARED_LATENTS, generator.config.z_dim))
    if float(readout_error(generator, fitted_readout(generator, seed), some)) < LARGEST_ERROR:
        return
    before = _some_w(generator, COMPARED_LATENTS, seed)
    construct_mapping(generator.backbone.mapping)
    if carry:
        carry_over(generator, before, _some_w(generator, COMPARED_LATENTS, seed))


def carry_over(generator: TriPlaneGenerator, before: Array, after: Array) -> None:
    """Lets each affine layer read off the w of a changed mapping network what it read off the old one's.

    Args:
        generator: changed in place.
        before: [N, D], w of some latents by the old mapping network.
        after: [N, D], w of the same latents by the new one.
    """
    line = jnp.linalg.lstsq(jnp.concatenate([after, jnp.ones((len(after), 1))], axis=1), before)[0]  # [D + 1, D]
    for path, layer in nnx.iter_modules(generator):
        if path and path[-1] == 'affine':
            assert isinstance(layer, FullyConnected)
            weight = layer.weight[...]
            layer.weight[...] = line[:-1] @ weight
            layer.bias[...] = layer.bias[...] + line[-1] @ weight * (layer.weight_gain / layer.bias_gain)


def fitted_readout(generator: TriPlaneGenerator, seed: int) -> Array:
    """The linear map from w, and a 1 after it, to what is shown that errs least on some latents."""
    z = _some_latents(generator, COMPARED_LATENTS, seed)
    w = _some_w(generator, COMPARED_LATENTS, seed)
    return jnp.linalg.lstsq(jnp.concatenate([w, jnp.ones((len(w), 1))], axis=1), shown(world.from_latent(z)))[0]


def _some_latents(generator: TriPlaneGenerator, n: int, seed: int) -> Array:
    """[N, Z], latents that depend on the seed alone."""
    return jax.random.normal(jax.random.key(seed), (n, generator.config.z_dim))


def _some_w(generator: TriPlaneGenerator, n: int, seed: int) -> Array:
    """[N, D], w of n latents that depend on the seed alone."""
    return generator.mapping(_some_latents(generator, n, seed), jnp.zeros((n, 25)))[:, 0]


def train(
    stages: list[Stage], workdir: Path, seed: int, initial: TriPlaneGenerator | None = None
) -> tuple[TriPlaneGenerator, float]:
    """Run the stages; returns the generator of averaged weights, with its mean w, and the seconds of training."""
    generator = initial or TriPlaneGenerator(CONFIG, rngs=nnx.Rngs(seed))
    synthesis = generator.backbone.synthesis
    for resolution in synthesis.block_resolutions[1:] if initial is None else ():
        weight = getattr(synthesis, f'b{resolution}').torgb.weight  # finer planes start where the coarser ones ended
        weight[...] = jnp.zeros_like(weight[...])
    ready_mapping(generator, seed, carry=initial is not None)
    graphdef, params, *rest = nnx.split(generator, TRAINED, ...)
    (buffers,) = rest
    seconds = 0.0
    for number, stage in enumerate(stages):
        optimiser = _optimiser(stage, params)
        optimiser_state = optimiser.init(params)
        # Copies, since a step gives its state's memory away.
        state = jax.tree.map(jnp.copy, State(params, params, optimiser_state))
        # Weakly typed leaves, or some that are not committed to a device, would compile the step a second time.
        state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)
        state = jax.device_put(state, jax.devices()[0])
        step = make_step(graphdef, buffers, stage, optimiser, seed + 1 + number)

        def preview(state: State, done: int, stage: Stage = stage) -> None:
            averaged: TriPlaneGenerator = nnx.merge(graphdef, state.average, buffers)
            save_preview(averaged, workdir / f'{stage.name}_{done:06d}.png')

        state, stage_seconds = fit(step, state, stage.steps, workdir / stage.name, name=stage.name, preview=preview)
        seconds += stage_seconds
        nnx.update(generator, state.average)
        params = nnx.state(generator, TRAINED)
    generator.backbone.mapping.w_avg[...] = _some_w(generator, MEAN_W_SAMPLES, seed).mean(axis=0)
    return generator, seconds


def save_preview(generator: TriPlaneGenerator, path: Path) -> None:
    """True heads above generated ones, from both sides and the front."""
    n = 6
    z = jax.random.normal(jax.random.key(123), (n, generator.config.z_dim))
    camera = cameras.orbit_cameras(
        jnp.array([-0.5, 0.0, 0.5] * 2), jnp.array([0.15, 0.0, -0.15] * 2), generator.config.camera
    )
    made = jax.jit(lambda g, z, c: g(z, c, noise_mode='none'))(generator, z, camera)
    true = world.render(world.from_latent(z), camera, 'photo', generator.config.image_resolution)
    raw = jax.image.resize(made.image_raw, true.shape, 'nearest')
    rows = [np.concatenate(list(np.asarray(row)), axis=1) for row in (true, made.image, raw)]
    picture = np.clip((np.concatenate(rows) * 0.5 + 0.5) * 255 + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(picture).save(path)


def average(generator: TriPlaneGenerator, initial: TriPlaneGenerator, share: float) -> None:
    """Moves a trained generator this share of the way back to where its training began.

    Training that begins at a good generator leaves it by long steps, and ends as near to the best one as its noise lets
    it, on another side: between the two, some of the noise of both is gone (arXiv 1803.05407, 2203.05482).
    """
    mean = jax.tree.map(lambda one, other: one + share * (other - one), nnx.state(generator), nnx.state(initial))
    nnx.update(generator, mean)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m miniature.generator_training', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--output', type=Path, required=True, help='directory of the finished weights')
    parser.add_argument(
        '--workdir', type=Path, default=Path('runs/miniature_generator'), help='checkpoints and previews'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--scale', type=float, default=1.0, help='of the number of steps of every stage')
    parser.add_argument('--initial', type=trained_weights, help='directory of a generator to go on from')
    parser.add_argument(
        '--stage',
        type=stage_from_words,
        action='append',
        metavar='NAME:STEPS:RATE',
        help=f'run this stage ({", ".join(stage.name for stage in all_stages())}); give it once for each',
    )
    parser.add_argument('--average', type=float, default=0.0, help='share of the initial weights in the result; 0 to 1')
    options = parser.parse_args(arguments)
    if not 0 <= options.average < 1 or (options.average and options.initial is None):
        parser.error(f'--average: {options.average:g} is not from 0 to less than 1, or there are no --initial weights')
    initial, initial_recipe = None, None
    if options.initial is not None:
        initial, initial_recipe = load_generator(options.initial), read_recipe(options.initial)
        if initial.config != CONFIG:
            try:
                initial = widened(initial, CONFIG, options.seed)
            except ValueError as error:
                parser.error(f'--initial: {error}; give a generator of the miniature')
    start = None if initial is None else nnx.clone(initial)
    stages = options.stage or all_stages()
    names = [stage.name for stage in stages]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        parser.error(f'--stage: {twice[0]} is given twice; run the command once for each')
    if initial is not None and not options.stage:
        stages = [stage for stage in stages if not stage.name.startswith('field')]
    stages = [stage._replace(steps=max(1, round(stage.steps * options.scale))) for stage in stages]
    settings = {
        'seed': options.seed,
        **{f'{stage.name}_steps': stage.steps for stage in stages},
        **{f'{stage.name}_learning_rate': stage.learning_rate for stage in stages},
    }
    try:
        claim(options.workdir, 'generator', settings, options.initial, [stage.name for stage in all_stages()])
    except ValueError as error:
        parser.error(str(error))
    try:
        generator, seconds = train(stages, options.workdir, options.seed, initial)
    except KeyboardInterrupt:
        return 130
    if start is not None and options.average:
        for one in (generator, start):
            unit_kernels(one.superresolution)  # of equal size, each has its share
        average(generator, start, options.average)
    unit_kernels(generator.superresolution)
    save_generator(generator, options.output, dtype='float16')
    write_recipe(
        options.output,
        command='python -m miniature.generator_training ' + ' '.join(sys.argv[1:] if arguments is None else arguments),
        seconds=seconds,
        settings=settings | ({'average': options.average} if options.average else {}),
        quality=measure(options.output),
        initial=initial_recipe,
    )
    return 0


if __name__ == '__main__':
    restart_with_huge_pages()
    sys.exit(main())
