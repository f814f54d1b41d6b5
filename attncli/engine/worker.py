"""One process that computes shards: it loads the model once, and then computes each shard that it receives."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from attncli import errors
from attncli.engine.progress import Advance
from attncli.engine.shards import ShardTask, compute_shard
from attncli.errors import AttnError, is_out_of_memory
from attncli.inputs.corpus_pair import corpus_from_arguments
from attncli.inputs.shards import Shard
from attncli.store.shard_files import shard_to_bytes
from attncli.wording import named_as_flags, names_flags

if TYPE_CHECKING:
    from attncli.engine.request import Request
    from attncli.engine.study import Study

PACKAGES = ("attncli", "transformers", "torch", "tokenizers")
"""Packages on whose versions the numbers depend."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker receives when it starts: plain values and options, never a model.

    arguments  arguments of `load_runner`
    corpus     arguments of `corpus_from_arguments`
    threads    number of threads that compute
    gpu        the GPU that the worker uses; None for no choice
    as_flags   whether messages name options as the command line does
    """

    study: Study[Any]
    request: Request
    arguments: Mapping[str, Any]
    corpus: Mapping[str, Any]
    size: int
    threads: int = 1
    gpu: int | None = None
    as_flags: bool = True

    @classmethod
    def of(cls, task: ShardTask, threads: int, gpu: int | None = None) -> WorkerSettings:
        """Return the settings of a worker that computes shards of a task."""
        parts = (task.study, task.request, task.arguments, task.corpus.arguments(), task.size)
        return cls(*parts, threads=threads, gpu=gpu, as_flags=names_flags())


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Compute the shards that the connection names, until it is closed; send progress, results and errors.

    Messages are `("read", texts)`, `("shard", index, bytes)`, and `("error", name of the class, message)`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends the workers
    os.dup2(2, 1)  # data for the reader of the command comes from the main process only
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with ExitStack() as stack:
        if settings.as_flags:
            stack.enter_context(named_as_flags())
        try:
            _compute_all(connection, settings)
        except (EOFError, BrokenPipeError, ConnectionResetError):  # the main process needs nothing more
            return
        except Exception as error:
            connection.send(error_message(error))
            if not isinstance(error, AttnError):
                raise


def _compute_all(connection: Connection, settings: WorkerSettings) -> None:
    if settings.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(settings.gpu)
    compute = shard_computer(settings)
    while True:
        shard: Shard = connection.recv()
        data = compute(shard, lambda texts: connection.send(("read", texts)))
        connection.send(("shard", shard.index, data))


def shard_computer(settings: WorkerSettings) -> Callable[[Shard, Advance], bytes]:
    """Return a function that returns the bytes of a shard; the model is loaded with the first one."""
    # imported here: torch reads the environment when it is imported
    from attncli.engine.runner import load_runner

    tqdm.set_lock(threading.RLock())  # the lock of tqdm for several processes would outlive a worker that is killed
    set_threads(settings.threads)
    corpus = corpus_from_arguments(settings.corpus)
    task = ShardTask(settings.study, settings.request, settings.arguments, corpus, settings.size)
    load = cache(lambda: load_runner(settings.arguments))
    return lambda shard, advance: shard_to_bytes(compute_shard(task, shard, load, advance))


def _end_with_parent() -> None:
    """End this process when the main process is killed."""
    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def set_threads(threads: int) -> int:
    """Set how many threads compute in this process; return how many there were."""
    # imported here: the help of the command line needs no torch
    import torch

    former = torch.get_num_threads()
    torch.set_num_threads(threads)
    return former


def error_message(error: Exception) -> tuple[str, str, str]:
    """Return the message of a worker that has failed, of which `error_of` makes an error."""
    name = "MemoryError" if is_out_of_memory(error) else type(error).__name__
    return "error", name, str(error.args[0] if error.args else error)


def error_of(name: str, message: str) -> Exception:
    """Return the error that a worker has sent."""
    if name == "MemoryError":
        return MemoryError(message)
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, AttnError):
        return kind(message)
    return RuntimeError(f"{name} in a worker: {message}")
