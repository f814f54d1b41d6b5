"""How often a shard is computed whose worker dies."""

from collections import Counter

from attncli.engine.shards import ShardTask
from attncli.errors import ModelError
from attncli.inputs.shards import Shard

TRIES = 3
"""How many workers may die over the same shard before the run stops."""


class Tries:
    """Counts the workers that died over each shard."""

    def __init__(self, task: ShardTask) -> None:
        self._task = task
        self._deaths: Counter[int] = Counter()

    def count(self, shard: Shard, cause: str) -> None:
        """Count a worker that died over a shard; raise ModelError that names its records if it was the last try."""
        self._deaths[shard.index] += 1
        if self._deaths[shard.index] >= TRIES:
            raise ModelError(
                f"{TRIES} workers died one after the other ({cause}) over {self._task.where(shard)}; complete shards "
                "are kept: give fewer --workers, or leave these out"
            )
