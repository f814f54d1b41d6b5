"""The standard streams of a command: one that is closed, full or limited to ASCII ends in no traceback."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from attncli.errors import OutputError


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Return a context in which stdout raises `OutputError` if it cannot be written, and stderr drops such messages.

    Both escape characters that their encoding lacks. `BrokenPipeError` of stdout stays: its reader has gone away.
    """
    stdout, stderr = _SafeStream(sys.stdout, _refuse), _SafeStream(sys.stderr, lambda error: None)
    with contextlib.ExitStack() as stack:
        for stream in (stdout, stderr):
            stack.enter_context(_escapes(stream))
            stack.callback(stream.settle)
        stack.enter_context(contextlib.redirect_stdout(cast(TextIO, stdout)))
        stack.enter_context(contextlib.redirect_stderr(cast(TextIO, stderr)))
        yield


def write_utf8(stream: TextIO, text: str) -> None:
    """Write data as UTF-8 whatever the locale is; file names keep their bytes."""
    if isinstance(stream, _SafeStream):
        stream.write_encoded(text.encode("utf-8", "surrogateescape"))
    else:
        stream.write(text)
    stream.flush()


def silence(stream: TextIO) -> None:
    """Discard everything that is still written to a stream that cannot be written any more, also at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOTSUP, None):
            raise


def _refuse(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    reason = error.strerror or str(error)
    raise OutputError(f"cannot write to stdout: {reason}; send it to another file or program") from error


class _SafeStream:
    """A text stream whose errors of writing go to `refused`; after the first it discards what is written."""

    def __init__(self, stream: TextIO | None, refused: Callable[[OSError], None]) -> None:
        is_open = stream is not None and not stream.closed
        self._stream = cast(TextIO, stream) if is_open else cast(TextIO, _ClosedStream())
        self._refused = refused

    def write(self, text: str) -> int:
        with self._errors():
            self._stream.write(text)
        return len(text)

    def write_encoded(self, data: bytes) -> None:
        """Write bytes, or text to a stream that has none."""
        with self._errors():
            self._stream.flush()
            if (buffer := getattr(self._stream, "buffer", None)) is None:
                self._stream.write(data.decode("utf-8", "backslashreplace"))
            else:
                buffer.write(data)

    def flush(self) -> None:
        with self._errors():
            self._stream.flush()

    def settle(self) -> None:
        """Write what is buffered, or drop it, so that Python does not fail at exit."""
        with contextlib.suppress(OSError):
            self.flush()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            silence(self._stream)
            self._refused(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _ClosedStream(io.TextIOBase):
    """What stands for a stream that the caller of the process has closed."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        if text:
            raise OSError(errno.EBADF, "it is closed")
        return 0


@contextlib.contextmanager
def _escapes(stream: Any) -> Iterator[None]:
    """Return a context in which a stream writes characters that its encoding lacks as `\\u2026`."""
    former = getattr(stream, "errors", None)
    reconfigure = getattr(stream, "reconfigure", None)
    if former is None or reconfigure is None:
        yield
        return
    reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        reconfigure(errors=former)
