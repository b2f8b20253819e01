# %% [markdown]
# # One picture in, a 3D world in its style out
#
# Gives a 3D generator of heads the style of **one** drawing, print or painting, and shows what comes of it: pictures
# from many sides, a film, a mesh.
#
# On Colab: choose a GPU or TPU under *Runtime > Change runtime type* (a CPU is enough for the built-in miniature), fill
# in the settings below, and choose *Runtime > Run all*.
#
# With a published generator of photographs instead of the miniature: put `ffhq512-128.pkl` on your Drive and its path
# into `GENERATOR`, `hf://openai/clip-vit-base-patch32,hf://openai/clip-vit-base-patch16` into `CLIP`,
# `configs/ffhq512_sketch.py` into `CONFIG`, and your picture into `REFERENCE` (or tick `UPLOAD`). It wants a GPU.

# %% tags=["parameters"]
# @title Settings
# @markdown The address of this project, or of your copy of it, on GitHub. Needed where it is not installed yet.
REPOSITORY = 'https://github.com/OWNER/3d-adapter-jax'  # @param {type: "string"}
# @markdown The generator and CLIP: `miniature`, or a path, `https://...` or `hf://owner/repo[/file]` of published files.
# @markdown A path on your Drive starts with `/content/drive/MyDrive/`.
GENERATOR = 'miniature'  # @param {type: "string"}
CLIP = 'miniature'  # @param {type: "string"}
# @markdown `configs/sketch.py`, `configs/ukiyoe.py` or `configs/cartoon.py`; `configs/ffhq512_sketch.py` for FFHQ.
CONFIG = 'configs/sketch.py'  # @param {type: "string"}
# @markdown The reference picture: a path, or empty for the one that the config names; or upload one (on Colab).
REFERENCE = ''  # @param {type: "string"}
UPLOAD = False  # @param {type: "boolean"}
# @markdown Where the run is written. Another picture or other settings need another directory.
WORKDIR = 'runs/notebook'  # @param {type: "string"}
# @markdown Share of the config's steps (1: all of them), heads in the pictures of the run, and source images that are
# @markdown compared with the reference before it starts (0: the config's number).
STEPS = 1.0  # @param {type: "number"}
SAMPLE_HEADS = 4  # @param {type: "integer"}
SOURCE_SAMPLES = 0  # @param {type: "integer"}
# @markdown What is made of the result: heads (`0-3`, or `1,5,8`) and views of each, frames of the film, points of a
# @markdown side of the mesh's grid (0: two a texel of the generator's planes), texels of a side of its texture.
SEEDS = '0-3'  # @param {type: "string"}
VIEWS = 5  # @param {type: "integer"}
FRAMES = 60  # @param {type: "integer"}
MESH_RESOLUTION = 0  # @param {type: "integer"}
TEXTURE = 1024  # @param {type: "integer"}

# %% [markdown]
# ## Install
# Skipped where the project is there already. JAX's build follows the runtime: NVIDIA GPU, TPU or CPU.

# %%
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def jax_build():
    """What pip calls JAX's build for this runtime."""
    if shutil.which('nvidia-smi'):
        return 'jax[cuda12]'
    devices = [*Path('/dev').glob('accel[0-9]*'), *Path('/dev').glob('vfio/[0-9]*')]
    return 'jax[tpu]' if devices or any(name.startswith(('TPU_', 'COLAB_TPU_')) for name in os.environ) else 'jax'


if importlib.util.find_spec('adaptation') is None:
    if '/OWNER/' in REPOSITORY:
        raise ValueError("REPOSITORY, in the settings: put the address of the project on GitHub in OWNER's place.")
    clone = Path('3d-adapter-jax').resolve()
    if not clone.exists():
        subprocess.run(['git', 'clone', '--depth', '1', REPOSITORY, str(clone)], check=True)
    packages = [f'{jax_build()}>=0.10,<0.11', 'matplotlib>=3.10', '-e', f'{clone}[convert]']
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', *packages], check=True)
    sys.path.insert(0, str(clone))  # an editable installation is found by the next process only
    importlib.invalidate_caches()
    replaced = [
        name for name in ('jax', 'numpy') if name in sys.modules and sys.modules[name].__version__ != version(name)
    ]
    if replaced:
        raise RuntimeError(f'{", ".join(replaced)} was replaced: choose Runtime > Restart session, then run all again.')

if 'google.colab' in sys.modules and any('/content/drive/' in path for path in (GENERATOR, CLIP, REFERENCE, WORKDIR)):
    from google.colab import drive

    drive.mount('/content/drive')

# %%
import jax
import numpy as np
from IPython.display import Image, Video, display

import adaptation

device = jax.devices()[0]
print(f'JAX {jax.__version__} on {device.platform} ({device.device_kind})')

# %% [markdown]
# ## The reference picture
# Its style is what the heads will wear. Of a picture that is not square, the middle is used.

# %%
from adaptation.inputs import find_file
from adaptation.main import load_experiment

config = load_experiment(find_file(CONFIG))
config.generator, config.clip = GENERATOR, CLIP
config.reference.image = REFERENCE or config.reference.image
if UPLOAD and 'google.colab' in sys.modules:
    from google.colab import files

    config.reference.image = next(iter(files.upload()), config.reference.image)
config.sample_heads = SAMPLE_HEADS
config.source_samples = SOURCE_SAMPLES or config.source_samples
for phase in config.phases.values():
    phase.steps = max(1, round(STEPS * phase.steps))
config.intervals.samples = max(1, sum(phase.steps for phase in config.phases.values()) // 6)
settings = adaptation.read_config(config)  # says what is wrong with them
display(Image(data=find_file(settings.reference.image).read_bytes(), width=256))

# %% [markdown]
# ## Adapt
# The picture shows the reference at the left, the source's heads above, and the same heads adapted below; it and the
# curves are redrawn as the run goes on. First everything is compiled, which takes a minute or so in which little seems
# to happen. To stop, interrupt the cell: everything is saved, and the same cell goes on.

# %%
from adaptation.live import watch

with watch(WORKDIR):
    adapter = adaptation.run(settings, WORKDIR)

# %% [markdown]
# ## Look
# Heads that the training never showed you: for each seed, the source above and the adapted generator below.

# %%
from PIL import Image as Pictures

from adaptation.adapter import load_source
from adaptation.generation.grids import compose
from adaptation.generation.seeds import parse_seeds

results = Path(WORKDIR) / 'results'
results.mkdir(exist_ok=True)
seeds = parse_seeds(SEEDS)
source = load_source(GENERATOR)
adapted = adaptation.load_adapted(source, adapter)


def rows(generator):
    """The views of each seed, [seeds, views, S, S, 3]."""
    drawn = [picture.pixels for picture in adaptation.pictures(generator, seeds, views=VIEWS)]
    return np.stack(drawn).reshape(len(seeds), VIEWS, *drawn[0].shape)


grid = Pictures.fromarray(compose(list(zip(rows(source), rows(adapted), strict=True))))
grid.save(results / 'grid.png')
display(grid)

# %% [markdown]
# ## Film
# One head, turned before the camera.

# %%
film = adaptation.film(adapted, results / 'turntable.mp4', [seeds[0]], frames=FRAMES)
display(Video(str(film), embed=True, html_attributes='controls loop autoplay muted', width=384))

# %% [markdown]
# ## Mesh
# The surface of the same head with a texture baked from renderings. Drag to turn it, scroll to come nearer.

# %%
import trimesh

mesh = adaptation.mesh(adapted, seeds[0], resolution=MESH_RESOLUTION or None, texture_resolution=TEXTURE)
adaptation.save_mesh(mesh, results / 'head.glb')
surface = mesh.surface
print(f'{len(surface.vertices):,} vertices, {len(surface.faces):,} triangles, watertight: {mesh.watertight}')
display(trimesh.load_scene(results / 'head.glb').show(viewer='jupyter'))

# %% [markdown]
# ## Download
# The adapter (a few MB: what differs from the source), the pictures of the run, and what was made above.

# %%
import zipfile

archive = Path(WORKDIR) / 'results.zip'
with zipfile.ZipFile(archive, 'w') as packed:
    for name in ('adapter.safetensors', 'adapter.json', 'config.json', 'samples', 'results'):
        path = Path(WORKDIR) / name
        for file in sorted(path.rglob('*.*')) if path.is_dir() else [path]:
            packed.write(file, file.relative_to(WORKDIR))
print(f'{archive}: {archive.stat().st_size / 2**20:.1f} MiB')
if 'google.colab' in sys.modules:
    from google.colab import files

    files.download(str(archive))
