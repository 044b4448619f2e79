"""What the core looks up, as one structure."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bbans import tables
from bbans._core.library import I16, I32, I64, Structure, fields


class Tables(Structure):
    """distributions.h has its twin."""

    FIELDS: ClassVar = {
        **dict.fromkeys(("logistic", "exponentials", "inverse_scales"), I32),
        "log2": I64,
        **dict.fromkeys(("spreads", "energies", "factors"), I32),
        "logarithms": I16,
    }
    _fields_ = fields(FIELDS)


def core_tables(*adaptive: npt.NDArray[np.int64]) -> Tables:
    """The tables of `bbans.tables`, and for the photo model's loops those of its adaptive stage."""
    made = {
        "logistic": tables.logistic_table(),
        "exponentials": tables.exp_table(),
        "inverse_scales": tables.inverse_scales(),
        "log2": tables.log2_table(),
        **dict(zip(("spreads", "energies", "factors", "logarithms"), adaptive, strict=False)),
    }
    return Tables(**{name: np.ascontiguousarray(table, Tables.FIELDS[name].dtype) for name, table in made.items()})
