"""What is used where a user names nothing: files of the package, a quality, a view."""

from importlib import resources
from pathlib import Path

_PACKAGE = Path(str(resources.files("diptych")))
WEIGHTS = _PACKAGE / "weights"
CODEC = WEIGHTS / "codec.safetensors"
TASK = WEIGHTS / "task.safetensors"
CAT = _PACKAGE / "assets" / "chelsea.jpg"
QUALITY: float = 40
VIEW = "human"
