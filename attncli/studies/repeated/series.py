"""The probe of repeated tokens over a series of checkpoints: which step the heads and the losses change at."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.data.described import Tabulated, counted
from attncli.data.results import frame_of
from attncli.data.tokens import Array
from attncli.errors import UsageError
from attncli.studies.repeated.result import SCORES, Repeated

if TYPE_CHECKING:
    import pandas as pd

_CONFIGS = ("config.json", "adapter_config.json")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a series.

    path  its folder
    step  the last number in the name of the folder, such as 500 of `checkpoint-500`; None without a number
    """

    path: str
    step: int | None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.path).name


def is_pattern(model: str | None) -> bool:
    """Return whether the name of a model is a pattern of folders, such as `runs/checkpoint-*`."""
    return model is not None and glob.has_magic(model) and not Path(model).exists()


def find_checkpoints(pattern: str) -> tuple[Checkpoint, ...]:
    """Return the model folders that match a pattern, by step; raise UsageError if there is none."""
    matches = glob.glob(str(Path(pattern).expanduser()))  # noqa: PTH207 - Path.glob takes no absolute pattern
    folders = [path for path in matches if any(Path(path, name).is_file() for name in _CONFIGS)]
    if not folders:
        found = f"its {counted(len(matches), 'match')} hold no {_CONFIGS[0]}" if matches else "nothing matches"
        raise UsageError(f"--model '{pattern}' is a pattern of model folders, but {found}: give another pattern")
    return tuple(sorted(map(_checkpoint, folders), key=_order))


def _checkpoint(path: str) -> Checkpoint:
    numbers = re.findall(r"\d+", Path(path).name)
    return Checkpoint(path, int(numbers[-1]) if numbers else None)


def _order(checkpoint: Checkpoint) -> tuple[bool, int, str]:
    """Return the key by which checkpoints are sorted: by step; those without one come last, by name."""
    return checkpoint.step is None, checkpoint.step or 0, checkpoint.path


@dataclass(frozen=True, eq=False, repr=False)
class Series(Tabulated):
    """The scores and losses of every checkpoint of a series.

    checkpoints  the checkpoints in the order of their steps
    results      the result of the probe for each checkpoint; all have the same heads
    """

    checkpoints: Sequence[Checkpoint]
    results: Sequence[Repeated]

    def by_step(self) -> Iterator[dict[str, Any]]:
        """Yield a row per checkpoint: its losses, and the head with the highest value of each score."""
        for checkpoint, result in zip(self.checkpoints, self.results, strict=True):
            losses = result.losses.means() if result.losses else {}
            row: dict[str, Any] = {"checkpoint": checkpoint.name, "step": checkpoint.step}
            row |= {f"{copy}_loss": losses.get(copy) for copy in ("first", "second")}
            for score in SCORES:
                row[f"{score}_head"], row[score] = result.best(score)[0]
            yield row

    def steps_table(self) -> dict[str, Array]:
        """Return `by_step` as columns; undefined numbers are NaN."""
        rows = list(self.by_step())
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        types = {name: object if name.endswith(("checkpoint", "_head")) else float for name in columns}
        table = {name: np.array(values, dtype=types[name]) for name, values in columns.items()}
        return {**table, "step": self._steps}

    @property
    def _steps(self) -> Array:
        """The steps of the checkpoints as whole numbers; if some have none, NaN for these."""
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        return np.array(steps) if None not in steps else np.array(steps, dtype=float)

    def table(self) -> dict[str, Array]:
        """Return a row per checkpoint and head: coordinates, checkpoint, step, each score with its baselines."""
        tables = [result.table() for result in self.results]
        heads = len(tables[0]["kind"])
        joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        names = np.array([checkpoint.name for checkpoint in self.checkpoints], dtype=object)
        more = {"checkpoint": names.repeat(heads), "step": self._steps.repeat(heads)}
        first = {name: joined[name] for name in ("kind", "layer", "head")}
        return {**first, **more, **joined}

    def to_frame(self) -> pd.DataFrame:
        """Return `by_step` as a pandas table."""
        return frame_of(self.steps_table())

    def _lines(self) -> Iterable[str]:
        yield f"Series: {counted(len(self.checkpoints), 'checkpoint')}, {self.results[0].title}"


def check_alike(first: Repeated, other: Repeated, names: tuple[str, str]) -> None:
    """Raise UsageError if two checkpoints do not have the same heads."""
    coords = [result.heads[SCORES[0]].coords for result in (first, other)]
    heads = [[*zip(*(of[name][1].tolist() for name in ("kind", "layer", "head")), strict=True)] for of in coords]
    if heads[0] != heads[1]:
        raise UsageError(
            f"'{names[0]}' has {counted(len(heads[0]), 'head')}, '{names[1]}' has {len(heads[1])} or other ones: "
            "expected checkpoints of one model, give a pattern that matches only these"
        )
