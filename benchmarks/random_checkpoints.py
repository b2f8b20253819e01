"""Writes full-size checkpoints of random numbers in the published formats.

    python -m benchmarks.random_checkpoints --output=DIR

They are EG3D's pickle of three FFHQ networks, ViT-B/32 as a Hugging Face directory, and ViT-B/16 as OpenAI's
TorchScript file; about 1.3 GB. Of the published weights they have nothing but the shapes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.full_size import EG3D_FILE, VIT_B_16_FILE, VIT_B_32_DIRECTORY
from clip_jax import PRESETS
from convert.testing import clip_files, eg3d_entries, eg3d_pickle


def write(directory: Path) -> None:
    """Writes all three into an existing directory."""
    eg3d_pickle.write_pickle(directory / EG3D_FILE, eg3d_entries.arguments())
    clip_files.write_hugging_face(directory / VIT_B_32_DIRECTORY, clip_files.random_model(PRESETS['ViT-B/32']))
    config = PRESETS['ViT-B/16']
    sizes = (config.vision.image_size, config.text.context_length, config.text.vocab_size)
    state = clip_files.openai_state(clip_files.random_model(config, seed=1))
    clip_files.write_openai(directory / VIT_B_16_FILE, state, sizes)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--output', required=True, type=Path, help='an existing directory')
    write(parser.parse_args().output)
