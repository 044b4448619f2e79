"""Every arithmetic that this processor has for integer layers: backends, and the variants of the native one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from bbans._core import convolution, images
from bbans._core.convolution import variants
from bbans.exact.backends import LAYERS, Cuda, Layer, layer_class
from bbans.exact.network import IntConv

ARITHMETICS = ("reference", "native", *(f"native, {variant}" for variant in variants()), "cuda")


def use(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Until the end of the test the backend, whose name is returned, computes by this variant; that for a GPU does on the CPU."""
    backend, _, variant = name.partition(", ")
    if variant:
        monkeypatch.setattr(convolution, "_BEST", variants()[variant])
        monkeypatch.setattr(images, "variants", lambda: {variant: variants()[variant]})
    if backend == "cuda":
        pytest.importorskip("torch")
        monkeypatch.setitem(LAYERS, backend, partial(Cuda, device="cpu"))
    return backend


def maker(name: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[IntConv], Layer]:
    """What makes layers of this arithmetic."""
    return layer_class(use(name, monkeypatch))
