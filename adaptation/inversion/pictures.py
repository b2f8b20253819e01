"""What is shown of an inversion: the photograph beside its reconstructions, and the head from any view.

V views, S side of an image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from adaptation.generation.film_files import write_film
from adaptation.generation.grids import compose, tile
from adaptation.generation.pictures import save_png
from adaptation.generation.poses import closed_path, fan, pose_cameras
from adaptation.generation.rendering import fitting_batch, look, to_pixels
from adaptation.generation.subjects import Subject
from adaptation.inversion.results import Inversion
from adaptation.lettering import label

HEADING = 22  # pixels above a picture


def save_side_by_side(path: Path, pictures: Sequence[tuple[str, Float[np.ndarray, 'S S 3']]]) -> None:
    """Pictures in [-1, 1] with a word above each, from left to right."""
    columns = []
    for name, picture in pictures:
        pixels = tile(to_pixels(picture))
        columns.append(np.concatenate([label(name, pixels.shape[1], HEADING), pixels]))
    save_png(path, np.concatenate(columns, axis=1), {'columns': ', '.join(name for name, _ in pictures)})


def as_photographed(found: Inversion, subject: Subject) -> Float[np.ndarray, 'S S 3']:
    """The head by the photograph's camera."""
    (seen,) = look(found.tuned(subject.generator), found.ws, found.camera, 1)
    return seen.images[0]


def save_views(directory: Path, found: Inversion, subjects: Sequence[Subject], views: int, yaw: float) -> None:
    """`views.png`, a row for each generator, and each of its pictures alone."""
    rows = []
    for subject in subjects:
        poses = fan(views, yaw, 0.0, subject.camera)
        images = _images(found, subject, poses)
        for index, (image, pose) in enumerate(zip(images, poses, strict=True)):
            text = {'generator': subject.title, 'yaw': f'{pose[0]:.4f}', 'pitch': f'{pose[1]:.4f}'}
            save_png(directory / subject.name / f'view{index}.png', to_pixels(image), text)
        rows.append([tile(to_pixels(image)) for image in images])
    save_png(directory / 'views.png', compose([rows]), {'rows': ', '.join(subject.title for subject in subjects)})


def save_film(path: Path, found: Inversion, subjects: Sequence[Subject], frames: int, yaw: float, fps: float) -> None:
    """A turntable, the generators side by side."""
    films = [_images(found, subject, closed_path(frames, yaw, 0.0, subject.camera)) for subject in subjects]
    write_film(
        path,
        (np.concatenate([to_pixels(image) for image in images], axis=1) for images in zip(*films, strict=True)),
        fps,
    )


def _images(found: Inversion, subject: Subject, poses: Float[np.ndarray, 'V 2']) -> list[Float[np.ndarray, 'S S 3']]:
    generator = found.tuned(subject.generator)
    batches: Iterator = look(generator, found.ws, pose_cameras(poses, subject.camera), fitting_batch(generator.config))
    return [image for batch in batches for image in batch.images]
