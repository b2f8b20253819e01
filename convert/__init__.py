"""PyTorch checkpoints -> this project's checkpoints, and back. Nothing in a checkpoint is ever executed.

    python -m convert.eg3d --source=S --output=DIR [--network=G_ema|G|D]    an EG3D network
    python -m convert.clip --source=S --output=DIR                          CLIP: Hugging Face, OpenAI, OpenCLIP
    python -m convert.inception --source=S --output=DIR                     the network of the Fréchet distance
    python -m convert.arcface --source=S --output=DIR                       the network that tells faces apart
    python -m convert.export --source=DIR --output=FILE [--adapter=DIR_OR_FILE]   a generator for PyTorch

S is a file, a directory, https://..., or hf://owner/repo[/file][@revision]; each command says more with --help.
From Python: `convert.eg3d.convert(source, output)`, `convert.clip.convert(source, output)`, likewise `inception` and
`arcface`, and `convert.export.export`.
"""

from convert.engine import Report
from convert.errors import ConversionError

__all__ = ['ConversionError', 'Report']
