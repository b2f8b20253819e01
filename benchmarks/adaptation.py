"""Time and memory of one adaptation step in each phase, on random weights of any size.

    python -m benchmarks.adaptation [--preset=miniature] [--batch=4] [--steps=5] [--render_resolution=32]

Prints for each phase: seconds to compile, the best step's wall and processor seconds, what the compiled step needs
beside its arguments, and the process's largest memory so far. The encoders are the miniature's for the miniature,
ViT-B/32 and ViT-B/16 for the published generators.
"""

import argparse
import dataclasses
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

import clip_jax
import eg3d_jax
from adaptation.config import AdaptationConfig, PhaseConfig, ReferenceConfig
from adaptation.guidance import Guide
from adaptation.leaves import named_leaves
from adaptation.phases import Phase, plan
from adaptation.step import Constants, Sampling, init_state, make_step

M = TypeVar('M', bound=nnx.Module)
MEBIBYTE = 2**20
GUIDED_BLOCK = 3  # of the encoders, counted from 0
ENCODERS = {'miniature': ('miniature', 'miniature/16')}
FULL_SIZE_ENCODERS = ('ViT-B/32', 'ViT-B/16')


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--preset', default='miniature', choices=eg3d_jax.PRESETS)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--steps', type=int, default=5, help='timed steps of each phase')
    parser.add_argument('--render_resolution', type=int, help="of the first phase (default: the generator's)")
    options = parser.parse_args()

    preset = eg3d_jax.PRESETS[options.preset]
    generator = compiled(lambda: eg3d_jax.TriPlaneGenerator(preset, rngs=nnx.Rngs(0)))
    guides = tuple(random_guide(name) for name in ENCODERS.get(options.preset, FULL_SIZE_ENCODERS))
    phases = plan(
        settings(options.render_resolution),
        named_leaves(generator, nnx.Param),
        generator.config.rendering.neural_resolution,
    )
    device = jax.devices()[0]
    print(f'{options.preset}, batches of {options.batch}, {device.platform} ({device.device_kind})')
    print(f'{"phase":<8}{"trained":>12}{"compile s":>11}{"step s":>9}{"cpu s":>8}{"step MiB":>10}{"peak MiB":>10}')
    sampling = Sampling(options.batch, 1.0, 'same', generator.config.camera, 0.0)
    for phase in phases:
        measure(phase, sampling, Constants(generator, guides), options.steps)


def settings(render_resolution: int | None) -> AdaptationConfig:
    """The method's two phases."""
    config = AdaptationConfig(reference=ReferenceConfig(image='none'))
    first: PhaseConfig = dataclasses.replace(config.phases['phase1'], render_resolution=render_resolution)
    return dataclasses.replace(config, phases={**config.phases, 'phase1': first})


def compiled(make: Callable[[], M]) -> M:
    """A module with its initial random weights, made in one compiled program."""
    module: M = jax.jit(make)()
    return module


def random_guide(name: str) -> Guide:
    """An encoder with random constants."""
    config = clip_jax.PRESETS[name]
    clip = compiled(lambda: clip_jax.Clip(config, rngs=nnx.Rngs(0)))
    del clip.text_model, clip.text_projection
    tokens = jax.random.normal(jax.random.key(1), (config.vision.grid**2, config.vision.width))
    return Guide(clip, tokens, jax.random.normal(jax.random.key(2), (config.embed_dim,)), GUIDED_BLOCK)


def measure(phase: Phase, sampling: Sampling, constants: Constants, steps: int) -> None:
    """Compiles and runs the steps of a phase, and prints its line."""
    leaves = named_leaves(constants.source)
    state = init_state(0, {name: jnp.array(leaves[name]) for name in phase.changed}, phase)
    key = jax.random.key(0)
    started = time.perf_counter()
    step = jax.jit(make_step(phase, sampling), donate_argnums=0).lower(state, constants, key).compile()
    compiling = time.perf_counter() - started
    best_wall = best_cpu = float('inf')
    for _ in range(steps):
        wall, cpu = time.perf_counter(), time.process_time()
        state, values = step(state, constants, key)
        jax.block_until_ready((state, values))
        best_wall, best_cpu = min(best_wall, time.perf_counter() - wall), min(best_cpu, time.process_time() - cpu)
    analysis = step.memory_analysis()
    temporary = float('nan') if analysis is None else analysis.temp_size_in_bytes / MEBIBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # kibibytes on Linux
    trained = sum(leaves[name].size for name in phase.trained)
    print(
        f'{phase.name:<8}{trained:>12,}{compiling:>11.1f}{best_wall:>9.3f}{best_cpu:>8.3f}{temporary:>10.0f}{peak:>10.0f}',
        flush=True,
    )


if __name__ == '__main__':
    main()
