"""The engine of a Ray cluster: actors that each load the model and compute shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from attncli.corpus_options import CorpusOptions
from attncli.engine.progress import Advance
from attncli.engine.ray_cluster import address_of, cause_of, check_installed, connected
from attncli.engine.ray_worker import RayWorker, versions
from attncli.engine.shards import Engine, ShardTask
from attncli.engine.tries import TRIES, Tries
from attncli.engine.worker import WorkerSettings, error_of
from attncli.errors import ModelError, UsageError
from attncli.inputs.shards import Shard

START_SECONDS = 180
"""How long the first worker may take to start."""

_MOST = 10**6
"""More GPUs than any machine has."""


def with_ray(options: CorpusOptions) -> Engine:
    """Return the engine of actors of Ray; a worker that dies is replaced, and its shard computed again."""
    address = address_of(options.address)

    def compute(task: ShardTask, shards: Sequence[Shard], advance: Advance) -> Iterator[tuple[int, bytes]]:
        if not shards:
            return
        size = min(options.workers or 1, len(shards))
        with connected(address, size * options.threads) as ray:
            gpus = _gpus_of_worker(options.gpus_per_worker, str(task.arguments["device"]), _total(ray, "GPU"))
            if address is None:
                _check_gpus(size, gpus, _total(ray, "GPU"))
            pool = _Pool(ray, task, _Resources(size, options.threads, gpus), advance)
            try:
                yield from pool.compute(shards)
            finally:
                pool.end()

    return compute


def check_ray(options: CorpusOptions, device: str) -> None:
    """Raise UsageError if Ray is not installed, or if options do not go with it."""
    check_installed()
    address_of(options.address)
    gpus = options.gpus_per_worker
    if gpus is not None and not (0 <= gpus < 1 or (0 < gpus < _MOST and gpus == int(gpus))):
        raise UsageError(f"expected --gpus-per-worker from 0 to 1, such as 0.5, or a whole number, got {gpus:g}")
    if gpus and device in ("cpu", "mps"):
        raise UsageError(f"--gpus-per-worker goes with GPUs of NVIDIA, not with --device {device}: leave one out")
    if device.startswith("cuda:"):
        raise UsageError(f"Ray chooses the GPU of each worker: give --device cuda in the place of {device}")


def _total(ray: ModuleType, resource: str) -> float:
    return float(ray.cluster_resources().get(resource, 0))


def _gpus_of_worker(wanted: float | None, device: str, total: float) -> float:
    """Return how much of a GPU each worker gets: what is wanted, else one if there is any."""
    if wanted is not None:
        return wanted
    return 1.0 if device == "cuda" or (device == "auto" and total) else 0.0


def _check_gpus(workers: int, gpus: float, total: float) -> None:
    """Raise UsageError if this machine has too few GPUs."""
    if workers * gpus > total:
        has = "1 GPU" if total == 1 else f"{total:g} GPUs"
        raise UsageError(
            f"--workers {workers} with {gpus:g} GPUs each need {workers * gpus:g}, and this machine has {has}: give a "
            "smaller --gpus-per-worker, fewer --workers, or --device cpu"
        )


@dataclass(frozen=True)
class _Resources:
    """Number of workers, and the threads and GPUs of each."""

    workers: int
    threads: int
    gpus: float

    def __str__(self) -> str:
        return f"{self.threads} CPUs and {self.gpus:g} GPUs"


@dataclass(eq=False)
class _Worker:
    """An actor, and the shard that it computes; None while it starts."""

    actor: Any
    shard: Shard | None = None


class _Pool:
    """Actors that compute shards."""

    def __init__(self, ray: ModuleType, task: ShardTask, resources: _Resources, advance: Advance) -> None:
        self._ray, self._resources, self._advance = ray, resources, advance
        self._settings = WorkerSettings.of(task, resources.threads)
        self._class = ray.remote(RayWorker).options(
            num_cpus=resources.threads, num_gpus=resources.gpus, max_restarts=0, max_task_retries=0
        )
        self._workers: list[_Worker] = []
        self._calls: dict[Any, _Worker] = {}
        self._waiting: deque[Shard] = deque()
        self._tries, self._failed_starts, self._started = Tries(task), 0, False

    def compute(self, shards: Sequence[Shard]) -> Iterator[tuple[int, bytes]]:
        """Yield the index and the bytes of each shard when it is complete."""
        self._waiting.extend(shards)
        for _ in range(self._resources.workers):
            self._start()
        left = len(shards)
        while left:
            for call in self._next_calls():
                worker = self._calls.pop(call)
                try:
                    answer = self._ray.get(call)
                except self._ray.exceptions.RayError as error:
                    self._replace(worker, error)
                    continue
                if worker.shard is None:
                    self._check_versions(answer)
                elif answer[0] == "error":
                    raise error_of(*answer[1:])
                else:
                    left -= 1
                    self._advance(worker.shard.texts)
                    yield answer[1], answer[2]
                self._give(worker)

    def end(self) -> None:
        """End all workers."""
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _start(self) -> None:
        """Start a worker; Ray places it when it has the resources."""
        actor = self._class.remote(self._settings, str(Path.cwd()), self._resources.gpus)
        worker = _Worker(actor)
        self._workers.append(worker)
        self._calls[actor.versions.remote()] = worker

    def _give(self, worker: _Worker) -> None:
        """Send a worker the next shard that waits, if there is one."""
        if self._waiting:
            worker.shard = self._waiting.popleft()
            self._calls[worker.actor.compute.remote(worker.shard)] = worker

    def _next_calls(self) -> list[Any]:
        """Wait for calls that have ended and return them; raise ModelError if no worker starts within some time."""
        calls, _ = self._ray.wait(list(self._calls), timeout=None if self._started else START_SECONDS)
        if not calls:
            has = f"{_total(self._ray, 'CPU'):g} CPUs and {_total(self._ray, 'GPU'):g} GPUs"
            raise ModelError(
                f"Ray started no worker within {START_SECONDS} s: each asks for {self._resources}, and the cluster has "
                f"{has} in all, which others may use: give fewer --threads, a smaller --gpus-per-worker, or wait"
            )
        return list(calls)

    def _check_versions(self, found: dict[str, str]) -> None:
        """Raise ModelError if a worker has other versions, with which the numbers could differ."""
        self._started, self._failed_starts = True, 0
        for name, expected in versions().items():
            if found[name] != expected:
                raise ModelError(
                    f"a worker of Ray has {name} {found[name]}, and this process {expected}: install the same versions "
                    "on all machines of the cluster"
                )

    def _replace(self, worker: _Worker, error: Exception) -> None:
        """Start another worker for one that died; raise ModelError if it was the last try."""
        self._workers.remove(worker)
        self._ray.kill(worker.actor)
        if worker.shard is not None:
            self._tries.count(worker.shard, "they ended in the middle, perhaps for lack of memory")
            self._waiting.appendleft(worker.shard)
        else:
            self._failed_starts += 1
            if self._failed_starts >= TRIES:
                raise ModelError(
                    f"{TRIES} workers of Ray did not start ({cause_of(error)}): install attncli with the same "
                    "versions on all machines of the cluster"
                ) from error
        self._start()
