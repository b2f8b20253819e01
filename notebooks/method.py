# %% [markdown]
# # The method, loss by loss
#
# 3D-Adapter ([arXiv 2410.08824](https://arxiv.org/abs/2410.08824)) gives a pretrained 3D generator the style of **one**
# picture $R$. Four losses do it: two pull towards the picture, two hold on to what the generator knows. Five more, which
# are ours, make lines dark, make them crisp, take tints away, show what the style makes of one head, and mind rings and
# frames; strokes, ours too, are what hatching is drawn from. Here each is computed by the functions that train, on heads
# of the miniature, and drawn. $I_s$ is an image of the source generator, $I_t$ that of the adapted one for the same latent
# and camera.

# %% tags=["parameters"]
# @title Settings
# @markdown The address of this project, or of your copy of it, on GitHub. Needed where it is not installed yet.
REPOSITORY = 'https://github.com/OWNER/3d-adapter-jax'  # @param {type: "string"}
CONFIG = 'configs/sketch.py'  # @param {type: "string"}
# @markdown Where the runs are written. Other settings need another directory.
WORKDIR = 'runs/method'  # @param {type: "string"}
# @markdown Shares of the config's steps: of the whole run, and of the short ones, each of which leaves one of these
# @markdown losses out.
STEPS = 1.0  # @param {type: "number"}
SHORT_STEPS = 0.4  # @param {type: "number"}
LEFT_OUT = 'dir, dis, istr, fstr, fine, palette, pair'  # @param {type: "string"}
# @markdown Heads in the pictures, and source images behind the domain direction.
HEADS = 4  # @param {type: "integer"}
SOURCE_SAMPLES = 32  # @param {type: "integer"}

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

# %%
import io

import jax
import jax.numpy as jnp
import numpy as np
from IPython.display import Image, display
from matplotlib.figure import Figure

import adaptation
from adaptation import counterpart, edges, fine_detail, losses, pair, palette
from adaptation.guidance import make_guides
from adaptation.inputs import find_file, load_inputs
from adaptation.leaves import matching, named_leaves, with_leaves
from adaptation.main import load_experiment
from adaptation.samples import equal_batches
from adaptation.step import frontal_cameras
from eg3d_jax import cameras
from eg3d_jax.hatching import Surface, hatching, tone

settings = load_experiment(find_file(CONFIG))
inputs = load_inputs(adaptation.read_config(settings))
source, reference = inputs.generator, inputs.reference


def figure(rows, columns, width=1.7, height=1.8):
    """An empty figure and its axes [rows, columns], without ticks."""
    made = Figure(figsize=(width * columns, height * rows), layout='constrained')
    axes = made.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.set(xticks=[], yticks=[])
    return made, axes


def show(made):
    """Displays a figure as a JPEG, which keeps the notebook small."""
    content = io.BytesIO()
    made.savefig(content, format='jpeg', dpi=80, pil_kwargs={'quality': 74, 'subsampling': 0})
    display(Image(data=content.getvalue()))


def visible(image):
    """An image in [-1, 1] as colours in [0, 1]."""
    return np.clip((np.asarray(image) + 1) / 2, 0, 1)


def as_colours(vectors, basis=None):
    """Vectors [..., C] as colours: their first three principal components; and the basis, to colour others alike."""
    flat = np.asarray(vectors).reshape(-1, vectors.shape[-1])
    if basis is None:
        mean = flat.mean(axis=0)
        axes = np.linalg.svd(flat - mean, full_matrices=False)[2][:3]
        low, high = np.percentile((flat - mean) @ axes.T, [2, 98], axis=0)
        basis = (mean, axes, low, high)
    mean, axes, low, high = basis
    colours = np.clip(((flat - mean) @ axes.T - low) / (high - low), 0, 1)
    return colours.reshape(*vectors.shape[:-1], 3), basis


def square(tokens):
    """T values or vectors, row by row, as a square map."""
    side = round(tokens.shape[0] ** 0.5)
    return np.asarray(tokens).reshape(side, side, *tokens.shape[1:])


# %% [markdown]
# ## 1. The generator, stage by stage
# `z, camera -> mapping -> w -> G1 (backbone) -> three planes -> Tri-D and volume rendering -> feature image and depth
# -> G2 (super-resolution) -> image`. Only Tri-D and then G2 are trained: the mapping and the planes serve the source
# and the adapted generator alike, which is why a head keeps its identity.

# %%


@jax.jit
def stages(generator, z, camera, conditioning):
    """What each stage makes of latents; the mapping is told one camera, and another one looks."""
    ws = generator.mapping(z, conditioning)
    planes = generator.planes(ws)
    rendered = generator.render(planes, camera)
    return planes, rendered, generator.superresolve(rendered.feature_image, ws, rendered.points)


z = jax.random.normal(jax.random.key(1), (HEADS, source.config.z_dim))
yaws = jnp.linspace(-0.35, 0.35, HEADS)
camera = cameras.orbit_cameras(yaws, jnp.zeros(HEADS), inputs.camera)
frontal = frontal_cameras(HEADS, inputs.camera)
planes, rendered, images = stages(source, z, camera, frontal)

made, axes = figure(HEADS, 7)
colours, basis = as_colours(rendered.feature_image)
for row, head in zip(axes, range(HEADS), strict=True):
    for axis, plane in zip(row, np.asarray(planes[head]), strict=False):
        axis.imshow(np.linalg.norm(plane, axis=-1), cmap='magma')
    row[3].imshow(visible(rendered.feature_image[head, ..., :3]))
    row[4].imshow(colours[head])
    row[5].imshow(rendered.depth[head, ..., 0], cmap='viridis_r')
    row[6].imshow(visible(images[head]))
titles = ('plane (x, y)', 'plane (x, z)', 'plane (z, x)', 'raw RGB', 'all features', 'depth', 'image (G2)')
for axis, title in zip(axes[0], titles, strict=True):
    axis.set_title(title, fontsize=9)
show(made)

# %% [markdown]
# ## 2. The two CLIPs, and what their tokens see
# $E(I)$ is the unit-norm embedding of a whole image, $T(I)$ its patch tokens after block $k$: one vector a patch. Two
# encoders with different patches are used, and their losses added. Tokens are coloured by their first three principal
# components, in one basis a row: patches of one colour are alike to CLIP.

# %%


@jax.jit
def encode(guide, images):
    """Embeddings and tokens of images in [-1, 1]."""
    found = guide.encode(images, tokens=True, embed=True)
    return found.embedding, found.tokens[0]


def source_images():
    """Images of the source, from its own distribution of cameras."""
    z_key, pose_key = jax.random.split(jax.random.key(2))
    many = jax.random.normal(z_key, (SOURCE_SAMPLES, source.config.z_dim))
    looking = cameras.sample_poses(pose_key, SOURCE_SAMPLES, inputs.camera)
    for rows in equal_batches(SOURCE_SAMPLES, HEADS):
        yield stages(source, many[rows], looking[rows], looking[rows])[-1]


samples = list(source_images())
whitening = settings.direction_whitening
guides = make_guides(inputs.encoders, inputs.layers, jnp.asarray(reference), samples, whitening=whitening)
made, axes = figure(1 + len(guides), 1 + HEADS)
for axis, picture in zip(axes[0], (reference, *images), strict=True):
    axis.imshow(visible(picture))
axes[0, 0].set_title('reference', fontsize=9)
for row, guide in zip(axes[1:], guides, strict=True):
    tokens = [guide.reference_tokens, *encode(guide, images)[1]]
    colours, _ = as_colours(np.stack(tokens))
    for axis, token in zip(row, colours, strict=True):
        axis.imshow(square(token))
    row[0].set_ylabel(f'patches of {guide.encoder.config.vision.patch_size}', fontsize=9)
show(made)

# %% [markdown]
# ## 3. An adapted generator
# Trained by the config, to have something to measure. At the left the reference, above the source's head from three
# sides, below the same head adapted.

# %%


def train(name, share, left_out=None):
    """The generator adapted with this share of the steps, one loss all but left out."""
    config = load_experiment(find_file(CONFIG))
    config.sample_heads, config.source_samples = 1, SOURCE_SAMPLES
    for phase in config.phases.values():
        phase.steps = max(1, round(share * phase.steps))
        if left_out and phase.weights[left_out]:
            phase.weights[left_out] = 1e-6  # rather than 0: all these runs then share one compiled program
    workdir = Path(WORKDIR) / name
    adaptation.run(adaptation.read_config(config), workdir, quiet=True)
    return adaptation.load_adapted(source, workdir)


adapted = train('all', STEPS)
last = sorted((Path(WORKDIR) / 'all' / 'samples').glob('*.png'))[-1]
display(Image(data=last.read_bytes()))
_, adapted_rendered, adapted_images = stages(adapted, z, camera, frontal)
encoded = [(encode(guide, images), encode(guide, adapted_images)) for guide in guides]

# %% [markdown]
# ## 4. DDR: domain direction regularisation
# $$d_{dom} = E(R) - \operatorname{mean} E(I_s), \qquad d_{img} = E(I_t) - E(I_s), \qquad
# L_{dir} = \operatorname{mean}\,(1 - \cos(d_{img}, d_{dom}))$$
# Every head moves in CLIP's space the way the domains lie apart, rather than onto the reference: that is what keeps
# the heads different. The reference's own head, hair and wall have a part in $d_{dom}$ too: a config's
# `direction_whitening`, ours, makes it count less along what source images differ in among themselves. The horizontal
# axis runs along $d_{dom}$, the vertical one is the direction across it in which source images differ most. Arrows that
# are level agree with the loss.


# %%
def onto(mean, basis):
    """Embeddings as points of the plane of two directions."""
    return lambda points: (np.asarray(points) - mean) @ basis.T


made, axes = figure(1, len(guides), 4, 3)
for axis, guide, ((before, _), (after, _)) in zip(axes[0], guides, encoded, strict=True):
    cloud = np.concatenate([encode(guide, batch)[0] for batch in samples])
    along = np.asarray(guide.domain_direction / jnp.linalg.norm(guide.domain_direction))
    rest = cloud - cloud.mean(axis=0)
    across = np.linalg.svd(rest - np.outer(rest @ along, along), full_matrices=False)[2][0]
    mean = cloud.mean(axis=0)
    project = onto(mean, np.stack([along, across]))
    target = project(encode(guide, jnp.asarray(reference)[None])[0][0])
    axis.scatter(*project(cloud).T, s=8, color='0.7', label='source images')
    axis.scatter(*target, marker='*', s=120, color='crimson', label='reference')
    for start, end in zip(project(before), project(after), strict=True):
        axis.annotate('', end, start, arrowprops={'arrowstyle': '->', 'color': 'tab:blue'})
    axis.scatter(*project(after).T, s=12, color='tab:blue', label='adapted')
    value = losses.direction_loss(after, before, guide.domain_direction)
    axis.set_title(
        f'patches of {guide.encoder.config.vision.patch_size}: L_dir {value:.2f} (1 at the start)', fontsize=9
    )
    axis.set_xlabel('along the domain direction', fontsize=8)
axes[0, 0].legend(fontsize=7)
show(made)

# %% [markdown]
# ## 5. TDL: target distribution learning
# $$C_{ij} = 1 - \cos(T_i(I_t), T_j(R)), \qquad
# L_{dis} = \max\big(\operatorname{mean}_i \min_j C_{ij},\ \operatorname{mean}_j \min_i C_{ij}\big)$$
# The relaxed earth mover's distance between two sets of patches: every patch of the image should look like *some*
# patch of the reference, and every patch of the reference should be found somewhere. Where it is bright, nothing in
# the reference is like the patch. At the right, each patch of the adapted image is replaced by the reference's patch
# that is nearest to it.

# %%


def unit(tokens):
    """Tokens at length 1."""
    return np.asarray(tokens) / np.linalg.norm(tokens, axis=-1, keepdims=True)


def rebuilt(nearest, side):
    """The reference's patches in another order."""
    size = reference.shape[0] // side
    patches = visible(reference)[: size * side, : size * side].reshape(side, size, side, size, 3)
    patches = patches.transpose(0, 2, 1, 3, 4).reshape(-1, size, size, 3)[nearest]
    return patches.reshape(side, side, size, size, 3).transpose(0, 2, 1, 3, 4).reshape(side * size, side * size, 3)


guide, ((_, before), (_, after)) = guides[0], encoded[0]
made, axes = figure(min(HEADS, 3), 5)
costs = [1 - unit(tokens) @ unit(guide.reference_tokens).T for tokens in (before, after)]
top = max(cost.min(axis=-1).max() for cost in costs)
for head, row in enumerate(axes):
    for axis, picture in zip(row[::2], (images[head], adapted_images[head]), strict=False):
        axis.imshow(visible(picture))
    for axis, cost in zip(row[1::2], costs, strict=True):
        axis.imshow(square(cost[head].min(axis=-1)), cmap='magma', vmin=0, vmax=top)
    row[4].imshow(rebuilt(costs[1][head].argmin(axis=-1), round(len(before[head]) ** 0.5)))
values = [losses.distribution_loss(tokens, guide.reference_tokens) for tokens in (before, after)]
titles = ('source', f'to R: L_dis {values[0]:.3f}', 'adapted', f'to R: L_dis {values[1]:.3f}', 'patches of R')
for axis, title in zip(axes[0], titles, strict=True):
    axis.set_title(title, fontsize=9)
show(made)

# %% [markdown]
# ## 6. ISSM: image-level source structure maintenance
# $$S(I)_{ij} = \frac{1 - \cos(T_i, T_j)}{\sum_i (1 - \cos(T_i, T_j))}, \qquad
# L_{istr} = T \cdot \operatorname{mean} |S(I_t) - S(I_s)|$$
# What is unlike what within an image must stay so, whatever it looks like: hair stays apart from skin, skin from
# paper. Drawn for one patch, the middle one: its distance to all others, before and after; and for every patch how
# far its column of $S$ has moved.

# %%


self_distances = jax.jit(losses.self_distances)


def structure_picture(before, after, first, second, value):
    """Distances from the middle position, and the change of every position's distances."""
    made, axes = figure(min(HEADS, 3), 5)
    old, new = (np.asarray(self_distances(tokens)) for tokens in (before, after))
    side = round(old.shape[1] ** 0.5)
    middle = side // 2 * side + side // 2
    count = old.shape[1]
    for head, row in enumerate(axes):
        row[0].imshow(visible(first[head]))
        row[2].imshow(visible(second[head]))
        top = count * max(old[head, :, middle].max(), new[head, :, middle].max())
        row[1].imshow(count * square(old[head, :, middle]), cmap='viridis', vmin=0, vmax=top)
        row[3].imshow(count * square(new[head, :, middle]), cmap='viridis', vmin=0, vmax=top)
        row[4].imshow(square(np.abs(new - old)[head].sum(axis=0)), cmap='magma', vmin=0, vmax=1)
    titles = ('source', 'unlike its middle', 'adapted', 'unlike its middle', f'change: {value:.3f}')
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    show(made)


structure_picture(before, after, images, adapted_images, losses.image_structure_loss(after, before))

# %% [markdown]
# ## 7. FSSM: feature-level source structure maintenance
# The same matrix on the volume-rendered feature image, all of its channels, pooled to at most 32 x 32 positions: Tri-D may
# recolour the head, but what belongs together in 3D stays together. G2 does not touch the feature image, so this loss
# belongs to the first phase alone. The pictures are the feature image's first three channels, the raw RGB.

# %%


def positions(features):
    """A feature image as tokens, pooled as the loss does."""
    n, side, _, channels = features.shape
    window = losses.pooling_window(side)
    pooled = features.reshape(n, side // window, window, side // window, window, channels).mean(axis=(2, 4))
    return pooled.reshape(n, -1, channels)


first, second = rendered.feature_image, adapted_rendered.feature_image
value = losses.feature_structure_loss(second, first)
structure_picture(positions(first), positions(second), first[..., :3], second[..., :3], value)

# %% [markdown]
# ## 8. Fine detail, and the finest of it (ours)
# The encoders see small pictures in large patches: crisp or soft, a line is much the same to them, and what they guide is
# soft. A fifth loss compares what they miss. Fine detail is lightness less its blur, and patches of $7 \times 7$ pixels of
# it are to be distributed over a batch of heads as they are over the reference, wherever they lie. Along random
# directions, values are sorted and compared one by one: the sliced Wasserstein distance. The paper does not have it; a
# config asks for it by `weights.fine`. Most of that detail is two pixels wide and more, so that lines may have enough of
# it and be soft: a sixth loss, `weights.crisp`, compares what a blur of less than a pixel takes away. Below each picture,
# what the two losses see of it, the finest detail twice as strong as it is.

# %%
(detailed,) = fine_detail.at_size_of_images([jnp.asarray(reference)], source.config.image_resolution)
slices = fine_detail.draw_slices(jax.random.key(3))
values = [
    [loss(of, detailed, slices) for loss in (fine_detail.fine_detail_loss, fine_detail.crispness_loss)]
    for of in (images, adapted_images)
]
shown = min(HEADS, 2)
pictures = [detailed, *images[:shown], *adapted_images[:shown]]
made, axes = figure(3, len(pictures))
for column, picture in zip(axes.T, pictures, strict=True):
    column[0].imshow(visible(picture))
    for axis, blur, most in zip(column[1:], (fine_detail.DEVIATION, fine_detail.SLIGHTEST), (0.6, 0.3), strict=True):
        axis.imshow(fine_detail.fine_part(picture[None], blur)[0, ..., 0], cmap='gray', vmin=-most, vmax=most)
for first, name, found in zip((1, 1 + shown), ('source', 'adapted'), values, strict=True):
    axes[0, first].set_title(name, fontsize=9)
    for axis, loss, value in zip(axes[1:, first], ('fine', 'crisp'), found, strict=True):
        axis.set_title(f'{loss}: {value:.3f}', fontsize=9)
axes[0, 0].set_title('R', fontsize=9)
show(made)

# %% [markdown]
# ## 9. Palette (ours)
# Nor do the encoders mind a faint tint: adapted heads keep a breath of their own skin, hair and wall. The next loss
# compares chroma, which is what a colour has beside its lightness ($C_b$ and $C_r$, as in JPEG; greys lie in the middle).
# In each image by itself it is to be distributed as in the reference, wherever it lies; strong tints count more than in
# proportion. That suits styles of one palette, such as a pencil's; elsewhere it would ask for the reference's own colours.
# A config asks for it by `weights.palette`. Each dot is a pixel.

# %%
values = [palette.palette_loss(of, detailed) for of in (images, adapted_images)]
made, axes = figure(1, 3)
reach = max(float(jnp.abs(palette.chroma(picture)).max()) for picture in (detailed, images[0], adapted_images[0]))
headings = ('R', f'source: {values[0]:.3f}', f'adapted: {values[1]:.3f}')
for axis, title, picture in zip(axes[0], headings, (detailed, images[0], adapted_images[0]), strict=True):
    axis.scatter(*palette.chroma(picture).reshape(-1, 2).T, s=1, c=visible(picture).reshape(-1, 3))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axis.set_facecolor('gray')
    axis.set_title(title, fontsize=9)
show(made)

# %% [markdown]
# ## 10. The pair (ours)
# No loss so far shows what the style makes of a head. But the source generator knows heads, and one of them is the
# reference's: its latent and camera are looked for before training, by what the embedding says of the picture apart from
# its style, by what is unlike what in it (as in ISSM), and by colours, up to an affine map of them. This one head the
# adapted generator is then to draw as the reference is drawn: the loss is the mean absolute difference of pixels, and of
# blocks of them. A config asks for it by `weights.pair`; the skin and the wall of the head that is found are guesses.

# %%
clouds = [jnp.concatenate([encode(guide, batch)[0] for batch in samples]) for guide in guides]
own = counterpart.find_counterpart(source, inputs.encoders, inputs.layers, clouds, detailed, inputs.camera)
drawn = [counterpart.draw_counterpart(generator, own) for generator in (source, adapted)]
made, axes = figure(1, 3)
axes[0, 0].imshow(visible(detailed))
axes[0, 0].set_title('R', fontsize=9)
for axis, title, picture in zip(axes[0, 1:], ('its head', 'adapted'), drawn, strict=True):
    axis.imshow(visible(picture[0]))
    axis.set_title(f'{title}: {pair.pair_loss(picture, detailed):.3f}', fontsize=9)
show(made)

# %% [markdown]
# ## 11. Strokes (ours)
# What G2 is given, a smooth feature image, holds nothing that hatching could be drawn from. StyleGAN2's layers add a noise
# for such things, which EG3D leaves off: it is fixed to the picture, and heads would turn under it as under a dirty pane.
# Here it is fixed in space: looked up at the point that a pixel sees (above), drawn out to strokes, the stronger the
# darker the raw image, and none at the border of the planes' cube, where backgrounds are. The layers learn how strong it
# is: the adapted heads without it (middle), and with it (below). A config asks for it by `strokes`.

# %%


@jax.jit
def with_and_without(generator, z, camera, conditioning):
    """The noise that G2's last layer is given, and the images without noise and with it."""
    ws = generator.mapping(z, conditioning)
    rendered = generator.render(generator.planes(ws), camera)
    stored = generator.superresolution.block1.conv1.noise_const[...]
    raw, box_warp = rendered.feature_image[..., :3], generator.config.rendering.box_warp
    strokes = hatching(stored, Surface(rendered.points / box_warp, tone(raw)).resized(stored.shape))
    without, drawn = (
        generator.superresolve(rendered.feature_image, ws, rendered.points, noise_mode=mode)
        for mode in ('none', 'hatching')
    )
    return strokes, without, drawn


made, axes = figure(3, HEADS)
strokes, without, drawn = with_and_without(adapted, jnp.tile(z[:1], (HEADS, 1)), camera, frontal)
for column, noise, *pictures in zip(axes.T, strokes, without, drawn, strict=True):
    column[0].imshow(noise[..., 0], cmap='gray')
    for axis, picture in zip(column[1:], pictures, strict=True):
        axis.imshow(visible(picture))
show(made)

# %% [markdown]
# ## 12. New edges (ours)
# G2 learns to draw dark lines as a sharpening filter does: it darkens one side of an outline and lightens the other, and
# it frames the picture, where convolutions see zeros. The last loss asks how steep a picture is where the source's is
# flat. Up to three times as steep as the source nearby, and gentle slopes anywhere, cost nothing; colours may be no steeper
# than the source's. A config asks for it by `weights.edges`, for prints and their like: hatching is nothing but new
# edges. So these heads, which were trained without this loss, are shown without their strokes; below, where it finds edges.

# %%
_, of_source, _ = with_and_without(source, jnp.tile(z[:1], (HEADS, 1)), camera, frontal)
print(f'new edges: {edges.new_edges_loss(without, of_source):.4f}')
made, axes = figure(2, HEADS)
for column, picture, found in zip(axes.T, without, edges.new_edges(without, of_source), strict=True):
    column[0].imshow(visible(picture))
    column[1].imshow(found, cmap='gray', vmin=0, vmax=0.2)
show(made)

# %% [markdown]
# ## 13. What happens without each
# Short runs from the same seed, each with the weight of one loss taken away. The table holds each loss (summed over
# the encoders) on the heads above. The losses share a generator, so that one may fall or rise with another: runs this
# short show tendencies, and few steps show hardly any.

# %%


@jax.jit
def all_losses(guides, before, after, features_before, features_after, drawn, drawn_own, detailed, slices):
    """The losses of the encodings, feature images and images of an adapted generator, summed over the encoders."""
    values = dict.fromkeys(('dir', 'dis', 'istr'), 0.0)
    for guide, (old, old_tokens), (new, new_tokens) in zip(guides, before, after, strict=True):
        values['dir'] += losses.direction_loss(new, old, guide.domain_direction)
        values['dis'] += losses.distribution_loss(new_tokens, guide.reference_tokens)
        values['istr'] += losses.image_structure_loss(new_tokens, old_tokens)
    values['fstr'] = losses.feature_structure_loss(features_after, features_before)
    values['fine'] = fine_detail.fine_detail_loss(drawn, detailed, slices)
    values['palette'] = palette.palette_loss(drawn, detailed)
    return {**values, 'pair': pair.pair_loss(drawn_own, detailed)}


def measure(generator):
    """The losses of a generator on the heads above, and its images."""
    _, seen, drawn = stages(generator, z, camera, frontal)
    before, after = ([encode(guide, of) for guide in guides] for of in (images, drawn))
    drawn_own = counterpart.draw_counterpart(generator, own)
    features = rendered.feature_image, seen.feature_image
    return all_losses(guides, before, after, *features, drawn, drawn_own, detailed, slices), drawn


titles = {
    'dir': 'no DDR',
    'dis': 'no TDL',
    'istr': 'no ISSM',
    'fstr': 'no FSSM',
    'fine': 'no fine',
    'palette': 'no palette',
    'pair': 'no pair',
}
runs = {'source': source, 'all': train('short', SHORT_STEPS)}
for name in LEFT_OUT.replace(',', ' ').split():
    runs[titles[name]] = train(f'without_{name}', SHORT_STEPS, name)
made, axes = figure(HEADS, len(runs))
print(f'{"":10}{"DDR":>8}{"TDL":>8}{"ISSM":>8}{"FSSM":>8}{"fine":>8}{"palette":>8}{"pair":>8}')
for column, (title, generator) in zip(axes.T, runs.items(), strict=True):
    values, drawn = measure(generator)
    print(f'{title:10}' + ''.join(f'{values[name]:8.3f}' for name in titles))
    column[0].set_title(title, fontsize=9)
    for axis, picture in zip(column, drawn, strict=True):
        axis.imshow(visible(picture))
show(made)

# %% [markdown]
# ## 14. The two phases
# First Tri-D is trained on the paper's four losses, the palette and the pair (colours, in 3D), then G2 on all but FSSM,
# and on fine detail (lines and texture, in the image). Since nothing else changes, the result of the first phase is the
# source with the adapted Tri-D alone.

# %%
leaves = named_leaves(adapted)
only_decoder = with_leaves(source, {name: leaves[name] for name in matching(leaves, 'decoder')})
made, axes = figure(3, HEADS)
for row, generator, title in zip(
    axes, (source, only_decoder, adapted), ('source', 'phase 1: Tri-D', 'phase 2: and G2'), strict=True
):
    row[0].set_ylabel(title, fontsize=9)
    for axis, picture in zip(row, stages(generator, z, camera, frontal)[-1], strict=True):
        axis.imshow(visible(picture))
show(made)

# %% [markdown]
# ## 15. The same head from every side
# One head, turned. Below, how consistent the views are: pixels of one view are carried over to a view 0.3 rad further
# round through the rendered depth, and their colours compared (mean absolute difference of colours in [0, 1]; the
# source is the yardstick).

# %%
from adaptation.evaluation.multiview import DEPTH_TOLERANCE, View, reprojection, turned

carry_over = jax.jit(reprojection)


def view(generator, looking):
    """What a camera sees of the heads above."""
    _, seen, drawn = stages(generator, z, looking, frontal)
    return View(looking, drawn, seen.depth[..., 0], seen.weights_sum[..., 0])


rendering = source.config.rendering
tolerance = DEPTH_TOLERANCE * (rendering.ray_end - rendering.ray_start)
for name, generator in (('source', source), ('adapted', adapted)):
    found = carry_over(view(generator, camera), view(generator, turned(camera, inputs.camera)), tolerance)
    print(f'{name:8} difference {np.nanmean(found.error):.4f}, compared {np.mean(found.compared):.0%} of the pixels')

made, axes = figure(2, HEADS)
for row, generator in zip(axes, (source, adapted), strict=True):
    for axis, picture in zip(row, stages(generator, jnp.tile(z[:1], (HEADS, 1)), camera, frontal)[-1], strict=True):
        axis.imshow(visible(picture))
show(made)
