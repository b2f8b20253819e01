"""What training does not change, measured before its first step: the guides, and the source's heads in the references.

Made from the seed and the inputs alone: a run that is resumed measures it again, and finds the heads in its working
directory.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from adaptation.counterpart import (
    STEPS,
    draw_counterpart,
    find_counterpart,
    load_counterparts,
    save_counterparts,
)
from adaptation.domain_step import DomainConstants, domain_constants
from adaptation.errors import AdaptationError
from adaptation.fine_detail import at_size_of_images
from adaptation.guidance import Guide, domain_guides, embed_source, make_guides
from adaptation.pair import Counterpart
from adaptation.plan import Plan
from adaptation.samples import LARGEST_TILE, Generate, save_picture, stacked, tile
from adaptation.step import Constants, sample_batch

ALONE = ''  # in the place of a domain's name, where there is one reference
MEASURING = 'measuring the source domain'


def measure_constants(
    this: Plan, generate: Generate, key: PRNGKeyArray, doing: Callable[[str], None]
) -> Constants | DomainConstants:
    """The constants of a run; the source images are the costly part, and left out where no phase asks for them.

    Args:
        this: the run; its counterparts are kept in its working directory.
        generate: draws the source images.
        key: their latents and cameras follow from it.
        doing: called often on the way, with what is being done; what it raises ends the work.

    Raises:
        AdaptationError: something is not finite.
    """
    doing(MEASURING)
    asked = [phase.settings.weights for phase in this.phases]
    inputs, config = this.inputs, this.config
    measured = any(weights.dir or weights.pair for weights in asked)
    images = _source_images(this, generate, key, doing) if measured else iter(())
    embeddings = embed_source(inputs.encoders, images)
    if inputs.references:
        return _of_domains(this, embeddings, doing)
    reference = None if inputs.reference is None else jnp.asarray(inputs.reference)
    guides = make_guides(
        inputs.encoders,
        inputs.layers,
        reference,
        (),
        inputs.text_directions,
        config.text_weight,
        config.direction_whitening,
        embeddings,
    )
    _refuse_no_direction(guides)
    compared = _compared(this, {} if reference is None else {ALONE: reference})
    found = _counterparts(this, compared, embeddings, doing)
    return Constants(inputs.generator, guides, compared.get(ALONE), found.get(ALONE))


def _of_domains(this: Plan, embeddings: Sequence[Array], doing: Callable[[str], None]) -> DomainConstants:
    config, inputs = this.config, this.inputs
    pictures = {name: jnp.asarray(picture) for name, picture in inputs.references.items()}
    guides = domain_guides(
        inputs.encoders, inputs.layers, list(pictures.values()), (), config.direction_whitening, embeddings
    )
    _refuse_no_direction([guide for group in guides for guide in group])
    domains = [config.references[name] for name in config.domains]
    compared = _compared(this, pictures)
    found = _counterparts(this, compared, embeddings, doing)
    return domain_constants(inputs.generator, guides, domains, list(compared.values()), list(found.values()))


def _source_images(this: Plan, generate: Generate, key: PRNGKeyArray, doing: Callable[[str], None]) -> Iterator[Array]:
    """Batches of source images, as many as the config asks for, rounded up to whole batches."""
    config, z_dim = this.config, this.inputs.generator.config.z_dim
    for index in range(math.ceil(config.source_samples / config.batch_size)):
        doing(MEASURING)
        batch = sample_batch(jax.random.fold_in(key, index), this.sampling, z_dim)
        yield generate(this.inputs.generator, batch.z, batch.camera, batch.conditioning)


def _compared(this: Plan, references: Mapping[str, Array]) -> dict[str, Array]:
    """The references whose detail, palette or pair any phase asks for, at the size they are compared at."""
    asked = [phase.settings.weights for phase in this.phases]
    if not any(one.fine or one.crisp or one.palette or one.pair for one in asked):
        return {}
    resolution = this.inputs.generator.config.image_resolution
    return dict(zip(references, at_size_of_images(list(references.values()), resolution), strict=True))


def _counterparts(
    this: Plan, references: Mapping[str, Array], embeddings: Sequence[Array], doing: Callable[[str], None]
) -> dict[str, Counterpart]:
    """The source's heads in the references, found once in a run, where any phase asks for the pair."""
    if not any(phase.settings.weights.pair for phase in this.phases):
        return {}
    path, inputs = this.workdir.counterparts, this.inputs
    marks = [array.tobytes() for array in map(np.asarray, (*references.values(), *embeddings))]
    key = hashlib.sha256(b'|'.join([inputs.hashes['generator'].encode(), *marks])).hexdigest()
    found = load_counterparts(path, list(references), key)
    if found is None:
        found = {}
        for name, reference in references.items():
            stepped = partial(_looked_for, doing, name)
            found[name] = find_counterpart(
                inputs.generator, inputs.encoders, inputs.layers, embeddings, reference, inputs.camera, stepped
            )
        save_counterparts(path, found, key)
    if not this.workdir.pairs.exists():
        save_picture(this.workdir.pairs, _pairs(this, references, found))
    return found


def _looked_for(doing: Callable[[str], None], name: str, done: int) -> None:
    doing(f"finding {name or 'the reference'}'s own head ({done} of {STEPS})")


def _pairs(this: Plan, references: Mapping[str, Array], found: Mapping[str, Counterpart]) -> np.ndarray:
    """Each reference beside the source's head in it."""
    source = this.inputs.generator
    side = min(source.config.image_resolution, LARGEST_TILE)
    rows = []
    for name, reference in references.items():
        head = draw_counterpart(source, found[name])[0]
        rows.append(np.concatenate([tile(np.asarray(image), side) for image in (reference, head)], axis=1))
    return stacked(rows)


def _refuse_no_direction(guides: Iterable[Guide]) -> None:
    if not all(bool(jnp.isfinite(guide.domain_direction).all()) for guide in guides):
        raise AdaptationError(
            'The source images, the reference or the texts have no finite embedding: check the checkpoints.'
        )
