from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import DiptychError
from diptych.evaluation.anchors import ANCHORS
from diptych.evaluation.cache import Cache, CachedAnchor
from diptych.io.pixels import Picture
from pictures import textured


class Counting:
    """JPEG that counts the files it makes, in any version."""

    name, settings = "jpeg", range(1, 96)

    def __init__(self, version: str = "1") -> None:
        self.made_with, self.made = version, 0

    def encode(self, picture: Picture, setting: int) -> bytes:
        self.made += 1
        return ANCHORS["jpeg"].encode(picture, setting)

    def decode(self, data: bytes) -> Image.Image:
        return ANCHORS["jpeg"].decode(data)


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]


def test_no_file_is_made_twice(tmp_path: Path) -> None:
    photo = textured(40, 30)
    for again in range(2):
        counting = Counting()
        anchor = CachedAnchor(counting, Cache(tmp_path))
        data = [anchor.encode(picture, 40) for picture in (photo, Image.fromarray(photo))]
        assert data == [ANCHORS["jpeg"].encode(photo, 40)] * 2
        assert counting.made == 1 - again
    assert np.array_equal(anchor.decode(data[0]), ANCHORS["jpeg"].decode(data[0]))


def test_other_pixels_sizes_settings_and_versions_are_other_files(tmp_path: Path) -> None:
    first, second = Counting(), Counting("2")
    photo = textured(40, 30)
    for anchor in (first, second):
        cached = CachedAnchor(anchor, Cache(tmp_path))
        cached.encode(photo, 40)
        cached.encode(photo, 41)
        cached.encode(photo.reshape(40, 30, 3), 40)
        cached.encode(photo // 2, 40)
        assert anchor.made == 4
    assert len(entries(tmp_path)) == 8


def test_damaged_entries_are_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(b"content", "key", b"more")
    assert cache.get("key", b"more") == b"content"
    assert cache.get("keym", b"ore") is None
    (entry,) = entries(tmp_path)
    for broken in (entry.read_bytes()[:-1], b"", bytes(40)):
        entry.write_bytes(broken)
        assert cache.get("key", b"more") is None
    cache.put(b"content", "key", b"more")
    assert cache.get("key", b"more") == b"content"


def test_many_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: Cache(tmp_path).put(bytes(99), str(k % 3)), range(60)))
    assert [Cache(tmp_path).get(str(k)) for k in range(3)] == [bytes(99)] * 3
    assert len(entries(tmp_path)) == 3


def test_git_ignores_it(tmp_path: Path) -> None:
    Cache(tmp_path / "deep" / "cache")
    assert (tmp_path / "deep" / "cache" / ".gitignore").read_text() == "*\n"


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DiptychError, match="cannot create the folder"):
        Cache(tmp_path / "cache")
