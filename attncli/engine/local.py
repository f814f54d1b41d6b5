"""The engine of this machine: several processes that each load the model and compute shards."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from attncli.engine.progress import Advance
from attncli.engine.shards import Engine, ShardTask
from attncli.engine.tries import Tries
from attncli.engine.worker import WorkerSettings, error_of, serve
from attncli.errors import UsageError
from attncli.inputs.shards import Shard


def with_workers(workers: int, threads: int = 1) -> Engine:
    """Return the engine of several processes; a worker that dies is replaced, and its shard computed again.

    workers  number of processes
    threads  number of threads of each
    """

    def compute(task: ShardTask, shards: Sequence[Shard], advance: Advance) -> Iterator[tuple[int, bytes]]:
        pool = _Pool(task, min(workers, len(shards)), threads, advance)
        try:
            yield from pool.compute(shards)
        finally:
            pool.end()

    return compute


def check_workers(workers: int | None, threads: int, device: str) -> None:
    """Raise UsageError if there are fewer than 1 worker or thread, or more workers than GPUs that they would use."""
    workers = 1 if workers is None else workers
    for name, value in (("workers", workers), ("threads", threads)):
        if value < 1:
            raise UsageError(f"expected --{name} from 1 up, got {value}")
    if workers > 1 and device not in ("cpu", "mps"):
        gpus = gpu_count()
        if gpus and device.startswith("cuda:"):
            raise UsageError(f"--device {device} is one GPU, but each worker needs its own: leave out --workers")
        if 0 < gpus < workers:
            has = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
            raise UsageError(
                f"each worker needs a GPU of its own, and there is {has}: give --workers {gpus}, or --device cpu"
            )


def gpu_count() -> int:
    """Return how many GPUs of NVIDIA torch finds."""
    # imported here: the help of the command line needs no torch
    import torch

    return torch.cuda.device_count()


def _context() -> Any:
    """Return how processes start: forked from one that has imported torch and Transformers, where that is possible."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["attncli.engine.runner"])
    return context


@dataclass(eq=False)
class _Worker:
    """A process, the shard that it computes, and how many texts of it have been counted."""

    process: BaseProcess
    connection: Connection
    gpu: int | None
    shard: Shard | None = None
    counted: float = 0.0


class _Pool:
    """Workers that compute shards."""

    def __init__(self, task: ShardTask, size: int, threads: int, advance: Advance) -> None:
        self._task, self._size, self._threads, self._advance = task, size, threads, advance
        self._workers: list[_Worker] = []
        self._waiting: deque[Shard] = deque()
        self._tries = Tries(task)

    def compute(self, shards: Sequence[Shard]) -> Iterator[tuple[int, bytes]]:
        """Yield the index and the bytes of each shard when it is complete."""
        self._waiting.extend(shards)
        on_gpus = self._size > 1 and self._task.arguments.get("device") in ("auto", "cuda") and gpu_count() > 1
        for number in range(self._size):
            self._start(number if on_gpus else None)
        left = len(shards)
        while left:
            ready = wait([worker.connection for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    self._replace(worker)
                    continue
                if message[0] == "shard":
                    left -= 1
                    self._give(worker)
                    yield message[1], message[2]
                elif message[0] == "read":
                    worker.counted += message[1]
                    self._advance(message[1])
                else:
                    raise error_of(*message[1:])

    def end(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()

    def _start(self, gpu: int | None) -> None:
        """Start a worker on the next shard that waits."""
        context = _context()
        ours, theirs = context.Pipe()
        settings = WorkerSettings.of(self._task, self._threads, gpu)
        process = context.Process(target=serve, args=(theirs, settings), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process closes the connection
        self._workers.append(_Worker(process, ours, gpu))
        self._give(self._workers[-1])

    def _give(self, worker: _Worker) -> None:
        """Send a worker the next shard that waits, if there is one."""
        worker.shard, worker.counted = None, 0.0
        if self._waiting:
            worker.shard = self._waiting.popleft()
            with suppress(OSError):  # a worker that died: the next wait finds it
                worker.connection.send(worker.shard)

    def _replace(self, worker: _Worker) -> None:
        """Start another worker for one that died; raise ModelError if it was the last try of its shard."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        self._advance(-worker.counted)
        shard = worker.shard
        if shard is None:
            return
        self._tries.count(shard, _cause(worker.process.exitcode))
        self._waiting.appendleft(shard)
        self._start(worker.gpu)


def _cause(code: int | None) -> str:
    """Return how a process ended, in words."""
    if code is not None and code < 0:
        number = -code
        killed = ", perhaps for lack of memory" if number == signal.SIGKILL else ""
        return f"killed by {signal.Signals(number).name}{killed}"
    return f"exit code {code}"
