"""Meshes of volumes whose surface and colours are known, and what their files hold."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import trimesh
import viser

import eg3d_jax
from adaptation.generation.closing import inflate
from adaptation.generation.mesh_files import save_mesh
from adaptation.generation.mesh_pictures import draw_mesh
from adaptation.generation.meshes import Mesh, colour
from adaptation.generation.poses import baking_poses, pose_cameras
from adaptation.generation.projection import View, continue_colours, weigh
from adaptation.generation.sight import sight_cameras
from adaptation.generation.surfaces import Surface, extract
from adaptation.generation.textures import cover
from adaptation.generation.unwrapping import unwrap
from adaptation.generation.volumes import MeshError, Volume, enclose
from eg3d_jax.rays import rays

RESOLUTION, RADIUS, TEXTURE = 48, 0.3, 128
HEAD = 0.2  # radius of a ball in front of what no camera sees
SIDE, PATIENCE = 96, 60.0  # pixels and seconds, in a browser
STEP = 1 / (RESOLUTION - 1)
CAMERA = eg3d_jax.CameraConfig(pivot=(0.0, 0.0, 0.0), fov_degrees=26.4)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """A density that is steep at the surface of a ball and negative outside."""
    axis = np.linspace(-0.5, 0.5, RESOLUTION)
    x, y, z = np.meshgrid(axis, axis, axis, indexing='ij')
    distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return 20000.0 * (radius - distance)


def paint(directions: np.ndarray) -> np.ndarray:
    """The colour of a ball in each direction, in [0, 1]."""
    return 0.5 + 0.4 * directions


@pytest.fixture(scope='module')
def volume() -> Volume:
    return enclose(ball((0, 0, 0), RADIUS), 1.0, 25.0, 0.88)


@pytest.fixture(scope='module')
def surface(volume: Volume) -> Surface:
    return extract(volume)


@pytest.fixture(scope='module')
def views() -> list[View]:
    """Pictures of the painted ball."""
    cameras = pose_cameras(baking_poses(CAMERA), CAMERA)
    origins, directions = map(np.asarray, jax.jit(rays, static_argnums=1)(cameras, 96))
    along = np.sum(origins * directions, axis=-1)
    inside = along**2 - np.sum(origins**2, axis=-1) + RADIUS**2
    depth = -along - np.sqrt(np.maximum(inside, 0))
    hit = (origins + depth[..., None] * directions) / RADIUS
    images = np.where((inside > 0)[..., None], paint(hit), 0.0).reshape(-1, 96, 96, 3)
    return [View(np.asarray(camera), image) for camera, image in zip(cameras, images, strict=True)]


@pytest.fixture(scope='module')
def mesh(surface: Surface, volume: Volume, views: list[View]) -> Mesh:
    """The ball, coloured from its pictures; the field's own colours are half as bright as what they show."""
    field = 0.5 * paint(surface.vertices / RADIUS).astype(np.float32)
    return Mesh(surface, *colour(surface, volume, field, views, TEXTURE))


def test_a_ball_is_closed_and_of_the_right_size(surface: Surface):
    assert surface.watertight
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), RADIUS, atol=0.5 * STEP)
    shape = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    # Positive: the faces look outwards. A quarter of a grid step is what the steep surface may be off by all around.
    assert shape.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.75 * STEP / RADIUS)
    np.testing.assert_allclose(surface.normals, surface.vertices / RADIUS, atol=0.1)


def test_the_level_is_a_density():
    shallow = extract(enclose(ball((0, 0, 0), RADIUS) / 200, 1.0, 10.0, 0.88))
    # 100 (radius - distance) - 1 = 10 (softplus changes nothing there): 0.11 inside
    np.testing.assert_allclose(np.linalg.norm(shallow.vertices, axis=1), RADIUS - 0.11, atol=0.5 * STEP)


def test_a_place_is_where_it_was(volume: Volume):
    moved = extract(enclose(ball((0.1, -0.05, 0.15), 0.15), 1.0, 25.0, 0.88))
    np.testing.assert_allclose(moved.vertices.mean(axis=0), [0.1, -0.05, 0.15], atol=0.5 * STEP)


def test_background_and_what_floats_about_are_left_out_and_cavities_filled():
    head = np.minimum(ball((0, 0, 0), 0.25), -ball((0, 0, 0), 0.1))  # hollow
    shell = -ball((0, 0, 0), 0.46)
    speck = ball((0, 0.34, 0), 0.05)
    found = extract(enclose(np.maximum(np.maximum(head, shell), speck), 1.0, 25.0, 0.88))
    np.testing.assert_allclose(np.linalg.norm(found.vertices, axis=1), 0.25, atol=0.5 * STEP)
    assert found.watertight


@pytest.mark.parametrize('crop', [0.5, 3**0.5], ids=['sphere', 'faces'])
def test_what_is_cut_is_closed(crop: float):
    filled = extract(enclose(np.full((24, 24, 24), 100.0), 1.0, 25.0, crop))
    assert filled.watertight
    reach = np.linalg.norm(filled.vertices, axis=1).max()
    expected = 0.25 if crop == 0.5 else 3**0.5 * 0.43
    assert reach == pytest.approx(expected, abs=2 / 23)


def test_nothing_dense_enough_is_told_with_the_densest():
    with pytest.raises(
        MeshError, match=r'denser than 9000, the densest point has 5\.\d*e\+03: give a lower --mesh-level'
    ):
        enclose(ball((0, 0, 0), RADIUS), 1.0, 9000.0, 0.88)


@pytest.fixture(scope='module')
def density() -> np.ndarray:
    """A ball in front, and behind it, where no camera sees it, a spike that is joined to it and a blob."""
    spike, blob = ball((0, 0, -0.21), 0.05), ball((0.03, 0.02, -0.3), 0.05)
    return np.maximum(np.maximum(ball((0, 0, 0), HEAD), spike), blob)


@pytest.fixture(scope='module')
def closed(density: np.ndarray) -> Surface:
    return extract(enclose(density, 1.0, 25.0, 0.88, sight_cameras(CAMERA, 0.44)))


class TestTheUnseenSide:
    def test_raw_keeps_what_is_behind(self, density: np.ndarray):
        kept = extract(enclose(density, 1.0, 25.0, 0.88))
        assert kept.vertices[:, 2].min() < -0.32

    def test_it_is_closed_to_a_ball(self, closed: Surface):
        assert closed.watertight
        # The coarse grid's step is 0.02, and the first surface is met up to a step late.
        distance = np.linalg.norm(closed.vertices, axis=1)
        assert closed.vertices[:, 2].min() > -HEAD - 0.03
        np.testing.assert_allclose(distance, HEAD, atol=0.035)
        shape = trimesh.Trimesh(closed.vertices, closed.faces, process=False)
        assert shape.volume == pytest.approx(4 / 3 * np.pi * HEAD**3, rel=0.15)

    def test_what_is_seen_keeps_its_place(self, closed: Surface):
        front = closed.vertices[:, 2] > 0.1
        np.testing.assert_allclose(np.linalg.norm(closed.vertices[front], axis=1), HEAD, atol=0.5 * STEP)

    def test_a_disc_is_inflated_to_a_sphere(self):
        centre = np.arange(41) - 20.0
        squared = centre[:, None] ** 2 + centre**2
        disc = squared < 15.5**2
        back = inflate(np.full((41, 41), 2.0), disc, np.ones((41, 41), bool), 0.01, 0.1)
        inner = squared < 13**2
        expected = 2.0 + 0.01 * np.sqrt(np.maximum(15.5**2 - squared, 0))
        np.testing.assert_allclose(back[inner], expected[inner], atol=0.01)  # a pixel, as the rim is
        assert not back[~disc].any()

    def test_a_silhouette_that_the_crop_cuts_stays_thick_there(self):
        strip = np.zeros((41, 41), bool)
        strip[:, 15:26] = True
        within = np.ones((41, 41), bool)
        above = (np.arange(41) < 30)[:, None]
        back = inflate(np.full((41, 41), 2.0), strip & above, within & above, 0.01, 0.1)
        cut = inflate(np.full((41, 41), 2.0), strip & above, within, 0.01, 0.1)
        assert cut[29, 20] - 2.0 < 0.7 * (cut[15, 20] - 2.0)  # an end that is seen is round
        np.testing.assert_allclose(back[29], back[20], atol=2e-3)  # one that is not goes on

    def test_colours_are_continued(self, surface: Surface):
        seen = (surface.vertices[:, 2] > 0).astype(np.float32)[:, None]
        colour = np.where(surface.vertices[:, :1] > 0, [[0.9, 0.5, 0.1]], [[0.1, 0.5, 0.9]]).astype(np.float32)
        continued = continue_colours(surface.faces, colour * seen, seen)
        behind = surface.vertices[:, 2] < -0.8 * RADIUS
        np.testing.assert_allclose(continued[:, 1], 0.5, atol=1e-3)
        np.testing.assert_allclose(continued[behind].mean(axis=0), 0.5, atol=0.05)
        sides = surface.vertices[behind][:, 0] > 0
        assert continued[behind][sides, 0].mean() > continued[behind][~sides, 0].mean() + 0.02
        front = surface.vertices[:, 2] > 0.5 * RADIUS
        away = np.abs(surface.vertices[:, 0]) > 0.3 * RADIUS
        np.testing.assert_allclose(continued[front & away], colour[front & away], atol=0.02)


def test_a_picture_of_a_mesh_shows_its_near_side(mesh: Mesh):
    camera = np.asarray(pose_cameras(np.zeros((1, 2), np.float32), CAMERA))[0]
    for made in (mesh, mesh._replace(texture=None)):
        picture = draw_mesh(made, camera, 64).astype(int)
        assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
        # 0.9 world units are 64 pixels; the column is +x, the row -y, and the ball's nearest point faces the camera.
        for column, row in ((32, 32), (45, 32), (32, 20)):
            x, y = (column + 0.5 - 32) * 0.9 / 64 * 0.9, -(row + 0.5 - 32) * 0.9 / 64 * 0.9  # 0.3 nearer of 2.7
            direction = np.array([x, y, np.sqrt(RADIUS**2 - x**2 - y**2)]) / RADIUS
            np.testing.assert_allclose(picture[row, column], 255 * paint(direction), atol=14)
    clay = draw_mesh(mesh, camera, 64, clay=True)
    assert (clay[..., 0] == clay[..., 2]).all()
    assert int(clay[20, 42, 0]) > int(clay[44, 22, 0]) + 40  # the lamp is above, to the right


def test_unwrapped_triangles_share_no_texel(surface: Surface):
    flat = unwrap(surface.vertices, surface.faces, TEXTURE)
    np.testing.assert_array_equal(flat.vertex[flat.faces], surface.faces)
    assert flat.texel.min() >= 2
    assert flat.texel.max() <= TEXTURE - 2
    corners = flat.texel[flat.faces]
    edges = corners[:, 1:] - corners[:, :1]
    areas = np.abs(np.linalg.det(edges)) / 2
    coverage = cover(flat, TEXTURE)
    # Where triangles overlapped, they would cover fewer texels than their areas add up to.
    assert len(coverage.face) == pytest.approx(areas.sum(), rel=0.03)
    assert areas.sum() > 0.3 * TEXTURE**2
    centres = coverage.carry(flat.texel, flat.faces)
    np.testing.assert_allclose(centres, coverage.texel + 0.5, atol=0.01)


def test_a_texture_too_small_is_refused(surface: Surface):
    with pytest.raises(ValueError, match=r'has no room for the .* charts'):
        unwrap(surface.vertices, surface.faces, 8)


def test_texture_and_vertices_have_the_balls_colours(mesh: Mesh):
    assert mesh.texture is not None
    flat, pixels = mesh.texture
    coverage = cover(flat, TEXTURE)
    points = coverage.carry(mesh.surface.vertices[flat.vertex], flat.faces)
    expected = 255 * paint(points / np.linalg.norm(points, axis=1, keepdims=True))
    error = np.abs(pixels[coverage.texel[:, 1], coverage.texel[:, 0]] - expected)
    behind = points[:, 2] < -0.1
    assert error[~behind].max() < 12  # of 255
    assert error[behind].max() < 30  # the field's colours, brought in line: as they are, they are off by up to 115
    assert np.abs(mesh.colours - 255 * paint(mesh.surface.vertices / RADIUS)).max() < 30


def test_a_view_has_nothing_to_say_of_what_it_does_not_see():
    volume = enclose(np.maximum(ball((0, 0, 0), 0.2), ball((0, 0, 0.25), 0.1)), 1.0, 25.0, 0.88)
    front = View(np.asarray(pose_cameras(np.zeros((1, 2)), CAMERA))[0], np.zeros((8, 8, 3), np.float32))
    directions = np.array([[0, 0, 1], [0.2, 0, 0.98], [0.7, 0, 0.714], [0, 0, -1]])
    weights = weigh(0.2 * directions, directions, front, volume)
    assert weights[[0, 1, 3]].tolist() == [0, 0, 0]  # behind the small ball, and on the far side
    assert weights[2] > 0.1


class TestFiles:
    def test_ply(self, mesh: Mesh, tmp_path: Path):
        save_mesh(mesh, tmp_path / 'head.ply')
        loaded = trimesh.load(tmp_path / 'head.ply')
        assert loaded.is_watertight
        assert loaded.is_winding_consistent
        assert len(loaded.vertices) == len(mesh.surface.vertices)
        np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], mesh.colours)

    def test_textured_glb(self, mesh: Mesh, tmp_path: Path):
        save_mesh(mesh, tmp_path / 'head.glb')
        loaded = trimesh.load(tmp_path / 'head.glb', force='mesh')
        texture = np.asarray(loaded.visual.material.baseColorTexture.convert('RGB'))
        np.testing.assert_array_equal(texture, mesh.texture.pixels)
        expected = 255 * paint(loaded.vertices / RADIUS)
        column, row = (loaded.visual.uv * [1, -1] + [0, 1]).T * TEXTURE
        sampled = texture[row.astype(int), column.astype(int)].astype(int)
        assert np.abs(sampled - expected).mean() < 6  # the nearest texel's: a wrong or mirrored map is off by 50
        loaded.merge_vertices(merge_tex=True, merge_norm=True)
        assert loaded.is_watertight
        assert loaded.volume > 0

    def test_glb_is_valid(self, mesh: Mesh, tmp_path: Path):
        for name, made in (('textured', mesh), ('coloured', mesh._replace(texture=None))):
            save_mesh(made, tmp_path / f'{name}.glb')
            tree, _ = read_glb(tmp_path / f'{name}.glb')
            assert tree['extensionsUsed'] == ['KHR_materials_unlit']
            (primitive,) = tree['meshes'][0]['primitives']
            assert tree['materials'][primitive['material']]['extensions'] == {'KHR_materials_unlit': {}}
            colours = {'TEXCOORD_0'} if name == 'textured' else {'COLOR_0'}
            assert primitive['attributes'].keys() == {'POSITION', 'NORMAL'} | colours
            place = tree['accessors'][primitive['attributes']['POSITION']]
            np.testing.assert_allclose([place['min'], place['max']], [[-RADIUS] * 3, [RADIUS] * 3], atol=STEP)
            (material,) = tree['materials']
            assert material['pbrMetallicRoughness']['metallicFactor'] == 0
            assert material['doubleSided']

    def test_every_accessor_of_a_glb_lies_within_its_file(self, mesh: Mesh, tmp_path: Path):
        save_mesh(mesh, tmp_path / 'head.glb')
        tree, binary = read_glb(tmp_path / 'head.glb')
        (buffer,) = tree['buffers']
        assert buffer['byteLength'] <= len(binary)
        parts = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3}
        arrays = []
        for accessor in tree['accessors']:
            view = tree['bufferViews'][accessor['bufferView']]
            kind = {5126: '<f4', 5125: '<u4'}[accessor['componentType']]
            size = accessor['count'] * parts[accessor['type']]
            assert size * 4 <= view['byteLength']
            assert view['byteOffset'] + view['byteLength'] <= buffer['byteLength']
            assert view['byteOffset'] % 4 == 0
            arrays.append(np.frombuffer(binary, kind, size, view['byteOffset']).reshape(accessor['count'], -1))
        (primitive,) = tree['meshes'][0]['primitives']
        attributes = {name: arrays[index] for name, index in primitive['attributes'].items()}
        assert len({len(array) for array in attributes.values()}) == 1
        assert arrays[primitive['indices']].max() == len(attributes['POSITION']) - 1
        assert attributes['TEXCOORD_0'].min() >= 0
        assert attributes['TEXCOORD_0'].max() <= 1
        np.testing.assert_allclose(np.linalg.norm(attributes['NORMAL'], axis=1), 1.0, atol=1e-3)
        (image,) = tree['images']
        assert image['mimeType'] == 'image/png'
        view = tree['bufferViews'][image['bufferView']]
        assert binary[view['byteOffset'] :][:8] == b'\x89PNG\r\n\x1a\n'

    def test_another_ending_is_refused(self, mesh: Mesh, tmp_path: Path):
        with pytest.raises(ValueError, match=r'must end in \.ply or \.glb'):
            save_mesh(mesh, tmp_path / 'head.obj')


def test_vertex_colours_of_a_glb_are_linear(mesh: Mesh, tmp_path: Path):
    save_mesh(mesh._replace(texture=None), tmp_path / 'head.glb')
    tree, binary = read_glb(tmp_path / 'head.glb')
    accessor = tree['accessors'][tree['meshes'][0]['primitives'][0]['attributes']['COLOR_0']]
    assert (accessor['componentType'], accessor['normalized']) == (5121, True)  # bytes that stand for 0 to 1
    start = tree['bufferViews'][accessor['bufferView']]['byteOffset']
    width = {'VEC3': 3, 'VEC4': 4}[accessor['type']]
    stored = np.frombuffer(binary, np.uint8, accessor['count'] * width, start).reshape(-1, width)[:, :3] / 255
    back = np.where(stored <= 0.0031308, 12.92 * stored, 1.055 * stored ** (1 / 2.4) - 0.055)
    # Bytes of linear light are coarse in the dark: half a step is worth about 5 levels at the darkest of these colours.
    np.testing.assert_allclose(255 * back, mesh.colours, atol=6)


def read_glb(path: Path) -> tuple[dict, bytes]:
    """The description and the binary part of a file, whose header must fit it."""
    content = path.read_bytes()
    assert content[:4] == b'glTF'
    version, length, size = np.frombuffer(content[4:16], '<u4')
    assert (version, length) == (2, len(content))
    return json.loads(content[20 : 20 + size]), content[28 + size :]


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of the server's libraries
def test_three_js_shows_a_glb(mesh: Mesh, tmp_path: Path, browser: Any):
    """viser's page draws with three.js, whose own loader reads the file there."""
    save_mesh(mesh, tmp_path / 'head.glb')
    server = viser.ViserServer('127.0.0.1', 18480, verbose=False)
    server.scene.add_glb('/head', (tmp_path / 'head.glb').read_bytes())
    page = browser.new_page(viewport={'width': 400, 'height': 400})
    page.set_default_timeout(1000 * PATIENCE)
    told: list[str] = []
    page.on('console', lambda message: told.append(message.text) if message.type == 'error' else None)
    page.goto(f'http://127.0.0.1:{server.get_port()}')
    end = time.monotonic() + PATIENCE
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    while (picture[SIDE // 2, SIDE // 2] == 255).all() and time.monotonic() < end:
        for client in server.get_clients().values():
            with contextlib.suppress(RuntimeError, TimeoutError):  # it does not draw yet
                picture = client.get_render(
                    SIDE,
                    SIDE,
                    wxyz=(0.0, 1.0, 0.0, 0.0),
                    position=(0.0, 0.0, 2.7),
                    fov=np.radians(CAMERA.fov_degrees),
                    timeout=PATIENCE / 6,
                )
        time.sleep(0.2)
    page.close()
    server.stop()
    assert not told
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()  # nothing is there
    middle, right, above = (picture[row, column].astype(int) for row, column in ((48, 48), (48, 60), (36, 48)))
    np.testing.assert_allclose(middle, 255 * paint(np.array([0, 0, 1])), atol=30)  # the page has a tone curve
    assert right[0] > middle[0] + 25  # the ball's red grows along x, its green along y
    assert above[1] > middle[1] + 25
    assert abs(right[1] - middle[1]) < 10
    assert abs(above[0] - middle[0]) < 10
