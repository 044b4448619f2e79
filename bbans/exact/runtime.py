"""Networks on this machine: the first backend that computes a model exactly, and torch as coding needs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from bbans.errors import InexactBackendError, ModelError
from bbans.exact.backends import BACKENDS


class _Network(Protocol):
    def digest(self) -> str: ...


Network = TypeVar("Network", bound=_Network)


def first_exact(id: str, digest: str, build: Callable[[str], Network], device: str, backend: str | None) -> Network:
    """The network of a model on the first backend that gives its digest, or on the one asked for.

    Args:
        id: the model's, for messages.
        build: makes the network for a backend.
    Raises: InexactBackendError; ModelError.
    """
    tried = (backend,) if backend else BACKENDS["cuda" if device.startswith("cuda") else "cpu"]
    failures: list[Exception] = []
    with coding():
        for name in tried:
            try:
                network = build(name)
                if network.digest() == digest:
                    return network
            except (RuntimeError, AssertionError) as error:  # what torch raises for a device or an operator that is not there
                failures.append(error)
    if len(failures) == len(tried):
        raise ModelError(f"the model '{id}' cannot run on the device '{device}': {str(failures[-1]).splitlines()[0]}") from None
    raise InexactBackendError(
        f"none of {', '.join(tried)} gives the digest of the model '{id}': this machine does not compute it exactly, "
        "or its weight file is not as it was made"
    )


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def own_thread() -> Iterator[None]:
    """Torch in a thread of ours, within `coding`."""
    torch.get_num_threads()  # makes torch's number this thread's too: else oneDNN would start a team of OpenMP's here
    with torch.inference_mode():  # of this thread
        yield


_torch_threads_lock = threading.Lock()
_torch_threads_users = 0
_torch_threads_before = 1


@contextmanager
def coding() -> Iterator[None]:
    """Torch as coding needs it: no gradients, no rounding by a caller's autocast, and one thread, as the networks have their own
    (see PhotoNetwork). The number of threads is the whole process's: it comes back when the last of several calls ends."""
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
