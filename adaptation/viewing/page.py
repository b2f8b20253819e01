"""The viewer's page, made with viser: the head behind a camera that the mouse or a finger turns, and its controls.

viser (nerfstudio's viewer) was chosen over gradio, which has no orbit camera for mouse and touch.
"""

import io
import math
import warnings
from typing import Any

import numpy as np
import viser
from PIL import Image, PngImagePlugin

from adaptation.generation.defaults import LARGEST_PITCH, LARGEST_SEED, STRONGEST
from adaptation.generation.pictures import SOFTWARE, Description, program
from adaptation.viewing.drawing import Drawing, View, angles
from adaptation.viewing.loop import Loop
from eg3d_jax import CameraConfig

PAPER = 243  # grey around the picture
NEAREST, FARTHEST = 4.0, 0.5  # zoom
QUALITY = 90  # of the JPEGs that are sent
TITLE = '3D-Adapter'
CLOSED = 'Queued a .* on a closed connection'  # viser's warning
HELP = 'Drag to turn the head, scroll or pinch to come nearer.'


class Page:
    """One page in a browser: its controls, and what it shows."""

    def __init__(self, client: Any, drawing: Drawing, loop: Loop, first: View):
        self.client, self._drawing, self._loop = client, drawing, loop
        self.view = first
        self.shown: View | None = None
        self.fine: np.ndarray | None = None
        self.gone = False
        self._add_controls(first)
        client.camera.on_update(lambda _: self.ask())
        self.ask()

    def _add_controls(self, first: View) -> None:
        gui = self.client.gui
        gui.set_panel_label(TITLE)
        gui.add_markdown(HELP)
        self.style = gui.add_dropdown('Style', self._drawing.styles, initial_value=first.style)
        self.strength = gui.add_slider('Strength', 0.0, STRONGEST, 0.05, first.strength)
        self.compare = gui.add_checkbox('Beside the source', first.compare)
        gui.add_divider()
        self.seed = gui.add_number('Seed', first.seed, min=0, max=LARGEST_SEED, step=1)
        self.step = gui.add_button_group('Head', ('previous', 'next'))
        self.truncation = gui.add_slider('Truncation', 0.0, 1.0, 0.05, first.truncation)
        gui.add_divider()
        self.front = gui.add_button('From the front')
        self.save = gui.add_button('Save picture')
        self.status = gui.add_markdown('')
        for control in (self.style, self.strength, self.compare, self.seed, self.truncation):
            control.on_update(lambda _: self.ask())
        self.step.on_click(lambda _: self._turn_over())
        self.front.on_click(lambda _: self.reset_camera())
        self.save.on_click(lambda _: self.send_picture())

    def reset_camera(self) -> None:
        """To where most training pictures were taken from."""
        place_camera(self.client.camera, self._drawing.camera)

    def _turn_over(self) -> None:
        change = 1 if self.step.value == 'next' else -1
        self.seed.value = int(np.clip(self.seed.value + change, 0, LARGEST_SEED))

    def ask(self) -> None:
        """Asks for what the controls and the camera say."""
        camera = self.client.camera
        offset = np.asarray(camera.position) - np.asarray(camera.look_at)
        distance = float(np.linalg.norm(offset))
        yaw, pitch = angles(tuple(offset))
        self.view = View(
            seed=int(self.seed.value or 0),
            truncation=float(self.truncation.value),
            style=self.style.value,
            strength=float(self.strength.value),
            compare=bool(self.compare.value),
            yaw=yaw,
            pitch=float(np.clip(pitch, -LARGEST_PITCH, LARGEST_PITCH)),
            zoom=float(np.clip(self._drawing.camera.radius / max(distance, 1e-3), FARTHEST, NEAREST)),
        )
        self._loop.ask(self.client.client_id, self.view, self.show)

    def show(self, image: np.ndarray, view: View, fine: bool, rate: float) -> None:
        """Sends a picture that was drawn, and says what it is, unless the page was closed meanwhile."""
        if self.gone:
            return
        self.shown, self.fine = view, image if fine else None
        self.client.scene.set_background_image(
            padded(image, self.client.camera.aspect), format='jpeg', jpeg_quality=QUALITY
        )
        frames = f' · {rate:.0f} frames/s' if rate else ''
        turned = f'yaw {math.degrees(view.yaw):.0f}°, pitch {math.degrees(view.pitch):.0f}°'
        self.status.content = f'{view.title} · seed {view.seed} · {turned}{frames}'

    def send_picture(self) -> None:
        """Downloads the fine picture of what is shown, its description inside."""
        view = self.view
        picture = encoded(self._drawing.draw(view), self._drawing.describe(view))
        self.client.send_file_download(f'{view.style}_seed{view.seed}.png', picture, save_immediately=True)


def serve(drawing: Drawing, first: View, host: str, port: int) -> tuple[Any, Loop, dict[int, Page]]:
    """Starts the server, and returns it with its loop and its pages; it draws until both are stopped."""
    # A page may close between a look at whether it has and what it is sent.
    warnings.filterwarnings('ignore', CLOSED, UserWarning)
    server = viser.ViserServer(host=host, port=port, label=TITLE, verbose=False)
    server.scene.set_up_direction('+y')
    place_camera(server.initial_camera, drawing.camera)
    server.gui.configure_theme(control_layout='collapsible', show_logo=False, show_share_button=False)
    pages: dict[int, Page] = {}
    loop = Loop(drawing)

    @server.on_client_connect
    def connect(client: Any) -> None:
        pages[client.client_id] = Page(client, drawing, loop, first)

    @server.on_client_disconnect
    def disconnect(client: Any) -> None:
        page = pages.pop(client.client_id, None)
        if page is not None:
            page.gone = True
        loop.forget(client.client_id)

    for quick in (True, False):  # compiled before anybody waits
        drawing.draw(first, quick=quick)
    loop.start()
    return server, loop, pages


def place_camera(camera: Any, distribution: CameraConfig) -> None:
    """Puts a page's camera where most training pictures were taken from, looking at the middle."""
    yaw, pitch, radius = distribution.yaw_mean, distribution.pitch_mean, distribution.radius
    camera.position = (
        radius * math.cos(pitch) * math.sin(yaw),
        radius * math.sin(pitch),
        radius * math.cos(pitch) * math.cos(yaw),
    )
    camera.look_at = (0.0, 0.0, 0.0)


def padded(image: np.ndarray, aspect: float) -> np.ndarray:
    """The picture in the middle of one of this aspect (width over height): a page stretches it over its window."""
    height, width = image.shape[:2]
    full = (max(height, round(width / aspect)), max(width, round(height * aspect)))
    page = np.full((*full, 3), PAPER, np.uint8)
    top, left = (full[0] - height) // 2, (full[1] - width) // 2
    page[top : top + height, left : left + width] = image
    return page


def encoded(image: np.ndarray, description: Description) -> bytes:
    """A PNG with its description in the metadata, as the files of `adaptation.generate` have it."""
    info = PngImagePlugin.PngInfo()
    for name, value in {SOFTWARE: program(), **description.text()}.items():
        info.add_text(name, value)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format='PNG', pnginfo=info)
    return stream.getvalue()
