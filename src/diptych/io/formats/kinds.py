"""Which files are pictures, and which of these are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple

from diptych.io.places import Name

_READ = """
    .apng .avif .avifs .bmp .dib .gif .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .mpo
    .pbm .pfm .pgm .png .pnm .ppm .qoi .tga .tif .tiff .webp
"""
_HEIC = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_JXL = frozenset({".jxl"})
_RAW = """
    .3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw
    .rw2 .rwl .sr2 .srf .srw .x3f
"""
_OTHERS = """
    .ai .bpg .cur .dds .eps .exr .fits .flif .hdr .icns .jbig .jls .jxr .kra .mng .pam .pcd .pcx .pic .pict .psb
    .psd .ras .rgb .sgi .svg .svgz .wbmp .wdp .wmf .xbm .xcf .xpm
"""
READS = frozenset(_READ.split())
"""Suffixes of the files taken from a folder, those of installed plug-ins among them; a file named by itself may
have any."""
READS |= _HEIC if find_spec("pillow_heif") else frozenset()
READS |= _JXL if find_spec("pillow_jxl") else frozenset()


def why_unread(suffix: str) -> str | None:
    """Why files with this lower-case suffix are not read though they are pictures; None for others."""
    if suffix in READS:
        return None
    name = suffix[1:].upper()
    if suffix in _HEIC:
        return f"{name} is read with pip install 'diptych[heic]'"
    if suffix in _JXL:
        return "JPEG XL is read with pip install 'diptych[jxl]'"
    if suffix in _RAW.split():
        return f"{name} is a camera raw file, which is not read: export a JPEG or TIFF file from it"
    return f"{name} is not read" if suffix in _OTHERS.split() else None


class LeftOut(NamedTuple):
    """What is said of files that were left out, a sentence each without a full stop.

    Attributes:
        pictures: that are not read, by reason.
        others: that are no pictures by their names.
    """

    pictures: list[str]
    others: list[str]


SHOWN = 5
"""Names that stand in a sentence; the rest is counted."""


def left_out(paths: Iterable[Name]) -> LeftOut:
    """Sentences on files with suffixes that are not in :data:`READS`; ``.dip`` files need none."""
    reasons: dict[str, list[str]] = {}
    others: list[str] = []
    links: list[str] = []
    for path in paths:
        suffix = path.suffix.lower()
        why = why_unread(suffix)
        if os.path.isdir(path):
            links.append(path.name)
            continue
        if why:
            reasons.setdefault(why, []).append(path.name)
        elif suffix != ".dip":
            others.append(path.name)
    notes = {"no pictures by their names": others, "links to folders that are searched anyway": links}
    return LeftOut(
        [f"{_counted(names)} ({why})" for why, names in reasons.items()],
        [f"{_counted(names)} ({why})" for why, names in notes.items() if names],
    )


def _counted(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN]) + (" and others" if len(names) > SHOWN else "")
    return f"{len(names):,} {'file was' if len(names) == 1 else 'files were'} left out: {shown}"


_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def why_unknown(head: bytes, suffix: str) -> str:
    """Why a file that Pillow does not know cannot be read, by its first bytes and its lower-case suffix."""
    if head[4:8] == b"ftyp" and head[8:12] == b"crx ":
        suffix = ".cr3"
    elif head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        suffix = ".heic"
    elif head.startswith(b"\xff\x0a") or head[4:8] == b"JXL ":
        suffix = ".jxl"
    return why_unread(suffix) or "it is not a picture, or of an unknown kind"
