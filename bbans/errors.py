"""Every exception that bbans raises on purpose.

::

    BbansError
    ├── UnsupportedImageError        a picture that would lose something, or no picture at all
    ├── FormatError                  bytes that are not a file of ours, as far as this version can tell
    │   ├── CorruptDataError         a file of ours that is damaged: a check failed or a message ran dry
    │   └── UnsupportedVersionError  a file of ours from a newer version
    ├── ModelError                   the networks cannot be used
    │   ├── ModelMissingError        the file names a model that is not installed
    │   ├── ModelMismatchError       a model of that id is here, but its weights are others
    │   └── InexactBackendError      no backend of this machine reproduces the integer networks
    ├── TrainingError                a training run cannot start or go on: its pictures, its checkpoint, its loss
    └── VerifyError                  what was encoded did not decode to the same picture

A message says what was expected, what there is instead, and what to do about it. The command puts the name of the file before it.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class BbansError(Exception):
    """Base of every error of this library."""


class UnsupportedImageError(BbansError):
    """The picture cannot be kept exactly, or the bytes are no picture."""


class FormatError(BbansError):
    """The bytes are not a file or message of ours."""


class CorruptDataError(FormatError):
    """A file or message of ours is damaged or cut short."""


class UnsupportedVersionError(FormatError):
    """A file of ours, written by a newer version of the format."""


class ModelError(BbansError):
    """The model cannot be loaded or used."""


class ModelMissingError(ModelError):
    """The file needs a model that is not installed."""


class ModelMismatchError(ModelError):
    """The installed weights of that model id are not the ones the file was written with."""


class InexactBackendError(ModelError):
    """No arithmetic backend on this machine passes the model's self-check."""


class TrainingError(BbansError):
    """A training run cannot start or go on."""


class VerifyError(BbansError):
    """Decoding what was just encoded gave something else. Nothing was written."""


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Within this context, the messages of our errors begin with the name of a file."""
    try:
        yield
    except BbansError as error:
        if str(error).startswith(f"{file}: "):
            raise
        raise type(error)(f"{file}: {error}") from error
