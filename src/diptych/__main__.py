"""``python -m diptych``: the same as the command ``diptych``."""

from diptych.cli import app

app(prog_name="diptych")
