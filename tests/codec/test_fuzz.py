"""The fuzzer of benchmarks/fuzz.py: a short run of it, and that it would notice."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from diptych.bitstream import Decoder, pack, unpack
from diptych.codec.codec import Codec
from samples import picture


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("resource", reason="the fuzzer is for POSIX systems")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("fuzz")


def test_mutated_files_are_refused_or_read_as_they_are(codec: Codec, fuzz: ModuleType) -> None:
    fuzzer = fuzz.Fuzzer(codec, fuzz.make_originals(codec), seed=1)
    judged = [fuzzer.judge(number) for number in range(300)]
    assert [file for file in judged if file.violation()] == []
    assert {file.verdict for file in judged} == set(fuzz.FINE)
    assert fuzzer.judge(17).data == judged[17].data


def test_checksums_are_made_right(codec: Codec, fuzz: ModuleType) -> None:
    mutations = importlib.import_module("mutations")
    for original in fuzz.make_originals(codec):
        assert mutations.sealed(original.data) == original.data
        tile = unpack(original.data).payloads[0]
        damaged = original.data.replace(tile, bytes(len(tile)), 1) if tile else original.data
        assert unpack(mutations.sealed(damaged)).payloads[0] == bytes(len(tile))


def refuse_to_close(decoder: Decoder) -> None:
    raise IndexError("no such thing")


def test_violations_are_noticed(codec: Codec, fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode(picture(40, 30), 50)
    container = unpack(data)
    longer = pack(container._replace(payloads=[container.payloads[0] + b"\1"]))
    fuzzer = fuzz.Fuzzer(codec, [fuzz.Original(data, fuzz.hash_of(codec, data))], 0)
    assert fuzzer.verdict(data, False) == "original"
    assert fuzzer.verdict(longer, True) == "refused"

    wrong = fuzz.Fuzzer(codec, [fuzz.Original(data, "another hash")], 0)
    assert wrong.verdict(data, False) == "an original was read differently"
    monkeypatch.setattr(Decoder, "close", refuse_to_close)
    assert fuzzer.verdict(data, False) == "IndexError: no such thing"
    monkeypatch.setattr(Decoder, "close", lambda decoder: None)
    assert fuzzer.verdict(longer, False) == "a changed file was accepted"
