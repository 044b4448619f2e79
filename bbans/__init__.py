"""Lossless image compression by bits-back coding with exact integer networks.

>>> import bbans
>>> packed = bbans.compress("cli/samples/valley.png", mode="stored")
>>> packed.info.method, packed.info.width, packed.info.height
('jxl', 480, 320)
>>> bbans.decompress(packed).array().shape
(320, 480, 3)

`bbans.load_model()` gives a model whose `compress` and `decompress` load nothing again; `bbans.pack` and `bbans.open_archive` put
many images into one file, or into the shards of a set.

`import bbans` is cheap: numpy, Pillow and the compiled core are loaded by the first call that needs them, and
sub-modules (`bbans.codecs`, `bbans.sets`, ...) when they are first named.
"""

import importlib
from typing import TYPE_CHECKING

from bbans.errors import (
    BbansError,
    CorruptDataError,
    FormatError,
    InexactBackendError,
    ModelError,
    ModelMismatchError,
    ModelMissingError,
    TrainingError,
    UnsupportedImageError,
    UnsupportedVersionError,
    VerifyError,
)

__version__ = "0.1.0"

__all__ = [
    "compress",
    "decompress",
    "inspect",
    "load_model",
    "pack",
    "open_archive",
    "Model",
    "Result",
    "Restored",
    "Info",
    "BbansError",
    "UnsupportedImageError",
    "FormatError",
    "CorruptDataError",
    "UnsupportedVersionError",
    "ModelError",
    "ModelMissingError",
    "ModelMismatchError",
    "InexactBackendError",
    "TrainingError",
    "VerifyError",
    "__version__",
]

if TYPE_CHECKING:
    from bbans import ans as ans
    from bbans import api as api
    from bbans import bitsback as bitsback
    from bbans import codecs as codecs
    from bbans import combinators as combinators
    from bbans import craystack as craystack
    from bbans import exact as exact
    from bbans import formats as formats
    from bbans import images as images
    from bbans import models as models
    from bbans import montecarlo as montecarlo
    from bbans import results as results
    from bbans import sets as sets
    from bbans import shards as shards
    from bbans import tables as tables
    from bbans.api import Model, compress, decompress, inspect, load_model
    from bbans.results import Info, Restored, Result
    from bbans.shards import open_archive, pack
else:
    _HOMES = {
        "compress": "api",
        "decompress": "api",
        "inspect": "api",
        "load_model": "api",
        "Model": "api",
        "Result": "results",
        "Restored": "results",
        "Info": "results",
        "pack": "shards",
        "open_archive": "shards",
    }

    def __getattr__(name: str) -> object:
        """A public name or a sub-module, imported when it is first named."""
        if name in _HOMES:
            value = getattr(importlib.import_module(f"bbans.{_HOMES[name]}"), name)
            globals()[name] = value
            return value
        if not name.startswith("_"):
            try:
                return importlib.import_module(f"bbans.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"bbans.{name}":
                    raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
