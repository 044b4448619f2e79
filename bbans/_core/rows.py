"""The filters of a PNG undone. rows.c has the loops; those that filter are in `bbans.images.rows`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bbans._core.library import U8, Integer, checked, function

_unfilter_rows = function("unfilter_rows", U8, Integer, Integer, Integer, U8, U8)


def unfilter_rows(filtered: npt.NDArray[np.uint8], step: int, above: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The rows (H, B) of filtered rows (H, 1 + B); `above` (B,) is the row before them.

    Raises: ValueError: a filter that does not exist, or shapes that do not fit together.
    """
    if filtered.ndim != 2 or above.shape != (filtered.shape[1] - 1,):
        raise ValueError(f"{above.shape} is not the row above filtered rows {filtered.shape}")
    out = np.empty((len(filtered), len(above)), np.uint8)
    checked(_unfilter_rows(filtered, *out.shape, step, above, out))
    return out
