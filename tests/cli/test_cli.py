"""The command line: what it writes, what it prints, and how it refuses."""

import json
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import diptych
from diptych.bitstream import pack, unpack
from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.errors import DiptychError, extra
from samples import picture

COMMANDS = ("encode", "decode", "info", "codecs", "train", "evaluate", "demo", "selftest")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture(50, 35).save(path)
    return path


@pytest.fixture
def dip(tmp_path: Path, codec: Codec) -> Path:
    path = tmp_path / "file.dip"
    path.write_bytes(codec.encode(picture(50, 35), 30))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fails(*arguments: object, code: int = 1) -> str:
    """The one line on stderr of a command that must fail."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("diptych: error: ")
    return line


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_encode_then_decode(photo: Path, codec_file: Path, codec: Codec) -> None:
    encoded = run("encode", photo, "-q", 25, "--model", codec_file)
    data = photo.with_suffix(".dip").read_bytes()
    assert encoded.exit_code == 0
    assert encoded.stderr == ""
    assert data == codec.encode(picture(50, 35), 25)
    bpp = 8 * len(data) / (50 * 35)
    assert encoded.stdout == f"{photo} -> {photo.with_suffix('.dip')}: 50 x 35, {len(data)} bytes, {bpp:.3f} bpp\n"

    output = photo.with_name("out.png")
    decoded = run("decode", photo.with_suffix(".dip"), "-o", output, "--model", codec_file)
    assert decoded.exit_code == 0
    assert "view human, 50 x 35" in decoded.stdout
    assert np.array_equal(np.asarray(Image.open(output)), np.asarray(codec.decode(data, "human")))


def test_a_size_is_reached_from_below(tmp_path: Path, codec_file: Path) -> None:
    picture(200, 150).save(tmp_path / "p.png")
    arguments = ["encode", tmp_path / "p.png", "--verify", "--overwrite", "--model", codec_file]
    assert run(*arguments, "--target-size", 3000).exit_code == 0
    assert 2940 <= (tmp_path / "p.dip").stat().st_size <= 3000
    assert run(*arguments, "--bpp", 0.5).exit_code == 0
    assert 0.98 * 1875 <= (tmp_path / "p.dip").stat().st_size <= 1875


def test_a_size_that_cannot_be_reached_is_said(tmp_path: Path, photo: Path, codec_file: Path) -> None:
    assert "not enough" in fails("encode", photo, "--target-size", 30, "--model", codec_file)
    assert not photo.with_suffix(".dip").exists()
    result = run("encode", photo, "--bpp", 300, "--model", codec_file)
    assert "no quality comes within 2 %" in result.stderr


@pytest.mark.parametrize("arguments", [["--bpp", 1, "--target-size", 9], ["--bpp", 0], ["--target-size", -1]])
def test_impossible_sizes(photo: Path, arguments: list[object]) -> None:
    fails("encode", photo, *arguments, code=2)


def test_decode_a_region(dip: Path, codec_file: Path, codec: Codec) -> None:
    assert run("decode", dip, "--region", "10,5,20,12", "--model", codec_file).exit_code == 0
    assert Image.open(dip.with_suffix(".png")).size == (20, 12)
    assert "not inside" in fails("decode", dip, "--region", "40,5,20,12", "--overwrite", "--model", codec_file)
    fails("decode", dip, "--region", "40,5", "--model", codec_file, code=2)


@pytest.mark.parametrize("view", ["machine", "human", "0", "0.25", "1"])
def test_every_view(dip: Path, codec_file: Path, codec: Codec, view: str) -> None:
    assert run("decode", dip, "--view", view, "--model", codec_file).exit_code == 0
    decoded = np.asarray(Image.open(dip.with_suffix(".png")))
    assert np.array_equal(decoded, np.asarray(codec.decode(dip.read_bytes(), view)))


def test_format_of_the_output(dip: Path, codec_file: Path) -> None:
    assert run("decode", dip, "-o", dip.with_name("a.webp"), "--model", codec_file).exit_code == 0
    assert Image.open(dip.with_name("a.webp")).format == "WEBP"
    assert "'.xyz' is not one of" in fails("decode", dip, "-o", dip.with_name("a.xyz"), "--model", codec_file)


def test_transparency_is_noted(tmp_path: Path, codec_file: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (9, 9)).save(path)
    result = run("encode", path, "--model", codec_file)
    assert result.exit_code == 0
    assert result.stderr == f"diptych: note: {path}: its transparent parts are shown on white\n"


def test_folders_and_globs(tmp_path: Path, codec_file: Path) -> None:
    for name in ("in/a.png", "in/deep/b.jpg", "more/c1.bmp", "more/c2.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(20, 10).save(tmp_path / name)
    encoded = run("encode", tmp_path / "in", tmp_path / "more/c*", "-o", tmp_path / "out", "--model", codec_file)
    assert encoded.exit_code == 0
    assert names(tmp_path / "out") == {"a.dip", "deep/b.dip", "c1.dip", "c2.dip"}
    assert len(encoded.stdout.splitlines()) == 4

    assert run("decode", tmp_path / "out", "-o", f"{tmp_path}/back/", "--model", codec_file).exit_code == 0
    assert names(tmp_path / "back") == {"a.png", "deep/b.png", "c1.png", "c2.png"}


def test_failures_among_many_files_are_named_at_the_end(tmp_path: Path, photo: Path, codec_file: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    result = run("encode", broken, tmp_path / "none.jpg", photo, "-o", tmp_path / "out", "--model", codec_file)
    assert result.exit_code == 1
    assert names(tmp_path / "out") == {"photo.dip"}
    assert result.stdout.count("\n") == 1
    first, second, last = result.stderr.splitlines()
    assert "broken.jpg: it is not a picture" in first
    assert "none.jpg: no such file" in second
    assert last == "diptych: error: 2 of 3 files failed"


def test_existing_files_are_kept_unless_told(photo: Path, codec_file: Path) -> None:
    target = photo.with_suffix(".dip")
    target.write_bytes(b"mine")
    assert "use --overwrite to replace it" in fails("encode", photo, "--model", codec_file)
    assert target.read_bytes() == b"mine"
    assert run("encode", photo, "--overwrite", "--model", codec_file).exit_code == 0
    assert target.read_bytes()[:3] == b"DIP"


@pytest.mark.parametrize("quality", ["-1", "100.5", "nan", "high"])
def test_quality_out_of_range(photo: Path, codec_file: Path, quality: str) -> None:
    line = fails("encode", photo, f"-q={quality}", "--model", codec_file, code=2)
    assert "--quality" in line
    assert names(photo.parent) == {"photo.png"}


@pytest.mark.parametrize("view", ["people", "1.5", "nan"])
def test_unknown_view(dip: Path, view: str) -> None:
    assert "--view" in fails("decode", dip, "--view", view, code=2)


def test_missing_and_unreadable_photos(tmp_path: Path, codec_file: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really a JPEG")
    assert "no such file" in fails("encode", tmp_path / "none.jpg", "--model", codec_file)
    assert "bad.jpg" in fails("encode", tmp_path / "bad.jpg", "--model", codec_file)
    assert names(tmp_path) == {"bad.jpg"}


def test_unwritable_folder(tmp_path: Path, photo: Path, codec_file: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    line = fails("encode", photo, "-o", tmp_path / "file.txt/x.dip", "--model", codec_file)
    assert "file.txt" in line
    assert names(tmp_path) == {"photo.png", "file.txt"}


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "empty"),
        (lambda data: data[:-7], "truncated"),
        (lambda data: data[:9], "truncated"),
        (flipped, "damaged"),
        (lambda data: data + b"x", "too many"),
        (lambda data: b"\x89PNG" + data, "not a .dip file"),
        (lambda data: data[:3] + b"\x09" + data[4:], "version"),
    ],
)
@pytest.mark.parametrize("command", ["decode", "info"])
def test_damaged_files(dip: Path, codec_file: Path, damage: object, message: str, command: str) -> None:
    dip.write_bytes(damage(dip.read_bytes()))  # type: ignore[operator]
    line = fails(command, dip, *(["--model", codec_file] if command == "decode" else []))
    assert message in line
    assert str(dip) in line
    assert names(dip.parent) == {"file.dip"}


def test_file_of_another_model(dip: Path, codec_file: Path) -> None:
    data = unpack(dip.read_bytes())
    dip.write_bytes(pack(data._replace(header=data.header._replace(model_id=b"none"))))
    assert "codec" in fails("decode", dip, "--model", codec_file)
    assert names(dip.parent) == {"file.dip"}


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 40])
def test_unusable_model(tmp_path: Path, photo: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert "weights.safetensors" in fails("encode", photo, "--model", path)
    assert not photo.with_suffix(".dip").exists()


def test_info_as_text_and_json(dip: Path, codec: Codec) -> None:
    text = run("info", dip)
    assert text.exit_code == 0
    assert "width           50" in text.stdout
    facts = json.loads(run("info", dip, "--json").stdout)
    length = dip.stat().st_size
    assert facts["bytes"] == length
    assert facts["bpp"] == pytest.approx(8 * length / (50 * 35))
    assert facts["model_id"] == codec.model_id.hex()
    assert sum(facts["payload_bytes"]) + facts["overhead_bytes"] == length
    assert facts["quality"] == 30


def test_info_of_many_files_is_a_line_each(dip: Path) -> None:
    dip.with_name("b.dip").write_bytes(dip.read_bytes())
    lines = run("info", dip.parent, "--json").stdout.splitlines()
    assert [Path(json.loads(line)["file"]).name for line in lines] == ["b.dip", "file.dip"]


def test_info_of_a_codec(codec_file: Path, codec: Codec) -> None:
    facts = json.loads(run("info", "--model", codec_file, "--json").stdout)
    assert facts.pop("model_id") == codec.model_id.hex()
    assert facts == pytest.approx(codec.complexity())


def test_info_of_nothing() -> None:
    assert "--model" in fails("info", code=2)


@pytest.mark.parametrize(
    "arguments", [["nope"], ["encode"], ["decode", "--nope", "x"], ["train", "pixel"], ["train", "nope", "x"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    fails(*arguments, code=2)


@pytest.mark.parametrize("arguments", [["train", "pixel", "x.yaml"], ["evaluate", "x.yaml"]])
def test_unusable_recipe(arguments: list[str]) -> None:
    fails(*arguments)


def test_missing_extra_is_named() -> None:
    with (
        pytest.raises(DiptychError, match=r"'no_such_package': pip install 'diptych\[train\]'"),
        extra("train"),
    ):
        import no_such_package  # noqa: F401


@pytest.mark.parametrize("arguments", [[], ["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_has_examples(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    if len(arguments) == 2:
        assert f"diptych {arguments[0]} " in result.stdout.partition("Examples")[2]


def test_version() -> None:
    assert run("--version").stdout == f"diptych {diptych.__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["--help"], ["encode", "--help"], ["decode", "--help"], ["codecs"], ["info"]])
def test_torch_is_not_imported(dip: Path, command: list[str]) -> None:
    program = """
import sys
from diptych.cli.main import app
try:
    app(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""
    arguments = [*command, str(dip)] if command == ["info"] else command
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_interrupt_leaves_no_partial_file(tmp_path: Path, codec_file: Path, codec: Codec) -> None:
    (tmp_path / "in").mkdir()
    for number in range(400):
        picture(64, 64, number).save(tmp_path / "in" / f"{number}.png")
    command = [sys.executable, "-m", "diptych", "encode", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--model", str(codec_file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < 400
    for path in written:
        codec.decode(path.read_bytes())


def test_package_offers_its_names() -> None:
    assert diptych.load is diptych.codec.codec.load
    assert set(diptych.__all__) <= {*dir(diptych), "Codec", "load"}
    with pytest.raises(AttributeError, match="nothing"):
        _ = diptych.nothing


def piped(*arguments: object, data: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with real standard streams."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
def test_dash_is_standard_input_and_output(tmp_path: Path, photo: Path, codec_file: Path, codec: Codec) -> None:
    model = ["--model", codec_file]
    wanted = codec.encode(picture(50, 35), 40)
    for arguments in (["-"], ["-", "-o", "-"], ["-", "-o", "/dev/stdout"], ["/dev/stdin", "-o", "-"]):
        made = piped("encode", *arguments, *model, data=photo.read_bytes(), cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        assert made.stdout == wanted
        assert b"50 x 35" in made.stderr
    assert piped("encode", photo, "-o", "-", *model, cwd=tmp_path).stdout == wanted
    assert piped("encode", "-", "-o", "x.dip", *model, data=photo.read_bytes(), cwd=tmp_path).returncode == 0
    assert (tmp_path / "x.dip").read_bytes() == wanted
    shown = piped("decode", "-", *model, data=wanted, cwd=tmp_path).stdout
    assert np.array_equal(np.asarray(Image.open(BytesIO(shown))), np.asarray(codec.decode(wanted, "human")))
    assert names(tmp_path) == {"photo.png", "x.dip"}


@pytest.mark.slow
def test_dash_as_a_file_name_and_what_it_cannot_be(tmp_path: Path, photo: Path, codec_file: Path) -> None:
    model = ["--model", codec_file]
    assert piped("encode", photo, "-o", "./-", *model, cwd=tmp_path).returncode == 0
    assert (tmp_path / "-").is_file()
    bad = piped("encode", "-", *model, data=b"nothing", cwd=tmp_path)
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert b"cannot read -: it is not a picture" in bad.stderr
    assert piped("encode", "-", "--manifest", "m.jsonl", *model, cwd=tmp_path).returncode == 2
    assert b"stands alone" in piped("encode", "-", photo, *model, cwd=tmp_path).stderr


def test_a_full_standard_output_is_told(photo: Path, codec_file: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "diptych", "encode", str(photo), "-o", "-", "--model", str(codec_file)]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert b"no space left on device" in result.stderr.lower()
    assert b"Traceback" not in result.stderr


def test_clashes_cost_themselves_alone(tmp_path: Path, codec_file: Path) -> None:
    shots = tmp_path / "shots"
    shots.mkdir()
    for name in ("1.jpg", "1.png", "2.jpg", "3.jpg", "3.png"):
        picture(30, 20).save(shots / name)
    result = run("encode", shots, "-o", tmp_path / "out", "--model", codec_file)
    assert result.exit_code == 1
    assert names(tmp_path / "out") == {"2.dip"}
    first, second = result.stderr.splitlines()
    assert first.startswith(f"diptych: error: both {shots / '1.jpg'} and {shots / '1.png'} would become")
    assert "3.dip; name a folder above them, or one at a time with a name of its own (-o)" in second


def test_links_to_one_file_are_coded_under_each_name(tmp_path: Path, codec_file: Path) -> None:
    picture(30, 20).save(tmp_path / "blob.png")
    (tmp_path / "snap").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "snap" / f"{name}.png").symlink_to("../blob.png")
    manifest = tmp_path / "m.jsonl"
    result = run("encode", tmp_path / "snap", "-o", tmp_path / "out", "--manifest", manifest, "--model", codec_file)
    assert result.exit_code == 0
    assert names(tmp_path / "out") == {"a.dip", "b.dip", "c.dip"}
    assert len(manifest.read_text().splitlines()) == 3


def test_nothing_in_a_folder_is_left_out_in_silence(tmp_path: Path, codec_file: Path) -> None:
    phone = tmp_path / "phone"
    phone.mkdir()
    picture(30, 20).save(phone / "a.jpg")
    for name in ("b.NEF", "c.exr", "d.txt"):
        (phone / name).write_bytes(b"x")
    result = run("encode", phone, "-o", tmp_path / "out", "--model", codec_file)
    assert result.exit_code == 1
    assert names(tmp_path / "out") == {"a.dip"}
    note, *errors = result.stderr.splitlines()
    assert note == "diptych: note: 1 file was left out: d.txt (no pictures by their names)"
    assert len(errors) == 2
    assert "1 file was left out: b.NEF (NEF is a camera raw file, which is not read" in errors[0]
    assert errors[1] == "diptych: error: 1 file was left out: c.exr (EXR is not read)"


@pytest.mark.slow
def test_heic_and_jxl_are_named_without_their_plugins(tmp_path: Path, codec_file: Path) -> None:
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "c.jxl").write_bytes(b"\xff\x0arubbish")
    (tmp_path / "d.jpg").write_bytes((tmp_path / "b.HEIC").read_bytes())
    program = (
        "import sys; sys.modules['pillow_heif'] = sys.modules['pillow_jxl'] = None\n"
        "from diptych.cli.main import app; app()"
    )

    def without(*arguments: object) -> str:
        command = [sys.executable, "-c", program, *map(str, arguments), "--model", str(codec_file)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 1
        return result.stderr

    said = without("encode", tmp_path)
    assert "1 file was left out: b.HEIC (HEIC is read with pip install 'diptych[heic]')" in said
    assert "1 file was left out: c.jxl (JPEG XL is read with pip install 'diptych[jxl]')" in said
    for name, extra_name in (("b.HEIC", "heic"), ("c.jxl", "jxl"), ("d.jpg", "heic")):
        assert f"pip install 'diptych[{extra_name}]'" in without("encode", tmp_path / name)


def test_the_bpp_of_a_region_is_that_of_the_file(dip: Path, codec_file: Path) -> None:
    bpp = 8 * dip.stat().st_size / (50 * 35)
    result = run("decode", dip, "--region", "0,0,8,8", "--model", codec_file)
    assert f"8 x 8 of 50 x 35, {dip.stat().st_size} bytes, {bpp:.3f} bpp" in result.stdout


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "-1", "x"])
@pytest.mark.parametrize("option", ["-q", "--bpp", "--target-size", "--optimize", "--jobs"])
def test_numbers_that_are_none_are_refused(photo: Path, option: str, number: str) -> None:
    fails("encode", photo, option, number, code=2)
    assert names(photo.parent) == {"photo.png"}


@pytest.mark.parametrize("region", ["0,0,8", "0,0,1e3,8", "nan,0,8,8", "-1,0,8,8"])
def test_regions_that_are_none_are_refused(dip: Path, region: str) -> None:
    fails("decode", dip, "--region", region, code=2)


def test_a_region_of_huge_numbers_is_outside(dip: Path, codec_file: Path) -> None:
    assert "is not inside" in fails("decode", dip, "--region", f"0,0,{10**30},8", "--model", codec_file)
