"""Lossless image compression by bits-back coding with exact integer networks.

>>> from pathlib import Path
>>> import bbans
>>> png = Path("cli/samples/valley.png").read_bytes()
>>> packed = bbans.compress(png, mode="stored").data
>>> bbans.inspect(packed).mode, bbans.decompress(packed).format
('stored', 'PNG')

`import bbans` is cheap: numpy, Pillow, numba and torch are loaded by the first call that needs them.
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from bbans.api import Model, compress, decompress, inspect, load_model
    from bbans.results import Info, Restored, Result

__version__ = "0.1.0"

__all__ = [
    "compress",
    "decompress",
    "inspect",
    "load_model",
    "Model",
    "Info",
    "Restored",
    "Result",
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from bbans import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
