import os
import re
import subprocess
import sys

import pytest

from diptych.io.progress import progress

ON_A_TERMINAL = """
from diptych.io.progress import progress
with progress(3, "files", done=1) as advance:
    advance("half")
    advance()
print("over")
"""


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(3, "photos", every=0) as advance:
        for _ in range(3):
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"photos: {n} of 3" for n in (1, 2, 3)]
    assert lines[-1].endswith("0 s left")


def test_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(100, "photos", every=60) as advance:
        for _ in range(100):
            advance()
    assert re.fullmatch(r"photos: 100 of 100, (\S+/s, )?0 s left\n", capsys.readouterr().err)


def test_nothing_where_nobody_asked_for_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2, "photos") as advance:
        advance("note")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal_and_nothing_of_it_on_stdout() -> None:
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    program = [sys.executable, "-c", ON_A_TERMINAL]
    ended = subprocess.run(program, stderr=theirs, stdout=subprocess.PIPE, text=True, env=environment, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert ended.stdout == "over\n"
    assert "files" in shown
    assert "3/3" in shown
    assert "half" in shown
