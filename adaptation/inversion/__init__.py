"""Inversion: a photograph into a generator, its camera estimated together with the latent.

photos -> poses, latents, objective -> fitting -> results, run
"""

from adaptation.inversion.results import Inversion, InversionError, load_inversion, save_inversion
from adaptation.inversion.run import Request, invert

__all__ = ['Inversion', 'InversionError', 'Request', 'invert', 'load_inversion', 'save_inversion']
