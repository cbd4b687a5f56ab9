"""Which photos are trained on, and which are kept back to choose between checkpoints."""

import hashlib
from typing import Literal

Split = Literal["all", "train", "validation"]

FRACTION = 0.05
"""Part of the photos that is kept back."""


def in_validation(file_name: str, fraction: float = FRACTION) -> bool:
    """Whether a photo belongs to the validation part, decided by a hash of its name alone."""
    digest = hashlib.sha256(file_name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") < fraction * 2**32


def in_split(file_name: str, split: Split, fraction: float = FRACTION) -> bool:
    """Whether a photo belongs to ``split``."""
    return split == "all" or in_validation(file_name, fraction) == (split == "validation")
