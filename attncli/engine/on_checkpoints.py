"""The execution of a study on every checkpoint of a series, one model after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from attncli.engine.checkpoints import Checkpoint
from attncli.engine.execution import Execution
from attncli.engine.runner import Runner, load_runner


def each_checkpoint(
    execution: Execution, checkpoints: Sequence[Checkpoint], what: str
) -> Iterator[tuple[Checkpoint, Execution]]:
    """Yield each checkpoint with the execution on its model, which is loaded when it is first used.

    One model at a time is in memory if the caller keeps none.

    what  what the progress bar says that is done
    """
    with execution.track(what, len(checkpoints), "checkpoints") as advance:
        for checkpoint in checkpoints:
            yield checkpoint, on_checkpoint(execution, checkpoint)
            advance(1)


def on_checkpoint(execution: Execution, checkpoint: Checkpoint) -> Execution:
    """Return the execution on the model of a checkpoint; the same if that is its model already."""
    if execution.has_model and checkpoint.path == execution.arguments["name"]:
        return execution
    arguments = {**execution.arguments, "name": checkpoint.path}

    def load() -> Runner:
        return load_runner(arguments)

    return replace(execution, existing=None, load=load, arguments=arguments)
