import pytest

from diptych.io.progress import progress


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(3, every=0) as advance:
        for _ in range(3):
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"evaluated {n} of 3 photos" for n in (1, 2, 3)]
    assert lines[-1].endswith("0 s left")


def test_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(100) as advance:
        for _ in range(100):
            advance()
    assert capsys.readouterr().err == "evaluated 100 of 100 photos, 0 s left\n"
