"""The distribution `3d-adapter-jax`: one picture in, a 3D generator in its style out."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ['eg3d_jax', 'clip_jax', 'adaptation', 'convert', 'miniature']

VIEW = ['viser>=1.0.20,<2']  # the interactive viewer
CONVERT = ['openai-clip>=1.0.1', 'torch>=2.6']  # CLIP's vocabulary; writing .pt files. Reading needs neither

NOTEBOOKS = ['ipykernel>=6.30', 'jupytext>=1.17', 'matplotlib>=3.10', 'nbclient>=0.10', 'nbformat>=5.10']

setup(
    name='3d-adapter-jax',
    version='0.1.0',
    description='One-shot domain adaptation of 3D GANs (3D-Adapter, EG3D, CLIP) in JAX / Flax, without CUDA sources',
    long_description=(Path(__file__).parent / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f'{name}.*')]),
    package_data={'adaptation.reporting': ['templates/*'], 'miniature': ['weights/*/*', 'references/*']},
    # Ranges around the versions that are tested; requirements.lock holds those versions exactly.
    install_requires=[
        'absl-py>=2.3',
        'filelock>=3.20',
        'flax>=0.12.4,<0.13',
        'huggingface_hub>=2.4,<3',
        'imageio-ffmpeg>=0.6,<1',
        'jax>=0.10,<0.11',
        'jaxtyping>=0.3.2',
        'jinja2>=3.1',
        'ml_collections>=1.1',
        'numpy>=2.1',
        'optax>=0.2.6',
        'orbax-checkpoint>=0.12,<0.13',
        'pillow>=11',
        'psutil>=6',
        'safetensors>=0.6',
        'scikit-image>=0.25',
        'scipy>=1.15',
        'tensorboardX>=2.6.2',
        'tokenizers>=0.22',
        'tqdm>=4.67',
        'trimesh>=5,<6',
    ],
    extras_require={
        'convert': CONVERT,
        'view': VIEW,
        'notebooks': NOTEBOOKS,
        'dev': [
            *CONVERT,
            *VIEW,
            'beartype>=0.21',
            'mypy>=1.17',
            'playwright>=1.55',
            'pytest>=8.4',
            'pytest-xdist>=3.8',
            'ruff>=0.13',
            'transformers>=5',
        ],
    },
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Multimedia :: Graphics :: 3D Rendering',
    ],
)
