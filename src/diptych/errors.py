"""The errors a user can meet. Every message is one sentence that says what is wrong and with which file."""


class DiptychError(Exception):
    """Base of all errors caused by input rather than by a defect of the program."""


class BitstreamError(DiptychError):
    """A ``.dip`` file is damaged, foreign, too new, or was written with another model."""


class PictureError(DiptychError):
    """A photo cannot be read or written."""


class ModelError(DiptychError):
    """A weights file is unusable or does not belong to the file being decoded."""


class RecipeError(DiptychError):
    """A recipe is missing, malformed or contradicts the data it names."""
