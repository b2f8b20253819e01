"""What a picture shows, in words: short captions from a small vocabulary, class names, and prompts made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Int

from miniature.world import palettes
from miniature.world.latent import AMOUNTS, CHOICES, Heads

STYLE_PHRASES = {
    'photo': 'a photo',
    'sketch': 'a pencil sketch',
    'ukiyoe': 'an ukiyo-e print',
    'cartoon': 'a cartoon',
    'silhouette': 'a paper silhouette',
    'stained_glass': 'a stained glass window',
    'thermal': 'a thermal image',
    'blurred': 'a blurred photo',
    'grey': 'a grey photo',
    'sepia': 'a sepia photo',
    'tinted': 'a tinted pencil sketch',
}

CLASSES: dict[str, tuple[str, ...]] = {
    'hair_colour': tuple(palettes.HAIR),
    'clothes_colour': tuple(palettes.CLOTHES),
    'background_colour': tuple(palettes.BACKGROUND),
    'eye_colour': tuple(palettes.EYES),
    'skin': tuple(palettes.SKIN),
    **{name: tuple(values) for name, values in CHOICES.items()},
}

_TEMPLATES = {
    'style': '{} of a head',
    'hair_colour': 'a photo of a head with {} hair',
    'clothes_colour': 'a photo of a head with {} clothes',
    'background_colour': 'a photo of a head on a {} background',
    'eye_colour': 'a photo of a head with {} eyes',
    'skin': 'a photo of a head with {} skin',
}

_HAIR_STYLES = {
    'buzzed': 'buzzed {} hair',
    'short': 'short {} hair',
    'bob': 'a {} bob',
    'long': 'long {} hair',
    'bun': '{} hair in a bun',
    'pigtails': '{} pigtails',
    'curly': 'curly {} hair',
    'mohawk': 'a {} mohawk',
}
_FRINGES = {'straight': 'a straight fringe', 'swept': 'a swept fringe', 'parted': 'a parted fringe'}
_BEARDS = {'full': 'a full beard', 'goatee': 'a goatee'}
_NECKLINES = {
    'crew': 'shirt',
    'turtleneck': 'turtleneck',
    'collar': 'shirt with a white collar',
    'scarf': 'shirt and a scarf',
}
_LOW, _HIGH = 0.25, 0.75  # amounts beyond these are worth a word

_Words = Callable[[dict[str, str], dict[str, float]], str | None]


def _when(name: str, value: str, words: str) -> _Words:
    return lambda chosen, amounts: words if chosen[name] == value else None


def _extreme(name: str, low: str | None, high: str | None) -> _Words:
    def words(chosen: dict[str, str], amounts: dict[str, float]) -> str | None:
        if amounts[name] < _LOW:
            return low
        return high if amounts[name] > _HIGH else None

    return words


_FEATURES: tuple[_Words, ...] = (
    lambda chosen, amounts: _HAIR_STYLES[chosen['hair_style']].format(chosen['hair_colour']),
    lambda chosen, amounts: f'a {chosen["pattern"]} {chosen["clothes_colour"]} {_NECKLINES[chosen["neckline"]]}',
    lambda chosen, amounts: f'{chosen["clothes_colour"]} clothes',
    lambda chosen, amounts: f'{chosen["hair_colour"]} hair',
    lambda chosen, amounts: f'{chosen["skin"]} skin',
    lambda chosen, amounts: f'{chosen["eye_colour"]} eyes',
    lambda chosen, amounts: _FRINGES.get(chosen['fringe']) if _shows_fringe(chosen) else None,
    lambda chosen, amounts: _BEARDS.get(chosen['beard']),
    lambda chosen, amounts: f'{chosen["glasses"]} glasses' if chosen['glasses'] != 'none' else None,
    lambda chosen, amounts: (
        f'a {chosen["headwear_colour"]} {chosen["headwear"]}' if chosen['headwear'] != 'none' else None
    ),
    lambda chosen, amounts: f'{chosen["earring_colour"]} earrings' if chosen['earrings'] != 'none' else None,
    _when('moustache', 'moustache', 'a moustache'),
    _when('freckles', 'freckles', 'freckles'),
    _when('age_lines', 'lines', 'wrinkles'),
    _when('lashes', 'lashes', 'long lashes'),
    _extreme('head_width', 'a narrow face', 'a wide face'),
    _extreme('jaw_width', 'a pointed jaw', 'a broad jaw'),
    _extreme('eye_size', 'small eyes', 'big eyes'),
    _extreme('eye_openness', 'sleepy eyes', None),
    _extreme('brow_thickness', 'thin brows', 'thick brows'),
    _extreme('brow_tilt', 'sad brows', 'angry brows'),
    _extreme('nose_length', 'a small nose', 'a long nose'),
    _extreme('nose_width', None, 'a wide nose'),
    _extreme('mouth_width', 'a small mouth', 'a wide mouth'),
    _extreme('lip_fullness', 'thin lips', 'full lips'),
    _extreme('smile', 'a frown', 'a big smile'),
    _extreme('blush', None, 'rosy cheeks'),
)


def _shows_fringe(chosen: dict[str, str]) -> bool:
    return chosen['hair_style'] not in ('buzzed', 'mohawk')


def classes(heads: Heads) -> dict[str, Int[Array | np.ndarray, 'N']]:
    """Returns each head's index into every list of `CLASSES`."""
    index = heads.colour_index
    return {
        'hair_colour': index['hair'],
        'clothes_colour': index['clothes'],
        'background_colour': index['background'],
        'eye_colour': index['eyes'],
        'skin': index['skin'],
        **heads.choices,
    }


def class_prompts(name: str) -> list[str]:
    """Returns one prompt for each class of 'style' (all of `STYLE_PHRASES`) or of a colour of `CLASSES`.

    Raises:
      ValueError: there are no prompts for this name.
    """
    if name not in _TEMPLATES:
        raise ValueError(f"No prompts for '{name}'; there are prompts for: {', '.join(_TEMPLATES)}.")
    words = STYLE_PHRASES.values() if name == 'style' else CLASSES[name]
    return [_TEMPLATES[name].format(word) for word in words]


def captions(heads: Heads, style: str, rng: np.random.Generator) -> list[str]:
    """Returns a caption for each head: the style, and three to six of its attributes in random order.

    Args:
      heads: N heads.
      style: a key of `STYLE_PHRASES`: a style of the world, or a treatment ('blurred', 'grey', 'sepia', 'tinted').
      rng: chooses the attributes.

    Raises:
      ValueError: the style is unknown.
    """
    if style not in STYLE_PHRASES:
        raise ValueError(f"Unknown style '{style}'; choose one of: {', '.join(STYLE_PHRASES)}.")
    heads = jax.device_get(heads)
    taken = {name: np.asarray(index) for name, index in classes(heads).items()}
    tables = dict(CLASSES)
    for name, source in (('headwear_colour', 'headwear'), ('earring_colour', 'earrings')):
        taken[name] = np.asarray(heads.colour_index[source])
        tables[name] = tuple(palettes.CLOTHES if source == 'headwear' else palettes.EARRINGS)
    result = []
    for n in range(len(taken['skin'])):
        chosen = {name: tables[name][int(index[n])] for name, index in taken.items()}
        amounts = {name: float(values[n]) for name, values in heads.amounts.items()}
        phrases = [phrase for words in _FEATURES if (phrase := words(chosen, amounts)) is not None]
        result.append(f'{STYLE_PHRASES[style]} of a head with {_join(_draw(phrases, rng))}')
    return result


def _draw(phrases: Sequence[str], rng: np.random.Generator) -> list[str]:
    count = min(len(phrases), int(rng.integers(3, 7)))
    return [phrases[index] for index in rng.permutation(len(phrases))[:count]]


def _join(phrases: Sequence[str]) -> str:
    return f'{", ".join(phrases[:-1])} and {phrases[-1]}'


def vocabulary() -> tuple[str, ...]:
    """Returns every word that captions and prompts can contain, sorted."""
    values = [value for names in CLASSES.values() for value in names]
    low = dict.fromkeys(AMOUNTS, 0.0)
    high = dict.fromkeys(AMOUNTS, 1.0)
    texts = [*STYLE_PHRASES.values(), *_TEMPLATES.values(), 'of a head with and', *values]
    texts += [*_HAIR_STYLES.values(), *_FRINGES.values(), *_BEARDS.values(), *_NECKLINES.values(), *palettes.EARRINGS]
    texts += ['glasses earrings clothes hair skin eyes moustache freckles wrinkles long lashes']
    plain = {name: names[0] for name, names in CLASSES.items()} | {'headwear_colour': 'red', 'earring_colour': 'gold'}
    texts += [phrase for words in _FEATURES for amounts in (low, high) if (phrase := words(plain, amounts))]
    return tuple(sorted({word for text in texts for word in text.replace('{}', '').replace(',', '').split()}))
