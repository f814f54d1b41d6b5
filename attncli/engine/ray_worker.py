"""What a process of Ray runs: it loads the model once, and then computes each shard that it receives."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version

from attncli.engine.worker import PACKAGES, WorkerSettings, error_message, shard_computer
from attncli.errors import UsageError
from attncli.inputs.shards import Shard
from attncli.paths import what_is_at
from attncli.wording import named_as_flags


def versions() -> dict[str, str]:
    """Return the versions of packages on which the numbers depend."""
    return {name: version(name) for name in PACKAGES}


class RayWorker:
    """An actor of Ray that computes shards.

    folder  working folder of the command, which relative paths start from
    gpus    number of GPUs that Ray reserves for the worker; with 0 it sees none
    """

    def __init__(self, settings: WorkerSettings, folder: str, gpus: float) -> None:
        self._settings, self._folder = settings, folder
        self._compute = cache(lambda: shard_computer(settings))
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def versions(self) -> dict[str, str]:
        """Return the versions of this process, once it runs."""
        return versions()

    def compute(self, shard: Shard) -> tuple[str, int, bytes] | tuple[str, str, str]:
        """Return `("shard", index, bytes)`, or `("error", name of the class, message)`."""
        with ExitStack() as stack:
            if self._settings.as_flags:
                stack.enter_context(named_as_flags())
            try:
                self._enter_folder()
                return "shard", shard.index, self._compute()(shard, lambda texts: None)
            except Exception as error:
                return error_message(error)

    def _enter_folder(self) -> None:
        """Change to the working folder of the command; raise UsageError if this machine has no such folder."""
        if what_is_at(self._folder) != "folder":
            raise UsageError(
                f"a worker of Ray has no folder {self._folder}: run the command in a folder that all machines of the "
                "cluster share, and keep the corpus and the model there"
            )
        os.chdir(self._folder)
