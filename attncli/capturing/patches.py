"""Replaced functions of Transformers. They act only for the capture of the running thread and task.

A replacement lies where all threads find it, so it asks `current_capture` at every call and otherwise does what the
original does. Several captures may run at once: the first installs a replacement, the last restores the original.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakKeyDictionary

from torch import nn


class Capture(Protocol):
    """A capture of one model."""

    @property
    def running(self) -> bool:
        """Whether this thread runs a module of the captured model."""


_CAPTURE: ContextVar[Capture | None] = ContextVar("attncli_capture", default=None)
_installed: dict[Hashable, tuple[int, Callable[[], None]]] = {}
"""For each replacement: how many captures use it, and how it is undone."""


class _Locks:
    """The lock of `_installed`, and one for each model that is captured."""

    def __init__(self) -> None:
        self.installed = threading.Lock()
        self.models: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


_locks_of_processes: dict[int, _Locks] = {}


def _locks() -> _Locks:
    """Return the locks of this process: those of its parent may be held by threads that a fork did not copy."""
    return _locks_of_processes.setdefault(os.getpid(), _Locks())


def current_capture() -> Capture | None:
    """Return the capture that the calling code belongs to; None for other models, threads and tasks."""
    capture = _CAPTURE.get()
    return capture if capture is not None and capture.running else None


@contextmanager
def capturing(capture: Capture | None) -> Iterator[None]:
    """Make a capture the current one inside the `with` block; None for code that belongs to no capture."""
    token = _CAPTURE.set(capture)
    try:
        yield
    finally:
        _CAPTURE.reset(token)


@contextmanager
def only_capture_of(model: nn.Module) -> Iterator[None]:
    """Wait until no other thread captures this model."""
    locks = _locks()
    with locks.installed:
        lock = locks.models.setdefault(model, threading.RLock())
    with lock:
        yield


@contextmanager
def installed(key: Hashable, install: Callable[[], Callable[[], None]]) -> Iterator[None]:
    """Keep a replacement installed inside the `with` block.

    key      identifies the replacement
    install  installs it and returns the function that restores the original
    """
    with _locks().installed:
        users, undo = _installed[key] if key in _installed else (0, install())
        _installed[key] = users + 1, undo
    try:
        yield
    finally:
        with _locks().installed:
            users, undo = _installed.pop(key)
            if users > 1:
                _installed[key] = users - 1, undo
            else:
                undo()
