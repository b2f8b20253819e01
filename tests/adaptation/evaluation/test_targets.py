"""The folder of target pictures: what is read, how it is brought to one size, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptation.errors import ConfigError
from adaptation.evaluation.targets import SMALLEST_SET, Sizes, list_folder, read_pictures, resized

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of 16 x 16 pixels, just enough of them, one of them wider."""
    root = tmp_path / 'pictures'
    root.mkdir()
    for index in range(SMALLEST_SET):
        pixels = RNG.integers(0, 256, (16, 24 if index == 7 else 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{index:03d}.png')
    return root


def listed(root: Path, *, skip: bool = False, seed: int = 0) -> list[str]:
    return [file.name for file in list_folder(root, seed, skip_unreadable=skip).files]


def read(root: Path, resolution: int, *, skip: bool = False, first: int = 0) -> tuple[dict[int, np.ndarray], Sizes]:
    sizes = Sizes()
    folder = list_folder(root, 0, skip_unreadable=skip)
    return dict(read_pictures(folder, first, resolution, sizes, skip_unreadable=skip)), sizes


def test_order_is_the_seeds_and_hidden_files_are_passed_over(folder: Path):
    (folder / '.DS_Store').write_text('')
    assert sorted(listed(folder)) == [f'{index:03d}.png' for index in range(SMALLEST_SET)]
    assert listed(folder) == listed(folder) != listed(folder, seed=1)


def test_fingerprint_changes_with_the_pictures(folder: Path):
    before = list_folder(folder, 0, skip_unreadable=False).fingerprint
    assert list_folder(folder, 0, skip_unreadable=False).fingerprint == before
    Image.new('RGB', (16, 16)).save(folder / 'more.png')
    assert list_folder(folder, 0, skip_unreadable=False).fingerprint != before


def test_pictures_of_the_right_size_are_as_they_are(folder: Path):
    pictures, sizes = read(folder, 16)
    order = listed(folder)
    assert sorted(pictures) == list(range(SMALLEST_SET))
    for index, picture in pictures.items():
        pixels = np.asarray(Image.open(folder / order[index]), np.float32)
        left = (pixels.shape[1] - 16) // 2  # the central square of the wide one
        np.testing.assert_allclose(picture, pixels[:, left : left + 16] / 127.5 - 1, atol=1e-6)
    assert (sizes.read, sizes.smaller, sizes.smallest, sizes.largest) == (SMALLEST_SET, 0, 16, 16)


def test_other_sizes_are_brought_to_the_samples(folder: Path):
    Image.new('RGB', (40, 32), (255, 0, 0)).save(folder / 'large.png')
    pictures, sizes = read(folder, 24)
    assert {picture.shape for picture in pictures.values()} == {(24, 24, 3)}
    red = pictures[listed(folder).index('large.png')]
    np.testing.assert_allclose(red, np.broadcast_to([1.0, -1.0, -1.0], red.shape), atol=1e-6)
    assert (sizes.smaller, sizes.smallest, sizes.largest) == (SMALLEST_SET, 16, 32)


def test_resized_is_antialiased():
    stripes = np.tile(np.array([[[-1.0] * 3, [1.0] * 3]], np.float32), (32, 16, 1))
    # Every second column black or white: grey, but for the borders, where the kernel is cut off.
    np.testing.assert_allclose(resized(stripes, 8)[1:-1, 1:-1], 0.0, atol=0.1)


def test_reading_goes_on_where_it_was_left(folder: Path):
    whole, _ = read(folder, 16)
    sizes = Sizes(read=30, smallest=16, largest=16)
    found = list_folder(folder, 0, skip_unreadable=False)
    rest = dict(read_pictures(found, 30, 16, sizes, skip_unreadable=False))
    assert sorted(rest) == list(range(30, SMALLEST_SET))
    np.testing.assert_array_equal(rest[40], whole[40])


class TestRefused:
    def test_no_folder(self, tmp_path: Path):
        (tmp_path / 'file').write_text('')
        for name, what in (('none', 'there is no such folder'), ('file', 'is a file, not a folder')):
            with pytest.raises(ConfigError, match=f'--target: .*{name}: {what}'):
                listed(tmp_path / name)

    def test_empty(self, tmp_path: Path):
        with pytest.raises(ConfigError, match='has no pictures in it, it is empty'):
            listed(tmp_path)

    def test_no_pictures_at_all(self, tmp_path: Path):
        (tmp_path / 'notes.txt').write_text('no picture')
        with pytest.raises(ConfigError, match=r'has no pictures in it, it holds notes\.txt'):
            listed(tmp_path, skip=True)

    def test_mixed(self, folder: Path):
        (folder / 'deeper').mkdir()
        for index in range(6):
            (folder / f'note{index}.txt').write_text('no picture')
        with pytest.raises(ConfigError, match=r'holds 7 that are no pictures beside 50 .*: deeper/, .* and 2 more'):
            listed(folder)
        assert len(listed(folder, skip=True)) == SMALLEST_SET

    def test_too_few(self, folder: Path):
        (folder / '000.png').unlink()
        with pytest.raises(ConfigError, match='has 49 readable pictures, too few'):
            listed(folder)

    def test_unreadable_are_all_named(self, folder: Path):
        Image.new('RGB', (16, 16)).save(folder / 'more.png')
        for name in ('003.png', '011.png'):
            whole = (folder / name).read_bytes()
            (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ConfigError) as caught:
            read(folder, 16)
        assert str(caught.value).startswith(f'--target: 2 pictures of {folder} cannot be read: ')
        assert '003.png' in str(caught.value)
        assert '011.png' in str(caught.value)
        with pytest.raises(ConfigError, match='has 49 readable pictures'):
            read(folder, 16, skip=True)

    def test_unreadable_are_skipped_where_asked_for(self, folder: Path):
        (folder / 'broken.png').write_bytes(b'no picture')
        Image.new('RGB', (8, 100)).save(folder / 'narrow.png')
        pictures, sizes = read(folder, 16, skip=True)
        assert len(pictures) == sizes.read == SMALLEST_SET
        assert sorted(sizes.skipped) == ['broken.png', 'narrow.png']
        with pytest.raises(ConfigError, match='2 pictures of'):
            read(folder, 16)
