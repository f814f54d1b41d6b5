"""How many workers compute a corpus if the user does not say: as many as cores and memory allow."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attncli.engine.local import gpu_count
from attncli.engine.memory import free_memory

_PROCESS = 700 * 10**6
"""Bytes of a worker besides its model: torch, Transformers, a batch and the sums of a shard."""
_LOADING = 2
"""Memory of a model while it is loaded, or in a wider dtype, divided by the size of its files."""


def default_workers(
    arguments: Mapping[str, Any], shards: int, threads: int = 1, others: Sequence[str] = ()
) -> tuple[int, str]:
    """Return the number of workers for a number of shards, and a note that says it; "" where there is no choice.

    arguments  arguments of `load_runner`
    others     further models that each worker loads
    On a GPU it is one. The number of workers changes nothing in the results; that of threads may change last digits, so
    that it does not depend on the machine.
    """
    cores = usable_cores()
    most = min(cores // threads, shards)
    if most < 2 or _uses_gpu(str(arguments["device"])):
        return 1, ""
    workers = min(most, _models_in_memory([str(arguments["name"]), *others]))
    of_threads = "1 thread" if threads == 1 else f"{threads} threads"
    if workers < 2:
        return 1, (
            f"one process with {of_threads} reads the corpus, as the free memory may have no room for two models: "
            f"--workers 2 tries it, --threads {cores} uses all cores"
        )
    return workers, f"{workers} workers with {of_threads} each read the corpus: --workers N chooses another number"


def usable_cores() -> int:
    """Return how many cores this process may use: all, or what its container or OMP_NUM_THREADS allows."""
    # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))  # "max" without a limit
    with suppress(ValueError):
        cores = min(cores, int(os.environ.get("OMP_NUM_THREADS", "")))
    return max(1, cores)


def _uses_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    # imported here: the help of the command line needs no torch
    import torch

    return gpu_count() > 0 or torch.backends.mps.is_available()


def _models_in_memory(names: Sequence[str]) -> int:
    """Return how many processes with these models fit into the free memory; 1 for a model whose size is unknown."""
    free, sizes = free_memory(), [_files_size(name) for name in names]
    size = sum(size for size in sizes if size is not None)
    if None in sizes:
        return 1
    return usable_cores() if free is None else int(free // (_LOADING * size + _PROCESS))


def _files_size(name: str) -> int | None:
    """Return the bytes of the files of a model, in its folder or in the cache of the Hub; None if there are none."""
    if name.startswith("demo:"):
        return 0
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub", f"models--{name.replace('/', '--')}", "blobs")
    path = Path(name)
    files = [path] if path.is_file() else [*path.iterdir()] if path.is_dir() else [*cache.glob("*")]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return sum(sizes) if sizes else None
