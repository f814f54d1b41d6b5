"""The checkpoints of a training for Python: folders that a pattern matches."""

from attncli.arguments import checked
from attncli.engine.checkpoints import Checkpoint, find_checkpoints


@checked
def checkpoints(model: str) -> tuple[Checkpoint, ...]:
    """Return the model folders that a pattern matches, such as "runs/checkpoint-*", in the order of their steps.

    Each has a `path` for `attncli.load`, a `name`, and the `step`, which is the last number in its name, or None.
    Raise UsageError if no model folder matches.
    """
    return find_checkpoints(model)
