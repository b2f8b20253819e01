"""Sizes of a CLIP model, and the published ones by name."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

ACTIVATIONS = ('quick_gelu', 'gelu')  # OpenAI's approximation of GELU, and GELU itself


def _check_tower(tower: VisionConfig | TextConfig) -> None:
    name = type(tower).__name__
    for field in dataclasses.fields(tower):
        value = getattr(tower, field.name)
        if field.name == 'hidden_act':
            if value not in ACTIVATIONS:
                raise ValueError(f'{name}.hidden_act must be one of {", ".join(ACTIVATIONS)}, got {value!r}.')
        elif not value > 0:
            raise ValueError(f'{name}.{field.name} must be positive, got {value!r}.')
    if tower.width % tower.heads:
        raise ValueError(f'{name}.width {tower.width} is not a multiple of heads {tower.heads}.')


def _checked_fields(cls: type, values: Any, where: str) -> dict[str, Any]:
    """`values` if it has exactly the fields of the dataclass `cls`, each of the right type."""
    if not isinstance(values, dict):
        raise ValueError(f'{where} must hold fields, got {values!r}.')
    types = get_type_hints(cls)
    problems = [f'unknown field {name!r}' for name in sorted(values.keys() - types.keys())]
    problems += [f'missing field {name!r}' for name in sorted(types.keys() - values.keys())]
    for name in sorted(types.keys() & values.keys()):
        if types[name] in (int, float, str) and type(values[name]) is not types[name]:
            problems.append(f'{name} must be {types[name].__name__}, got {values[name]!r}')
    if problems:
        raise ValueError(f'{where}: {", ".join(problems)}.')
    return values


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """The image tower: a vision transformer over square patches of a square image."""

    image_size: int = 224  # side of the input in pixels
    patch_size: int = 32  # side of a patch in pixels; divides image_size
    width: int = 768  # channels of a token
    layers: int = 12  # transformer blocks
    heads: int = 12  # attention heads; divides width
    mlp_width: int = 3072  # hidden channels of each block's MLP
    hidden_act: str = 'quick_gelu'  # 'quick_gelu' (OpenAI) or 'gelu' (exact; most OpenCLIP models)
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_tower(self)
        if self.image_size % self.patch_size:
            raise ValueError(f'image_size {self.image_size} is not a multiple of patch_size {self.patch_size}.')

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The text tower: a causal transformer read out at the end-of-text token."""

    vocab_size: int = 49408  # token ids are in [0, vocab_size)
    context_length: int = 77  # tokens of the longest text, start and end included
    width: int = 512  # channels of a token
    layers: int = 12  # transformer blocks
    heads: int = 8  # attention heads; divides width
    mlp_width: int = 2048  # hidden channels of each block's MLP
    hidden_act: str = 'quick_gelu'
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407  # end-of-text; the value 2 selects the legacy rule, see `clip_jax.text`

    def __post_init__(self) -> None:
        _check_tower(self)
        if self.eos_token_id >= self.vocab_size:
            raise ValueError(f'eos_token_id {self.eos_token_id} is not in a vocabulary of {self.vocab_size} tokens.')


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Both towers and the space that they share."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    embed_dim: int = 512  # channels of the shared embedding

    def __post_init__(self) -> None:
        if self.embed_dim < 1:
            raise ValueError(f'embed_dim must be positive, got {self.embed_dim}.')

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, as `config.json` holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClipConfig:
        """The inverse of `to_dict`.

        Raises:
          ValueError: an unknown or missing field, one of a wrong type, or sizes that do not fit together.
        """
        values = _checked_fields(cls, values, 'config')
        vision = _checked_fields(VisionConfig, values['vision'], 'config.vision')
        text = _checked_fields(TextConfig, values['text'], 'config.text')
        return cls(vision=VisionConfig(**vision), text=TextConfig(**text), embed_dim=values['embed_dim'])


_VIT_L = VisionConfig(patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096)
_TEXT_L = TextConfig(width=768, heads=12, mlp_width=3072)

_MINIATURE = ClipConfig(
    vision=VisionConfig(image_size=96, patch_size=8, width=128, layers=5, heads=4, mlp_width=512),
    text=TextConfig(vocab_size=256, context_length=48, width=96, layers=2, heads=4, mlp_width=384, eos_token_id=255),
    embed_dim=64,
)

PRESETS: dict[str, ClipConfig] = {
    'ViT-B/32': ClipConfig(),
    'ViT-B/16': ClipConfig(vision=VisionConfig(patch_size=16)),
    'ViT-L/14': ClipConfig(vision=_VIT_L, text=_TEXT_L, embed_dim=768),
    'ViT-L/14@336': ClipConfig(vision=dataclasses.replace(_VIT_L, image_size=336), text=_TEXT_L, embed_dim=768),
    'miniature': _MINIATURE,
    'miniature/16': dataclasses.replace(
        _MINIATURE, vision=dataclasses.replace(_MINIATURE.vision, image_size=128, patch_size=16)
    ),
}
