"""Sources inside pickles: those that use the system when they are loaded are refused, and published ones pass."""

from __future__ import annotations

import contextlib
import pickle

import pytest

from convert import ConversionError
from convert.embedded_source import TOO_DEEP, refuse_planted
from convert.persistence import read_modules
from convert.testing import eg3d_pickle

HIDDEN = {
    'f = os.system\nf({command!r})': 'os.system',
    'from os import *\nsystem({command!r})': 'os.*',
    '(y := os.system)({command!r})': 'os.system',
    '[os.system][0]({command!r})': 'os.system',
    'list(map(os.system, [{command!r}]))': 'os.system',
    '(lambda: os.system({command!r}))()': 'os.system',
    'f = lambda run=os.system: run({command!r})\nf()': 'os.system',
    'class A:\n    __class_getitem__ = os.system\nA[{command!r}]': 'os.system',
    'class A:\n    def __init__(self):\n        os.system({command!r})\nA()': 'os.system',
    'class A:\n    if True:\n        def run(self):\n            os.system({command!r})\nA().run()': 'os.system',
    'class A:\n    def run(self):\n        os.system({command!r})\nclass B(A):\n    pass\nB().run()': 'os.system',
    'class A:\n    def __init_subclass__(cls):\n        os.system({command!r})\nclass B(A):\n    pass': 'os.system',
    'def f():\n    os.system({command!r})\nf()\nclass B:\n    def f(self):\n        pass': 'os.system',
    'def f():\n    os.system({command!r})\nlist(map(lambda _: f(), [1]))': 'os.system',
    'def f(x: os.system({command!r})):\n    pass': 'os.system',
    'x: os.system({command!r}) = 1': 'os.system',
    'import os as t\nt.mknod({canary!r})\ndef f():\n    import math as t': 'os.mknod',
    'import random\nrandom._os.mknod({canary!r})': 'random._os.mknod',
    '__builtins__["eval"]("os.system({command!r})")': '__builtins__',
    'import operator\noperator.methodcaller("system", {command!r})(os)': 'operator.methodcaller',
}


@pytest.mark.parametrize('source', HIDDEN)
def test_ways_to_the_system(tmp_path, source):
    """Each of them works, or the test would prove nothing."""
    canary = tmp_path / 'canary'
    whole = 'import os\n' + source.format(command=f'touch {canary}', canary=str(canary)) + '\n'
    with contextlib.suppress(TypeError):
        exec(compile(whole, 'module_src', 'exec', dont_inherit=True), {})
    canary.unlink()
    with pytest.raises(ConversionError, match=r'when it is loaded \(class Network, line \d') as caught:
        refuse_planted(whole, 'Network')
    assert f'uses {HIDDEN[source]!r} when' in str(caught.value)
    assert not canary.exists()


PUBLISHED_STYLE = """
from __future__ import annotations
import copy, io, math, os, subprocess, sys
import numpy as np
import scipy.signal
import torch
import torch.nn.functional as F
import dnnlib
from pathlib import Path
from torch_utils import misc, persistence
from torch_utils.ops import bias_act, upfirdn2d
from training.volumetric_rendering import *
from .os import helper

if sys.version_info >= (3, 8) and os.environ.get('DEBUG'):
    HERE = Path(__file__).resolve().parent
os.environ['PYOPENGL_PLATFORM'] = 'egl'
torch.backends.cudnn.benchmark = True
wavelets = {'haar': [2**-0.5] * 2, 'path': os.path.join('a', 'b')}
activations = {'relu': dnnlib.EasyDict(func=lambda input, **_: F.relu(input), gain=np.sqrt(2))}
window = torch.tensor(scipy.signal.firwin(3, 0.5))

@misc.profiled_function
def normalize_2nd_moment(x: io.BytesIO, dim=1, eps=1e-8) -> subprocess.Popen:
    return open(x), os.system, eval, getattr(x, 'it')

@torch.jit.script
def fused(x: torch.Tensor, input: int = 2) -> torch.Tensor:
    return x

class Base(torch.nn.Module):
    def __init__(self, path=None):
        self.state = torch.load(path)

@persistence.persistent_class
class Network(Base):
    size: int = int(math.log2(4))

    @property
    def data(self):
        return open(self.path)

    @data.setter
    def data(self, value):
        subprocess.run(value)

    @torch.no_grad()
    def load(self, path):
        return open(path), os.system, eval
"""


def test_published_style():
    refuse_planted(PUBLISHED_STYLE, 'Network')


@pytest.mark.parametrize('source', ['x = ' + '-' * 5000 + '1', 'x = ' + '+'.join('1' * 5000)])
def test_what_is_too_deep_to_be_looked_at(source):
    """Another version of Python may load it."""
    with pytest.raises(ConversionError, match=TOO_DEEP):
        refuse_planted(source, 'Network')


@pytest.mark.parametrize('kind', [str, bytes, bytearray])
def test_source_that_is_no_text(tmp_path, kind):
    """EG3D's own loader runs bytes as well."""
    source = 'x = 1' if kind is str else kind(b'import os\nos.system("true")')
    meta = {'type': 'class', 'version': 6, 'class_name': 'Network', 'module_src': source, 'state': {}}
    with eg3d_pickle.reference_modules() as reference, (tmp_path / 'it').open('wb') as file:

        class Persistent:
            def __reduce__(self):
                return reference.reconstruct, (meta,)

        pickle.dump(Persistent(), file, 5)
    with (tmp_path / 'it').open('rb') as file:
        if kind is str:
            assert read_modules(file).class_name == 'Network'
        else:
            with pytest.raises(ConversionError, match='holds a source that is no text'):
                read_modules(file)
