"""Planning what is read and written, and writing all of a file or nothing."""

import os
import stat
from pathlib import Path

import pytest

from diptych.errors import DiptychError
from diptych.io.files import Job, Plan, files_below, plan_jobs, read_bytes, replacing, write_bytes

READS = {".jpg", ".png"}


def whole_plan(*inputs: Path | str, output: Path | str | None = None, overwrite: bool = False) -> Plan:
    return plan_jobs([str(i) for i in inputs], None if output is None else str(output), READS, ".dip", overwrite)


def plan(*inputs: Path | str, output: Path | str | None = None, overwrite: bool = False) -> list[Job]:
    found = whole_plan(*inputs, output=output, overwrite=overwrite)
    assert found.refused == []
    return found.jobs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/{a.jpg, b.PNG, notes.txt, .hidden.jpg, sub/a.jpg, .cache/c.jpg}"""
    for name in ("a.jpg", "b.PNG", "notes.txt", ".hidden.jpg", "sub/a.jpg", ".cache/c.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def test_one_file_is_written_beside_its_input(folder: Path) -> None:
    assert plan(folder / "a.jpg") == [Job(folder / "a.jpg", folder / "a.dip")]


def test_one_file_to_a_named_file(folder: Path, tmp_path: Path) -> None:
    assert plan(folder / "a.jpg", output=tmp_path / "x") == [Job(folder / "a.jpg", tmp_path / "x")]


@pytest.mark.parametrize("exists", [True, False])
def test_one_file_into_a_folder(folder: Path, tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "out").mkdir()
    output = tmp_path / "out" if exists else f"{tmp_path}/out/"
    assert plan(folder / "a.jpg", output=output)[0].target == tmp_path / "out" / "a.dip"


def test_folder_keeps_its_shape_and_leaves_out_what_is_hidden(folder: Path, tmp_path: Path) -> None:
    jobs = plan(folder, output=tmp_path / "out")
    assert [job.source for job in jobs] == [folder / "a.jpg", folder / "b.PNG", folder / "sub" / "a.jpg"]
    assert [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs] == [
        "a.dip",
        "b.dip",
        "sub/a.dip",
    ]


def test_links_are_followed_once_and_never_in_circles(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.png").write_bytes(b"x")
    (folder / "a-link-to-sub").symlink_to(folder / "sub")
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "there").symlink_to(tmp_path / "elsewhere")
    (folder / "lost.jpg").symlink_to(tmp_path / "none.jpg")
    (folder / "folder.jpg").mkdir()
    names = [path.relative_to(folder).as_posix() for path in files_below(folder, READS)]
    assert names == ["a.jpg", "b.PNG", "lost.jpg", "sub/a.jpg", "there/c.png"]


def test_glob(folder: Path) -> None:
    assert [job.source.name for job in plan(folder / "*.[jP]*")] == ["a.jpg", "b.PNG"]


def test_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1].jpg").write_bytes(b"x")
    assert plan(tmp_path / "a[1].jpg")[0].target == tmp_path / "a[1].dip"


def test_same_file_named_twice_is_read_once(folder: Path) -> None:
    assert len(plan(folder / "a.jpg", folder, folder / "sub" / ".." / "a.jpg")) == 3


def test_missing_file_stays_for_its_own_message(tmp_path: Path) -> None:
    jobs = plan(tmp_path / "none.jpg", output=tmp_path / "x.dip")
    assert jobs == [Job(tmp_path / "none.jpg", tmp_path / "x.dip")]
    with pytest.raises(DiptychError, match=r"cannot read .*none.jpg: no such file"):
        read_bytes(jobs[0].source)


@pytest.mark.parametrize("name", ["empty", "empty/*.jpg"])
def test_nothing_to_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DiptychError, match="nothing to read in"):
        plan(tmp_path / name)


def test_empty_name() -> None:
    with pytest.raises(DiptychError, match="empty"):
        plan("")


def test_two_inputs_with_one_output_cost_themselves_alone(folder: Path, tmp_path: Path) -> None:
    found = whole_plan(folder / "a.jpg", folder / "b.PNG", folder / "sub" / "a.jpg", output=tmp_path / "out")
    assert [job.source for job in found.jobs] == [folder / "b.PNG"]
    [sentence] = found.refused
    assert sentence == (
        f"both {folder / 'a.jpg'} and {folder / 'sub' / 'a.jpg'} would become {tmp_path / 'out' / 'a.dip'}; "
        "name a folder above them, or one at a time with a name of its own (-o)"
    )


def test_glob_keeps_the_folders_below_its_fixed_part(folder: Path, tmp_path: Path) -> None:
    jobs = plan(folder / "**" / "*.jpg", output=tmp_path / "out")
    assert [job.target.relative_to(tmp_path / "out").as_posix() for job in jobs] == ["a.dip", "sub/a.dip"]


def test_two_links_to_one_file_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "store" / "folder").mkdir(parents=True)
    (tmp_path / "store" / "blob").write_bytes(b"x")
    (tmp_path / "store" / "folder" / "c.jpg").write_bytes(b"x")
    (tmp_path / "snap").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "snap" / name).symlink_to("../store/blob")
    for name in ("one", "two"):
        (tmp_path / "snap" / name).symlink_to("../store/folder")
    found = whole_plan(tmp_path / "snap", output=tmp_path / "out")
    written = [job.target.relative_to(tmp_path / "out").as_posix() for job in found.jobs]
    assert written == ["a.dip", "b.dip", "one/c.dip", "two/c.dip"]
    assert found.left_out == []


def test_a_link_that_is_not_followed_is_told(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "sub")
    assert whole_plan(folder).left_out == [folder / "link", folder / "notes.txt"]


def test_links_between_two_folders_outside(tmp_path: Path) -> None:
    for here, there in (("x", "y"), ("y", "x")):
        (tmp_path / here).mkdir()
        (tmp_path / here / "link").symlink_to(tmp_path / there)
        (tmp_path / here / f"{here}.jpg").write_bytes(b"x")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "there").symlink_to(tmp_path / "x")
    names = [path.relative_to(tmp_path / "photos").as_posix() for path in files_below(tmp_path / "photos", READS)]
    assert names == ["there/link/y.jpg", "there/x.jpg"]


@pytest.mark.parametrize("inputs", [["-", "a.jpg"], ["a.jpg", "-"]])
def test_standard_input_stands_alone(inputs: list[str]) -> None:
    with pytest.raises(DiptychError, match="stands alone"):
        plan(*inputs)


def test_several_files_cannot_go_to_standard_output(folder: Path) -> None:
    with pytest.raises(DiptychError, match="several files cannot go to standard output"):
        plan(folder, output="-")


def test_output_that_is_an_input(folder: Path) -> None:
    found = whole_plan(folder / "a.jpg", output=folder / "a.jpg", overwrite=True)
    assert found.jobs == []
    assert "read and written at once" in found.refused[0]


def test_several_inputs_into_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"x")
    with pytest.raises(DiptychError, match="not a folder"):
        plan(folder, output=tmp_path / "out", overwrite=True)


def test_existing_output_needs_overwrite(folder: Path) -> None:
    (folder / "a.dip").write_bytes(b"x")
    refused = whole_plan(folder / "a.jpg").refused
    assert refused == [f"{folder / 'a.dip'} exists already; use --overwrite to replace it"]
    found = whole_plan(folder)
    assert [job.source.name for job in found.jobs] == ["b.PNG", "a.jpg"]
    assert found.refused == refused
    assert len(plan(folder / "a.jpg", overwrite=True)) == 1


def test_write_is_complete_with_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_bytes(b"data", tmp_path / "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def write_and_raise(path: Path, error: BaseException) -> None:
    with replacing(path, overwrite=True) as file:
        file.write(b"new")
        raise error


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError(), RuntimeError),
        (OSError(28, "No space left on device"), DiptychError),
    ],
)
def test_interrupted_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, error: BaseException, seen: type[BaseException]
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(seen):
        write_and_raise(tmp_path / "a", error)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "a"):
            (tmp_path / "a").write_bytes(b"other")

    with pytest.raises(DiptychError, match="--overwrite"):
        write()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"other"]


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(b"new", tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["/dev/null", "."])
def test_devices_and_folders_are_never_replaced(name: str) -> None:
    with pytest.raises(DiptychError, match=r"it is a (device|folder)"):
        write_bytes(b"x", Path(name), overwrite=True)


@pytest.mark.parametrize(("name", "message"), [("file/a", "not a directory"), ("x" * 300, "name too long")])
def test_impossible_path(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DiptychError, match=message):
        write_bytes(b"x", tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
