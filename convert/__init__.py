"""PyTorch checkpoints -> this project's checkpoints. Nothing in a checkpoint is ever executed.

    python -m convert.eg3d --source=FILE --output=DIR          a published EG3D pickle
    python -m convert.clip --source=FILE_OR_DIR --output=DIR   CLIP, from Hugging Face or OpenAI

From Python: `convert.eg3d.convert(source, output)` and `convert.clip.convert(source, output)`.
"""

from convert.engine import Report
from convert.errors import ConversionError

__all__ = ['ConversionError', 'Report']
