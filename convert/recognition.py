"""Naming the network that a state dict is of, for sources that a converter has to refuse."""

from __future__ import annotations

import re
from collections.abc import Collection

KNOWN = (  # a pattern that a name of the network matches in full, and what it is; the first that applies
    (r'AuxLogits\..*', "torchvision's InceptionV3, a classifier of ImageNet's 1000 classes"),
    (r'Mixed_7c\..*', 'the InceptionV3 of the Fréchet distance (python -m convert.inception)'),
    (r'encoder\.body\.\d+\.res_layer\..*', 'an encoder of pSp or e4e, which inverts faces and compares none'),
    (r'body\.\d+\.res_layer\.5\.fc1\.weight', 'an IR-SE network such as ArcFace (python -m convert.arcface)'),
    (r'body\.\d+\.res_layer\..*', 'an IR network without squeeze-and-excitation'),
    (r'layer1\.0\.prelu\.weight', "an IResNet of InsightFace's own, which has other layers than IR-SE50"),
    (r'(conv2d_1a|repeat_1\.0)\..*', 'the FaceNet of facenet-pytorch'),
    (r'(module\.)?layer1\.0\.conv1\.weight', 'a ResNet'),
    (r'(vision_model\.embeddings|visual)\..*', 'a CLIP (python -m convert.clip)'),
    (r'backbone\.synthesis\..*', 'an EG3D generator (python -m convert.eg3d)'),
    (r'lin0\.model\.1\.weight', 'LPIPS'),
    (r'features\.0\.(0\.)?weight', "one of torchvision's VGG, AlexNet or MobileNet"),
    (r'blocks\.0\.attn\..*', 'a vision transformer such as DINO'),
)
SHOWN = 3  # names of a network that nothing is known about


def describe(names: Collection[str]) -> str:
    """What a network of these entries is, in words that follow 'it looks like'; or what its names are."""
    for pattern, what in KNOWN:
        if any(re.fullmatch(pattern, name) for name in names):
            return f'it looks like {what}'
    return f'its {len(names)} entries are {", ".join(list(names)[:SHOWN])}{", ..." if len(names) > SHOWN else ""}'
