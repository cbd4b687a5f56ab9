"""Files elsewhere: their names, and that they are whole or absent whatever the file system can do."""

import pickle
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from diptych.errors import DiptychError
from diptych.io import places
from diptych.io.files import Job, find_files, named, plan_jobs, read_bytes, replacing, write_bytes
from diptych.io.places import Growing, Place


class Renaming(LocalFileSystem):
    """A file system that writes piece by piece and renames, as SFTP; everything below a folder of this machine."""

    protocol = "renaming"

    @classmethod
    def _strip_protocol(cls, path: str, **_: object) -> str:
        return path.removeprefix("renaming:/")


class Failing(MemoryFileSystem):
    """An object store that cannot be written."""

    protocol = "failing"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        raise ConnectionError("Connection\nrefused")


fsspec.register_implementation("renaming", Renaming, clobber=True)
fsspec.register_implementation("failing", Failing, clobber=True)


@pytest.fixture(autouse=True)
def nothing_in_memory() -> Iterator[None]:
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "renaming"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(f"{request.param}:/{tmp_path}")


def test_names() -> None:
    place = named("s3://bucket/a/b.jpg")
    assert isinstance(place, Place)
    assert str(place) == f"{place}" == "s3://bucket/a/b.jpg"
    assert (place.name, place.suffix, str(place.parent)) == ("b.jpg", ".jpg", "s3://bucket/a")
    assert str(place.with_suffix(".dip")) == "s3://bucket/a/b.dip"
    assert str(named("s3://bucket/") / Path("a/b.dip")) == "s3://bucket/a/b.dip"
    assert pickle.loads(pickle.dumps(place)) == place
    assert named("file:///tmp/a.jpg") == Path("/tmp/a.jpg")
    assert named("./s3://bucket") == Path("s3:/bucket")
    assert named("a.jpg") == Path("a.jpg")


def test_whole_and_not_replaced(folder: Place) -> None:
    place = folder / "new" / "a.bin"
    write_bytes(b"one", place)
    assert read_bytes(place) == b"one"
    with pytest.raises(DiptychError, match=rf"{place} exists already; use --overwrite"):
        write_bytes(b"two", place)
    assert read_bytes(place) == b"one"
    write_bytes(b"two", place, overwrite=True)
    assert read_bytes(place) == b"two"
    with suppress(KeyError), replacing(folder / "b.bin") as file:
        file.write(b"half")
        raise KeyError
    assert list(map(str, places.below(folder).names)) == ["new/a.bin"]


@pytest.mark.parametrize(("scheme", "renames"), [("memory", False), ("s3", False), ("gs", False), ("sftp", True)])
def test_objects_are_created_and_files_renamed(scheme: str, renames: bool) -> None:
    try:
        system = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        pytest.skip(str(error))
    assert places._renames(system) == renames


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(DiptychError, match="it is a folder"):
        write_bytes(b"one", Place(f"renaming:/{tmp_path}/a.bin"), overwrite=True)
    monkeypatch.setattr(Renaming, "mv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(b"one", Place(f"renaming:/{tmp_path}/b.bin"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_what_another_wrote_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("memory://folder/a.bin")
    really = MemoryFileSystem.exists

    def first_not(self: MemoryFileSystem, path: str, **_: object) -> bool:
        monkeypatch.setattr(MemoryFileSystem, "exists", really)
        self.store.clear()
        write_bytes(b"theirs", place)
        return False

    monkeypatch.setattr(MemoryFileSystem, "exists", first_not)
    with pytest.raises(DiptychError, match="exists already"):
        write_bytes(b"ours", place)
    assert read_bytes(place) == b"theirs"
    MemoryFileSystem.store.clear()
    monkeypatch.setattr(MemoryFileSystem, "exists", first_not)
    write_bytes(b"theirs", place)  # as a request that is tried again meets what it wrote itself


def test_errors_are_sentences() -> None:
    for work, said in {
        lambda: read_bytes(named("memory://none.bin")): "cannot read memory://none.bin: no such file or directory",
        lambda: write_bytes(b"", named("failing://a")): "cannot write failing://a: connection refused",
        lambda: read_bytes(named("nonsense://a")): "cannot read nonsense://a: protocol not known: nonsense",
    }.items():
        with pytest.raises(DiptychError) as caught:
            work()
        assert str(caught.value) == said


def test_planning(folder: Place) -> None:
    for name in ("a.jpg", "b.PNG", "notes.txt", ".hidden.jpg", "sub/a.jpg", ".cache/c.jpg"):
        write_bytes(b"x", folder / "photos" / name)
    photos = folder / "photos"
    plan = plan_jobs([f"{photos}/"], f"{folder}/out", {".jpg", ".png"}, ".dip")
    assert plan.jobs == [
        Job(photos / "a.jpg", folder / "out/a.dip"),
        Job(photos / "b.PNG", folder / "out/b.dip"),
        Job(photos / "sub/a.jpg", folder / "out/sub/a.dip"),
    ]
    assert plan.left_out == [photos / "notes.txt"]
    assert find_files([f"{photos}/**/*.jpg"], {".jpg"}) == [photos / "a.jpg", photos / "sub/a.jpg"]
    assert plan_jobs([f"{photos}/a.jpg"], None, {".jpg"}, ".dip").jobs == [Job(photos / "a.jpg", photos / "a.dip")]
    write_bytes(b"x", folder / "out/a.dip")
    again = plan_jobs([str(photos)], f"{folder}/out", {".jpg", ".png"}, ".dip")
    assert again.refused == [f"{folder}/out/a.dip exists already; use --overwrite to replace it"]
    assert len(again.jobs) == 2
    with pytest.raises(DiptychError, match="nothing to read in"):
        plan_jobs([f"{folder}/out"], None, {".jpg"}, ".dip")


def test_many_existing_files_are_found_by_listing(folder: Place) -> None:
    all_of_them = [folder / "in" / f"{number}.dip" for number in range(30)]
    for place in all_of_them[::2]:
        write_bytes(b"x", place)
    assert places.existing(all_of_them) == set(all_of_them[::2])
    assert places.existing([folder / "none" / f"{number}" for number in range(30)]) == set()


def test_a_growing_file_is_saved_when_it_is_closed(folder: Place) -> None:
    file = Growing(folder / "list", b"1\n")
    assert read_bytes(folder / "list") == b"1\n"
    file.write(b"2\n")
    file.close()
    assert read_bytes(folder / "list") == b"1\n2\n"
