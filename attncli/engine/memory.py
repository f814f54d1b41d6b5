"""Estimate the memory that a run will keep, and compare it with the free memory."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from attncli.data import Input, Kind, Selection, Zoom
from attncli.engine.windows import located
from attncli.errors import UsageError

_LARGE, _DENSE = 256 * 10**6, 100
"""Maps above this size, that take less than this part of it in their file, are probably no attention."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}


def parse_size(size: int | str | None, option: str = "--max-memory") -> int | None:
    """Return the bytes of `500MB`, `4GB`, `1.5GiB` or a plain number; raise UsageError for other values.

    option  name of the option, for the message

    >>> parse_size("4GB"), parse_size("1.5GiB"), parse_size("2000")
    (4000000000, 1610612736, 2000)
    """
    if size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0):
        return size
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?i?)b?", str(size).strip().lower())
    if match is None or match[2] not in _UNITS or not 0 < float(match[1]) < math.inf:
        raise UsageError(f"expected {option} like 500MB, 4GB or 1.5GiB, got {size!r:.60}")
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(size: float) -> str:
    """Return a number of bytes with a unit, rounded to two digits or whole units.

    >>> format_size(999), format_size(1_500_000), format_size(48_000_000_000)
    ('999 B', '1.5 MB', '48 GB')
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.2g} {name}" if size < 10 * unit else f"{size / unit:.0f} {name}"
    return f"{size:.0f} B"


def free_memory() -> int | None:
    """Return the bytes that this process can still allocate, within the limit of its container; None if unknown."""
    sizes = [size for size in (_available(), _left_in_container()) if size is not None]
    return min(sizes, default=None)


def allowed_memory(limit: int | None) -> int | None:
    """Return the bytes that may be used: the limit, or half of what is free; None if that is unknown."""
    free = free_memory()
    return limit or (None if free is None else free // 2)


def _available() -> int | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    with suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_in_container() -> int | None:
    names = ("memory.max", "memory.current")
    with suppress(OSError, ValueError):
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")) for name in names)
        return max(0, limit - used)
    return None


def map_bytes(
    inputs: Iterable[Input], heads: Selection, *, one_head: bool, one_layer: bool, zoom: Zoom | None = None
) -> int:
    """Return the bytes of the maps of these texts: float32 weights, and one mask of visible keys for each kind."""
    maps, zoom = maps_per_kind(heads, one_head=one_head, one_layer=one_layer), zoom or Zoom()
    combined = maps_per_kind(heads, one_head=True, one_layer=one_layer) if not one_head else {}
    total = 0
    for text in inputs:
        for kind, count in maps.items():
            part = located(zoom, text.sides(kind), kind).for_stream(one_layer)
            queries, keys = part.sides(*map(len, text.sides(kind)))
            total += len(queries) * len(keys) * (4 * (count + len(zoom.beside) * combined.get(kind, 0)) + 1)
    return total


def maps_per_kind(heads: Selection, *, one_head: bool, one_layer: bool) -> Mapping[Kind, int]:
    """Return the number of maps of one text for each kind, if heads or layers are combined into one or not."""
    counts: dict[Kind, list[int]] = {}
    for (kind, _), numbers in heads.items():
        counts.setdefault(kind, []).append(1 if one_head else len(numbers))
    return {kind: max(numbers) if one_layer else sum(numbers) for kind, numbers in counts.items()}


def check_file_fits(path: str | Path, needed: int, limit: int | None) -> None:
    """Raise UsageError if the maps in a file or in a saved run need more than is allowed, before they are read.

    Allowed is `limit`, or half of the free memory; without a limit, a small file may not hold huge maps either.
    """
    free = free_memory()
    allowed = limit if limit is not None else None if free is None else free // 2
    if allowed is not None and needed > allowed:
        source = "--max-memory" if limit is not None else f"half of the {format_size(free or 0)} that are free"
        raise UsageError(
            f"{path} has {format_size(needed)} of attention maps, allowed are {format_size(allowed)} ({source}): "
            "allow more with --max-memory, or save fewer layers or heads"
        )
    if limit is None and needed > _LARGE and Path(path).is_file() and needed > _DENSE * Path(path).stat().st_size:
        raise UsageError(
            f"{path} has {format_size(Path(path).stat().st_size)}, but {format_size(needed)} of attention maps: "
            f"nearly all of them are equal; if that is right, allow it with --max-memory {-(-needed // 10**6)}MB"
        )


def check_layer_fits(needed: int, route: str, longest: int) -> None:
    """Raise UsageError if the attention of one layer, captured by a route, needs more than the free memory."""
    free = free_memory()
    if free is not None and needed > free:
        raise UsageError(
            f"one layer's attention takes {format_size(needed)} by the {route} route (longest text: {longest} tokens), "
            f"but only {format_size(free)} are free; shorten the text with --max-tokens {longest // 2}"
        )


def check_fits(needed: int, limit: int | None, longest: int, advice: str) -> None:
    """Raise UsageError with the sizes and `advice` if a run would keep more than is allowed (see `memory_excess`)."""
    if problem := memory_excess(needed, limit, longest):
        raise UsageError(f"{problem}; {advice}")


def memory_excess(needed: int, limit: int | None, longest: int) -> str | None:
    """Return a message if a run needs more than the allowed bytes (None: half of the free memory), else None."""
    free = free_memory()
    allowed = limit if limit is not None else None if free is None else free // 2
    if allowed is None or needed <= allowed:
        return None
    source = "--max-memory" if limit is not None else f"half of the {format_size(free or 0)} that are free"
    return (
        f"this run would keep {format_size(needed)} of attention maps (longest text: {longest} tokens), "
        f"allowed are {format_size(allowed)} ({source})"
    )
