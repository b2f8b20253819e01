"""One-shot domain adaptation of a 3D generator (3D-Adapter, arXiv 2410.08824).

python -m adaptation.main --config=configs/sketch.py
python -m adaptation.generate --workdir=runs/sketch --seeds=0-15 --mesh --video=turntable
generator = adaptation.load_adapted('miniature', 'runs/sketch')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptation import losses
    from adaptation.adapter import AdapterError, load_adapted, load_domains, save_adapter
    from adaptation.config import AdaptationConfig, default_config, read_config
    from adaptation.domain_images import images_of_codes
    from adaptation.domains import domain_leaves
    from adaptation.errors import AdaptationError, ConfigError, Interrupted
    from adaptation.generation.films import film
    from adaptation.generation.mesh_files import save_mesh
    from adaptation.generation.meshes import mesh
    from adaptation.generation.pictures import pictures
    from adaptation.generation.strength import at_strength
    from adaptation.inversion import Inversion, invert, load_inversion
    from adaptation.mixing import mix_adapters
    from adaptation.train import run

__all__ = [
    'AdaptationConfig',
    'AdaptationError',
    'AdapterError',
    'ConfigError',
    'Interrupted',
    'Inversion',
    'at_strength',
    'default_config',
    'domain_leaves',
    'film',
    'images_of_codes',
    'invert',
    'load_adapted',
    'load_domains',
    'load_inversion',
    'losses',
    'mesh',
    'mix_adapters',
    'pictures',
    'read_config',
    'run',
    'save_adapter',
    'save_mesh',
]

# Where each name comes from. They are imported when first asked for, so that settings are read without waiting for JAX.
_MODULES = {
    'AdaptationConfig': 'config',
    'AdaptationError': 'errors',
    'AdapterError': 'adapter',
    'ConfigError': 'errors',
    'Interrupted': 'errors',
    'Inversion': 'inversion',
    'at_strength': 'generation.strength',
    'default_config': 'config',
    'domain_leaves': 'domains',
    'film': 'generation.films',
    'images_of_codes': 'domain_images',
    'invert': 'inversion',
    'load_adapted': 'adapter',
    'load_domains': 'adapter',
    'load_inversion': 'inversion',
    'mesh': 'generation.meshes',
    'pictures': 'generation.pictures',
    'mix_adapters': 'mixing',
    'read_config': 'config',
    'run': 'train',
    'save_adapter': 'adapter',
    'save_mesh': 'generation.mesh_files',
}


def __getattr__(name: str) -> Any:
    if name == 'losses':
        return import_module('adaptation.losses')
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'adaptation.{_MODULES[name]}'), name)
