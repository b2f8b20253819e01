"""G2's kernels at the scale that they are drawn with at first: a root mean square of 1.

    python -m miniature.unit_kernels --initial=miniature/weights/generator --output=miniature/weights/generator

A layer that demodulates divides by the size of its kernel: twice the kernel makes the same pictures. Training lets
kernels grow all the same (fourfold, in the miniature's), and Adam's steps are of a size of their own: to a kernel that
has grown they are small ones. Adaptation trains G2 at a rate that is given once for all generators, so those that are
trained here are brought back to where it means what it says: as training ends, and by this command.

Letters: k side of a kernel, I inputs and O outputs of a layer.
"""

import argparse
import sys
from pathlib import Path

import jax.numpy as jnp
from flax import nnx

from eg3d_jax import load_generator, save_generator
from eg3d_jax.layers import SynthesisLayer
from eg3d_jax.superresolution import Superresolution
from miniature.generator_quality import measure
from miniature.training import read_recipe, trained_weights, write_recipe


def unit_kernels(superresolution: Superresolution) -> None:
    """Scales the kernel [k, k, I, O] of each layer that demodulates to a root mean square of 1; pictures stay."""
    for _, layer in nnx.iter_graph(superresolution):
        if isinstance(layer, SynthesisLayer):
            kernel = layer.weight[...]
            layer.weight[...] = kernel / jnp.sqrt(jnp.mean(jnp.square(kernel)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='python -m miniature.unit_kernels', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--initial', type=trained_weights, required=True, help='directory of the generator')
    parser.add_argument('--output', type=Path, required=True, help='directory of the scaled one')
    options = parser.parse_args(arguments)
    generator, initial = load_generator(options.initial), read_recipe(options.initial)
    unit_kernels(generator.superresolution)
    save_generator(generator, options.output, dtype='float16')
    command = 'python -m miniature.unit_kernels ' + ' '.join(sys.argv[1:] if arguments is None else arguments)
    write_recipe(
        options.output, command=command, seconds=0.0, settings={}, quality=measure(options.output), initial=initial
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
