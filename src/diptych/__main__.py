"""``python -m diptych``: the same as the command ``diptych``."""

from diptych.cli.main import app

if __name__ == "__main__":  # worker processes import this module under another name
    app(prog_name="diptych")
