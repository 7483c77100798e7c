"""The few error types of picscribe: each says what was wrong, with which input, and what to do."""


class PicscribeError(Exception):
    """Base of every error that picscribe raises on purpose; its text is fit to show to a user."""


class ConfigurationError(PicscribeError):
    """An option, a recipe or a configuration that cannot be used as given."""


class CheckpointError(PicscribeError):
    """A checkpoint that is missing, incomplete, damaged or of another shape than its configuration says."""


class InputError(PicscribeError):
    """A photo, video, text or data file that cannot be used; it fails alone."""


class MissingPackageError(PicscribeError):
    """An optional package that this job needs; the text says what to install."""


class Cancelled(PicscribeError):
    """A task that its caller called off before it was done."""
