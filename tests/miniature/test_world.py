"""The geometry of the world: rays, points and cameras agree with each other."""

import jax.numpy as jnp
import numpy as np
import pytest

from miniature import world

pytestmark = pytest.mark.usefixtures('optimised')

STEP = 1e-3  # world units before and behind a surface


def view_rays(gallery) -> tuple[np.ndarray, np.ndarray]:
    """Camera positions [N, 3] and unit directions [N, R, R, 3], written out from the camera convention."""
    vectors = np.asarray(gallery.cameras(), np.float64)
    pose, intrinsics = vectors[:, :16].reshape(-1, 4, 4), vectors[:, 16:].reshape(-1, 3, 3)
    v, u = np.meshgrid(*[(np.arange(gallery.side) + 0.5) / gallery.side] * 2, indexing='ij')
    pixels = np.stack([u, v, np.ones_like(u)], -1)
    directions = np.einsum('nij,njk,hwk->nhwi', pose[:, :3, :3], np.linalg.inv(intrinsics), pixels)
    return pose[:, :3, 3], directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def test_rays_pass_through_pixel_centres_and_depth_is_measured_along_them(gallery):
    seen = gallery.buffers()
    origin, direction = view_rays(gallery)
    expected = origin[:, None, None] + direction * seen.depth[..., None]
    np.testing.assert_allclose(seen.point, expected, atol=2e-6)


def test_surfaces_part_the_inside_from_the_outside(gallery):
    seen = gallery.buffers()
    _, direction = view_rays(gallery)
    before, _ = gallery.query(seen.point - STEP * direction)
    at, _ = gallery.query(seen.point)
    behind, _ = gallery.query(seen.point + STEP * direction)
    assert np.all(before[seen.mask] > 0)
    assert np.abs(at[seen.mask]).max() < 1e-5
    assert np.mean(behind[seen.mask] < 0) > 0.995  # a ray may leave a rim again at once
    assert np.all(at[~seen.mask] > 0)


def test_nothing_solid_lies_before_the_first_hit(gallery):
    seen = gallery.buffers()
    origin, direction = view_rays(gallery)
    for share in np.linspace(0.05, 0.98, 5):
        distance, _ = gallery.query(origin[:, None, None] + direction * (2.2 + (seen.depth - 2.2) * share)[..., None])
        assert np.all(distance > 0)


def test_points_on_the_surface_have_the_colour_that_is_seen(gallery):
    seen = gallery.buffers()
    _, colour = gallery.query(seen.point)
    error = np.abs(colour - seen.colour).max(-1)[seen.mask]
    assert np.quantile(error, 0.999) < 1e-4  # where two surfaces meet, either may be the nearest


def test_normals_are_unit_and_look_at_the_camera(gallery):
    seen = gallery.buffers()
    _, direction = view_rays(gallery)
    normal = seen.normal[seen.mask]
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1.0, atol=1e-5)
    facing = -np.sum(normal * direction[seen.mask], -1)
    assert np.mean(facing > 0) > 0.99  # all but blended skin at a silhouette
    assert not seen.normal[~seen.mask].any()


def test_the_same_head_from_two_sides_is_one_head(gallery):
    """What both views see has one colour: points of one are found in the other's picture at their projections."""
    first, second = gallery.buffers(), gallery.buffers(turn=-0.15)
    vectors = np.asarray(gallery.cameras(-0.15), np.float64)
    pose, intrinsics = vectors[:, :16].reshape(-1, 4, 4), vectors[:, 16:].reshape(-1, 3, 3)
    local = np.einsum('nji,nhwj->nhwi', pose[:, :3, :3], first.point - pose[:, None, None, :3, 3])
    image = np.einsum('nij,nhwj->nhwi', intrinsics, local)
    column, row = (np.floor(image[..., axis] / image[..., 2] * gallery.side).astype(int) for axis in (0, 1))
    inside = first.mask & (column >= 0) & (column < gallery.side) & (row >= 0) & (row < gallery.side)
    n, i, j = np.nonzero(inside)
    there = (n, row[n, i, j], column[n, i, j])
    same = second.mask[there] & (np.abs(second.depth[there] - np.linalg.norm(local[n, i, j], axis=-1)) < 0.006)
    assert np.mean(same) > 0.75
    difference = np.abs(first.colour[n, i, j] - second.colour[there]).max(-1)[same]
    assert np.median(difference) < 0.02
    assert np.quantile(difference, 0.8) < 0.1  # the rest are painted edges, hit half a pixel aside


def test_everything_lies_in_the_box_and_in_the_frame(gallery):
    seen = gallery.buffers()
    assert np.abs(seen.point).max() <= 0.5
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.8, 0.8, (gallery.count, gallery.side, gallery.side, 3))
    distance, _ = gallery.query(points)
    assert np.all(distance[np.abs(points).max(-1) > 0.5] > 0)
    assert not seen.mask[:, 0].any(), 'a head touches the upper edge of the picture'
    assert not seen.mask[:, : gallery.side * 3 // 4, [0, -1]].any(), 'a head touches the sides of the picture'
    share = seen.mask.mean(axis=(1, 2))
    assert np.all((share > 0.2) & (share < 0.65))


def test_the_background_is_a_function_of_its_shell(gallery):
    seen = gallery.buffers()
    shell = np.asarray(world.background_colour(gallery.heads, jnp.asarray(seen.point.reshape(gallery.count, -1, 3))))
    shell = shell.reshape(seen.colour.shape)
    np.testing.assert_allclose(seen.colour[~seen.mask], shell[~seen.mask], atol=1e-6)
    origin, direction = view_rays(gallery)
    closest = origin[:, None, None] - direction * np.sum(origin[:, None, None] * direction, -1, keepdims=True)
    nearest = np.maximum(np.linalg.norm(closest, axis=-1), world.BACKGROUND_RADIUS)
    np.testing.assert_allclose(np.linalg.norm(seen.point, axis=-1)[~seen.mask], nearest[~seen.mask], atol=1e-5)


@pytest.mark.parametrize('part', list(world.Part))
def test_every_part_is_seen_on_some_head(gallery, part: world.Part):
    assert np.any(gallery.buffers().part == part)
