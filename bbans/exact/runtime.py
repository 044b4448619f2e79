"""Running networks on this machine: the first backend that computes a model exactly, and the cores there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from bbans.errors import InexactBackendError, ModelError
from bbans.exact.backends import BACKENDS
from bbans.exact.selfcheck import Network

AnyNetwork = TypeVar("AnyNetwork", bound=Network)


def first_exact(id: str, digest: str, build: Callable[[str], AnyNetwork], device: str, backend: str | None) -> AnyNetwork:
    """The network of a model on the first backend that computes it exactly.

    Args:
        id: of the model, for error messages.
        digest: what the network's digest must be.
        build: backend -> network.
        device: decides which backends are tried, in which order.
        backend: the only one to try; None for all of the device.
    Raises:
        InexactBackendError: none of them gives the digest.
        ModelError: none of them runs at all.
    """
    if device not in BACKENDS:
        raise ModelError(f"the model '{id}' cannot run on the device '{device}': there are {', '.join(BACKENDS)}")
    tried = (backend,) if backend else BACKENDS[device]
    failures: list[Exception] = []
    for name in tried:
        try:
            network = build(name)
            if network.digest() == digest:
                return network
        except (RuntimeError, AssertionError) as error:  # torch's, for a missing device
            failures.append(error)
    if len(failures) == len(tried):
        raise ModelError(f"the model '{id}' cannot run on the device '{device}': {str(failures[-1]).splitlines()[0]}") from None
    raise InexactBackendError(
        f"none of {', '.join(tried)} gives the digest of the model '{id}': this machine does not compute it exactly, "
        "or its weight file was changed"
    )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
