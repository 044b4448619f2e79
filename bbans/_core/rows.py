"""The filters of a PNG, and how they are undone. rows.c has the loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bbans._core.library import U8, Integer, checked, function

Bytes = npt.NDArray[np.uint8]

FILTERS = 5
"""None, sub, up, average and Paeth."""

LEAST_RESIDUALS = 6
"""In place of a filter: the one with the least sum of absolute residuals."""

_filter_rows = function("filter_rows", U8, Integer, Integer, Integer, U8, U8, U8)
_unfilter_rows = function("unfilter_rows", U8, Integer, Integer, Integer, U8, U8)


def filter_rows(rows: Bytes, step: int, above: Bytes, filters: Bytes) -> Bytes:
    """Filtered rows (H, 1 + B) of rows (H, B); `above` (B,) is the row before them, `filters` (H,) has one for each.

    Inverse: unfilter_rows. Raises: ValueError: a filter that does not exist, or shapes that do not fit together.
    """
    if rows.ndim != 2 or above.shape != rows.shape[1:] or filters.shape != rows.shape[:1]:
        raise ValueError(f"{above.shape} is not the row above rows {rows.shape}, or {filters.shape} not their filters")
    out = np.empty((len(rows), 1 + len(above)), np.uint8)
    checked(_filter_rows(rows, *rows.shape, step, above, filters, out))
    return out


def unfilter_rows(filtered: Bytes, step: int, above: Bytes) -> Bytes:
    """The rows (H, B) of filtered rows (H, 1 + B); `above` (B,) is the row before them. Inverse: filter_rows.

    Raises: ValueError: a filter that does not exist, or shapes that do not fit together.
    """
    if filtered.ndim != 2 or above.shape != (filtered.shape[1] - 1,):
        raise ValueError(f"{above.shape} is not the row above filtered rows {filtered.shape}")
    out = np.empty((len(filtered), len(above)), np.uint8)
    checked(_unfilter_rows(filtered, *out.shape, step, above, out))
    return out
