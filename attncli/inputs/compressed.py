"""Files that may be compressed as .gz or .zst, opened as the bytes that they hold."""

import gzip
import importlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from attncli.errors import UsageError
from attncli.inputs.text_files import check_regular

COMPRESSIONS = (".gz", ".zst")
_CHUNK = 1 << 15
_AGAIN = "copy or compress it again"


def compression(path: Path) -> str:
    """Return `.gz` or `.zst` if a file has such a name, else "".

    >>> compression(Path("a.jsonl.GZ")), compression(Path("a.jsonl"))
    ('.gz', '')
    """
    suffix = path.suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""


def inner_suffix(path: Path) -> str:
    """Return the suffix of a file in small letters, without the one of its compression.

    >>> inner_suffix(Path("a.JSONL.gz")), inner_suffix(Path("a.csv")), inner_suffix(Path("a.gz"))
    ('.jsonl', '.csv', '')
    """
    return Path(path.stem if compression(path) else path.name).suffix.lower()


def open_content(path: Path) -> IO[bytes]:
    """Return the content of a file, decompressed; a compressed one is also sought by reading, forward cheaply."""
    check_regular(path)
    if compression(path) == ".gz":
        return cast(IO[bytes], gzip.GzipFile(path, "rb"))
    if compression(path) == ".zst":
        return io.BufferedReader(_ZstdContent(path), _CHUNK)
    return path.open("rb")


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Raise UsageError in the place of errors of a file that cannot be read, or is cut off or damaged."""
    try:
        yield
    except EOFError as error:
        raise UsageError(f"{path} is cut off, its {compression(path)} data has no end: {_AGAIN}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} is damaged or not .gz data ({error}): {_AGAIN}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


class _ZstdContent(io.RawIOBase):
    """The content of a .zst file of any number of frames; EOFError if the last frame has no end."""

    def __init__(self, path: Path) -> None:
        self._path, (self._decompressor, self._error) = path, _zstd(path)
        self._file = path.open("rb")
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(0)
        self._frame: Any = None
        self._content, self._position, self._frames = memoryview(b""), 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position by reading up to it, from the start if it has passed."""
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._rewind()
        buffer = memoryview(bytearray(_CHUNK))
        while self._position < target and self.readinto(buffer[: target - self._position]):
            pass
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return the number of bytes, 0 at the end."""
        while not self._content and self._decompress():
            pass
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content, self._position = self._content[count:], self._position + count
        return count

    def _decompress(self) -> bool:
        """Decompress the next piece of the file; return whether there was one."""
        data = b"" if self._frame is None else self._frame.unused_data
        data = data or self._file.read(_CHUNK)
        if not data:
            if (self._frame is not None and not self._frame.eof) or not self._frames:
                raise EOFError
            return False
        if self._frame is None or self._frame.eof:
            self._frame, self._frames = self._decompressor(), self._frames + 1
        try:
            self._content = memoryview(self._frame.decompress(data))
        except self._error as error:
            raise UsageError(f"{self._path} is damaged or not .zst data ({error}): {_AGAIN}") from error
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _zstd(path: Path) -> tuple[Any, type[Exception]]:
    """Return what makes a decompressor of one frame, and its error: of Python from 3.14 on, else of zstandard."""
    with suppress(ImportError):
        zstd: Any = importlib.import_module("compression.zstd")
        return zstd.ZstdDecompressor, zstd.ZstdError
    try:
        import zstandard
    except ImportError as error:
        raise UsageError(f'{path} needs zstandard: pip install "attncli[zst]"') from error
    return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
