"""Inversion: a photograph into a generator, its camera estimated together with the latent.

photos -> poses, reading, latents, objective -> fitting -> results, run
"""

from adaptation.inversion.reading import ViewReader
from adaptation.inversion.results import Inversion, InversionError, load_inversion, save_inversion
from adaptation.inversion.run import Request, invert

__all__ = ['Inversion', 'InversionError', 'Request', 'ViewReader', 'invert', 'load_inversion', 'save_inversion']
