"""Pictures of every kind that users bring, each made here."""

import numpy as np
import pytest
from PIL import Image

from clip_jax import ImageError, load_image


def save(picture: Image.Image, path, **kwargs):
    picture.save(path, **kwargs)
    return path


def gradient(height=6, width=6) -> np.ndarray:
    """[H, W, 3] uint8 where every pixel differs."""
    y, x = np.mgrid[:height, :width]
    return np.stack([20 + 30 * x, 10 + 35 * y, 5 * (x + y)], axis=-1).astype(np.uint8)


def scaled(values, maximum=255) -> np.ndarray:
    return np.asarray(values, np.float64) / maximum * 2 - 1


def assert_image(image: np.ndarray, expected: np.ndarray, atol=1e-6):
    assert image.dtype == np.float32
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, atol=atol)


def test_rgb(tmp_path):
    path = save(Image.fromarray(gradient()), tmp_path / 'a.png')
    assert_image(load_image(path), scaled(gradient()))
    assert_image(load_image(str(path)), scaled(gradient()))


def test_rgba_lies_over_white(tmp_path):
    alpha = np.full((6, 6, 1), 255, np.uint8)
    alpha[0, 0], alpha[0, 1] = 0, 51
    path = save(Image.fromarray(np.concatenate([gradient(), alpha], -1)), tmp_path / 'a.png')
    expected = scaled(gradient())
    expected[0, 0] = 1
    expected[0, 1] = 0.2 * expected[0, 1] + 0.8
    assert_image(load_image(path), expected)


def test_grey_with_alpha_lies_over_white(tmp_path):
    pixels = np.zeros((4, 4, 2), np.uint8)
    pixels[..., 0] = 100
    pixels[1:, :, 1] = 255
    image = load_image(save(Image.fromarray(pixels, 'LA'), tmp_path / 'a.png'))
    np.testing.assert_allclose(image[0], 1)
    np.testing.assert_allclose(image[1:], 100 / 255 * 2 - 1, atol=1e-6)


def test_grey(tmp_path):
    grey = gradient()[..., 0]
    image = load_image(save(Image.fromarray(grey), tmp_path / 'a.png'))
    assert_image(image, np.repeat(scaled(grey)[..., None], 3, -1))


def test_black_and_white(tmp_path):
    bits = Image.fromarray(np.eye(4, dtype=bool))
    assert bits.mode == '1'
    assert_image(load_image(save(bits, tmp_path / 'a.png')), np.repeat(2 * np.eye(4)[..., None] - 1, 3, -1))


@pytest.mark.parametrize('suffix', ['jpg', 'tif'])
def test_cmyk(tmp_path, suffix):
    """Pure inks come out as their colours, light ink as a light colour."""
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:16, :16, 0] = 255
    inks[:16, 16:, 1] = 255
    inks[16:, :16, 3] = 255
    path = save(Image.fromarray(inks, 'CMYK'), tmp_path / f'a.{suffix}')
    image = load_image(path)
    corners = image[[4, 4, 27, 27], [4, 27, 4, 27]]
    np.testing.assert_allclose(corners, [[-1, 1, 1], [1, -1, 1], [-1, -1, -1], [1, 1, 1]], atol=0.05)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_16_bit_grey_keeps_its_levels(tmp_path, suffix):
    levels = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    path = save(Image.fromarray(levels), tmp_path / f'a.{suffix}')
    assert_image(load_image(path), np.repeat(scaled(levels, 65535)[..., None], 3, -1))


def test_16_bit_grey_with_a_transparent_level(tmp_path):
    levels = np.array([[1000, 2000], [1001, 1000]], np.uint16)
    path = save(Image.fromarray(levels), tmp_path / 'a.png', transparency=1000)
    expected = scaled(np.where(levels == 1000, 65535, levels), 65535)
    assert_image(load_image(path), np.repeat(expected[..., None], 3, -1))


def test_32_bit_integers_are_read_as_16_bit_or_refused(tmp_path):
    levels = np.array([[0, 65535], [300, 40000]], np.int32)
    path = save(Image.fromarray(levels), tmp_path / 'a.tif')
    with Image.open(path) as picture:
        assert picture.mode == 'I'
    assert_image(load_image(path), np.repeat(scaled(levels, 65535)[..., None], 3, -1))
    with pytest.raises(ImageError, match=r'b\.tif: holds values outside 16 bits'):
        load_image(save(Image.fromarray(levels * 2), tmp_path / 'b.tif'))


def test_floating_point_is_refused(tmp_path):
    with pytest.raises(ImageError, match='floating-point values'):
        load_image(save(Image.fromarray(np.zeros((4, 4), np.float32)), tmp_path / 'a.tif'))


@pytest.mark.parametrize('suffix', ['png', 'gif'])
def test_palette_with_transparency(tmp_path, suffix):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), 'P')
    picture.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    image = load_image(save(picture, tmp_path / f'a.{suffix}', transparency=0))
    assert_image(image, np.array([[[1, 1, 1], [-1, -1, 1]], [[-1, 1, -1], [-1, -1, 1]]], np.float64))


def test_rgb_with_a_transparent_colour(tmp_path):
    image = load_image(save(Image.fromarray(gradient()), tmp_path / 'a.png', transparency=(20, 10, 0)))
    expected = scaled(gradient())
    expected[0, 0] = 1
    assert_image(image, expected)


def test_exif_rotation_is_obeyed(tmp_path):
    """Orientation 6: the camera was turned, the first stored row is the right column."""
    stored = np.zeros((32, 32, 3), np.uint8)
    stored[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    image = load_image(save(Image.fromarray(stored), tmp_path / 'a.jpg', exif=exif, quality=95))
    np.testing.assert_allclose(image[:, 26:], 1, atol=0.1)
    np.testing.assert_allclose(image[:, :22], -1, atol=0.1)


@pytest.mark.parametrize(('height', 'width'), [(4, 9), (9, 4), (5, 8), (1, 7)])
def test_the_centre_of_any_aspect_ratio_is_taken(tmp_path, height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = load_image(save(Image.fromarray(pixels), tmp_path / 'a.png'))
    assert_image(image, scaled(pixels[top : top + side, left : left + side]))


def test_crop_is_left_top_right_bottom_of_the_upright_picture(tmp_path):
    pixels = gradient(6, 8)
    path = save(Image.fromarray(pixels), tmp_path / 'a.png')
    assert_image(load_image(path, crop=(1, 2, 4, 5)), scaled(pixels[2:5, 1:4]))
    assert_image(load_image(path, crop=(0, 1, 8, 3)), scaled(pixels[1:3, 3:5]))  # its central square
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(Image.fromarray(pixels), tmp_path / 'b.png', exif=exif)
    assert_image(load_image(turned, crop=(4, 0, 6, 2)), scaled(np.rot90(pixels, -1)[0:2, 4:6]))


@pytest.mark.parametrize(
    'crop', [(-1, 0, 4, 4), (0, 0, 9, 4), (0, 0, 4, 7), (4, 0, 4, 4), (5, 0, 4, 4), (0, 5, 4, 2), (8, 6, 10, 8)]
)
def test_crop_outside_or_empty_is_refused(tmp_path, crop):
    path = save(Image.fromarray(gradient(6, 8)), tmp_path / 'a.png')
    with pytest.raises(ImageError, match=r'a\.png: crop .* does not lie within the picture of 8 x 6 pixels') as raised:
        load_image(path, crop=crop)
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize('crop', [(0, 0, 4), (0, 0, 4.0, 4), (0, 0, 4, '4'), (False, 0, 4, 4)])
def test_crop_of_another_form_is_refused(tmp_path, crop):
    path = save(Image.fromarray(gradient()), tmp_path / 'a.png')
    with pytest.raises(ImageError, match='crop must be four whole numbers'):
        load_image(path, crop=crop)


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (RuntimeError('Missing or empty image item'), 'is damaged or cut short (Missing or empty image item).'),
        (NotImplementedError('unsupported'), 'is damaged or cut short (unsupported).'),
        (PermissionError(13, 'Permission denied'), 'cannot be read (Permission denied).'),
    ],
)
def test_what_else_decoders_raise(tmp_path, monkeypatch, error, message):
    """Of AVIF and DDS files, and of one that belongs to somebody else."""
    path = save(Image.fromarray(gradient()), tmp_path / 'a.png')

    def opened(_):
        raise error

    monkeypatch.setattr(Image, 'open', opened)
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value) == f'{path}: {message}'


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r'nothing\.png: there is no such file'):
        load_image(tmp_path / 'nothing.png')
    with pytest.raises(ImageError, match='is not a file'):
        load_image(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(ImageError, match=r'a\.png: is empty'):
        load_image(tmp_path / 'a.png')


@pytest.mark.parametrize('content', [b'no picture at all', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff\xe0' + bytes(50)])
def test_corrupt_file(tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ImageError, match=r'a\.png: is damaged'):
        load_image(tmp_path / 'a.png')


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif', 'gif', 'webp', 'bmp'])
def test_truncated_file(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / f'a.{suffix}')
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf'a\.{suffix}: is damaged') as raised:
        load_image(path)
    assert '\n' not in str(raised.value)


def test_damaged_bytes_inside(tmp_path):
    path = save(Image.fromarray(gradient(64, 64)), tmp_path / 'a.png')
    content = bytearray(path.read_bytes())
    content[60:100] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r'a\.png: is damaged'):
        load_image(path)


@pytest.mark.parametrize('limit', [10, 20])
def test_too_many_pixels(tmp_path, monkeypatch, limit):
    """36 pixels: more than twice the limit, where Pillow refuses, and less, where it only warns."""
    path = save(Image.fromarray(gradient()), tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    with pytest.raises(ImageError, match=rf'a\.png: has too many pixels, over {limit}; save it smaller'):
        load_image(path)
