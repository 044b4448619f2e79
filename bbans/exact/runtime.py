"""Running networks on this machine: the first backend that computes a model exactly, and torch as coding needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

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
    tried = (backend,) if backend else BACKENDS["cuda" if device.startswith("cuda") else "cpu"]
    failures: list[Exception] = []
    with coding():
        for name in tried:
            try:
                network = build(name)
                if network.digest() == digest:
                    return network
            except (RuntimeError, AssertionError) as error:  # torch's, for a missing device or operator
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


@contextmanager
def own_thread() -> Iterator[None]:
    """Torch in a thread of our own, within `coding`: inference mode and the number of threads belong to each thread."""
    torch.get_num_threads()  # sets torch's number for this thread, else oneDNN would start a team of OpenMP threads here
    with torch.inference_mode():
        yield


_torch_threads_lock = threading.Lock()
_torch_threads_users = 0
_torch_threads_before = 1


@contextmanager
def coding() -> Iterator[None]:
    """Torch as coding needs it: no gradients, no autocast of the caller's, and one thread, as coders have threads of their own.

    The number of torch's threads belongs to the whole process: it is restored when the last of several concurrent calls ends.
    """
    global _torch_threads_users, _torch_threads_before
    with _torch_threads_lock:
        if _torch_threads_users == 0:
            _torch_threads_before = torch.get_num_threads()
            torch.set_num_threads(1)
        _torch_threads_users += 1
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        with _torch_threads_lock:
            _torch_threads_users -= 1
            if _torch_threads_users == 0:
                torch.set_num_threads(_torch_threads_before)
