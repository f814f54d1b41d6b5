"""Signals that end a process, its standard streams and its garbage: a killed program unwinds as Ctrl-C ends it."""

import gc
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a program to end; Windows has no SIGHUP."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the program; `signal` is its number."""

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal


def interruption(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of a program that was interrupted."""
    number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return f"interrupted{by}; the files that were written are complete", 128 + number


def raise_on_signals() -> dict[int, Any]:
    """Let SIGTERM and SIGHUP raise `Interrupted`, unless they are ignored or handled; return the former handlers."""
    former: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                former[number] = signal.signal(number, _raise)
    return former


def restore_signals(former: dict[int, Any]) -> None:
    """Undo `raise_on_signals`."""
    for number, handler in former.items():
        signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore further signals that ask the program to end, because it is ending."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def _raise(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def repeat_lost_interrupts() -> None:
    """Send a signal again if Python drops what it raised, as it does in callbacks of the garbage collector."""
    report = sys.unraisablehook

    def send_again(unraisable: Any) -> None:
        if isinstance(error := unraisable.exc_value, KeyboardInterrupt):
            number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
            # later, in another place: here the error would be dropped again
            timer = threading.Timer(0.01, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()
        else:
            report(unraisable)

    sys.unraisablehook = send_again


def occupy_closed_descriptors() -> None:
    """Open the null device as each standard stream that is closed, so that no other file gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def collect_garbage_rarely() -> None:
    """Let Python search for unused objects less often: imports make a million objects and leave hardly any unused."""
    gc.set_threshold(100_000, 20, 100)


def end_without_search() -> None:
    """Spare Python the search for unused objects when the process ends: the system takes all memory back."""
    gc.freeze()
