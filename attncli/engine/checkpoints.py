"""A series of checkpoints: the model folders that match a pattern, in the order of their steps."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attncli.data.described import counted
from attncli.data.tokens import Array
from attncli.errors import UsageError
from attncli.paths import what_is_at

_CONFIGS = ("config.json", "adapter_config.json")
_WEIGHTS = ("model*.safetensors", "adapter_model*.safetensors", "pytorch_model*.bin")
Heads = Sequence[tuple[str, int, int]]
"""Kind, layer and number of each head."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a series.

    path   its folder
    step   the last number in its name, such as 500 of `checkpoint-500`; None without a number
    parts  how many of the last parts of the path its name has: more than one where folders have the same name
    """

    path: str
    step: int | None
    parts: int = 1

    @property
    def name(self) -> str:
        """The last parts of the path."""
        return "/".join(Path(self.path).parts[-self.parts :])

    @property
    def label(self) -> str:
        """The step, or the name of a checkpoint without one."""
        return self.name if self.step is None else str(self.step)


def is_pattern(model: str | None) -> bool:
    """Return whether the name of a model is a pattern of folders, such as `runs/checkpoint-*`."""
    return model is not None and glob.has_magic(model) and not _exists(model)


def find_checkpoints(pattern: str) -> tuple[Checkpoint, ...]:
    """Return the model folders that match a pattern, by step; raise UsageError if there is none."""
    # methods of Path take no absolute pattern, and fail for the home of an unknown user
    matches = glob.glob(os.path.expanduser(pattern))  # noqa: PTH111, PTH207
    folders = [path for path in matches if _is_model(Path(path))]
    if not folders:
        few = (
            f"its {len(matches)} matches hold no {_CONFIGS[0]}" if matches[1:] else f"its match holds no {_CONFIGS[0]}"
        )
        found = few if matches else "nothing matches"
        raise UsageError(f"--model '{pattern}' is a pattern of model folders, but {found}: give another pattern")
    parts = _parts_of_names(folders)
    return tuple(sorted((_checkpoint(path, parts) for path in folders), key=_order))


def _is_model(folder: Path) -> bool:
    """Return whether a folder has the configuration of a model, or weights, which are no model without it."""
    if any((folder / name).is_file() for name in _CONFIGS):
        return True
    return any(path.is_file() for pattern in _WEIGHTS for path in folder.glob(pattern))


def checkpoints_of(model: str) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that a pattern matches, or a single one for the name or the folder of a model."""
    if is_pattern(model):
        return find_checkpoints(model)
    return (_checkpoint(model) if _exists(model) else Checkpoint(model, None),)


def _exists(path: str) -> bool:
    try:
        return what_is_at(path) != "nothing"
    except UsageError:  # the system refuses such a path
        return False


def _parts_of_names(paths: Sequence[str]) -> int:
    """Return how many of the last parts of these paths tell them apart.

    >>> _parts_of_names(["a/step-1", "a/step-2"]), _parts_of_names(["seed-1/last", "seed-2/last"])
    (1, 2)
    """
    most = max(len(Path(path).parts) for path in paths)
    counts = (parts for parts in range(1, most) if len({Path(path).parts[-parts:] for path in paths}) == len(paths))
    return next(counts, most)


def _checkpoint(path: str, parts: int = 1) -> Checkpoint:
    checkpoint = Checkpoint(path, None, parts)
    numbers = re.findall(r"\d+", checkpoint.name)
    return replace(checkpoint, step=int(numbers[-1])) if numbers else checkpoint


def model_files(model: str) -> list[tuple[str, int, int]]:
    """Return name, size and time of the files of a model in a folder or file; empty for one of the Hub."""
    path = Path(model)
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _order(checkpoint: Checkpoint) -> tuple[bool, int, str]:
    """Return the key by which checkpoints are sorted: by step; those without one come last, by name."""
    return checkpoint.step is None, checkpoint.step or 0, checkpoint.path


def step_column(steps: Sequence[int | None]) -> Array:
    """Return steps as whole numbers; if some are unknown, as floating-point numbers with NaN for these.

    >>> step_column([1, 2]).tolist(), step_column([1, None]).tolist()
    ([1, 2], [1.0, nan])
    """
    return np.array(steps) if None not in steps else np.array(steps, dtype=float)


def joined_tables(
    checkpoints: Sequence[Checkpoint], tables: Sequence[Mapping[str, Array]], first: Sequence[str]
) -> dict[str, Array]:
    """Return the rows of a table of each checkpoint, with the columns checkpoint and step after these first ones."""
    rows = len(tables[0]["kind"])
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    names = np.array([checkpoint.name for checkpoint in checkpoints], dtype=object)
    steps = step_column([checkpoint.step for checkpoint in checkpoints])
    more = {"checkpoint": names.repeat(rows), "step": steps.repeat(rows)}
    return {**{name: joined[name] for name in first}, **more, **joined}


def head_keys_of(table: Mapping[str, Array]) -> Heads:
    """Return the heads of a table, in its order."""
    return list(zip(*(table[name].tolist() for name in ("kind", "layer", "head")), strict=True))


def check_same_heads(first: Heads, other: Heads, names: tuple[str, str]) -> None:
    """Raise UsageError if two checkpoints do not have the same heads.

    names  the names of the checkpoints
    """
    if list(first) != list(other):
        raise UsageError(
            f"'{names[0]}' ({counted(len(set(first)), 'head')}) and '{names[1]}' ({len(set(other))}) have different "
            "heads: expected checkpoints of one model, give a pattern that matches only these"
        )
