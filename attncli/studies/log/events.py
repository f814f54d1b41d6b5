"""What TensorBoard shows of a snapshot: numbers of layers and of chosen heads, distributions, classes of heads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from attncli.data import Array, Selection
from attncli.store.events import EVENTS, StepEvents, event_bytes
from attncli.store.text import slug
from attncli.studies.log.result import Snapshot
from attncli.studies.log.series import LogSeries
from attncli.studies.log.snapshot import head_keys_of

NO_HEADS: Selection = {}
MOST_HEADS = 32
"""Most heads of a series whose numbers are shown by themselves."""
_COORDINATES = ("kind", "layer", "heads")
_UNIFORM, _CLASS = "_uniform", "_heads"


def step_events(
    snapshot: Snapshot,
    step: int,
    heads: Selection = NO_HEADS,
    pictures: Mapping[str, bytes] | None = None,
    time: float | None = None,
) -> StepEvents:
    """Return the numbers of each layer, the distribution of each number over heads, and the classes of heads.

    Numbers of uniform attention are left out: on the same texts they stay the same.

    heads     heads whose numbers are shown by themselves, by kind and layer
    pictures  PNG files by tag
    time      when the step was, in seconds since 1970; None for now
    """
    scalars = {**dict(_of_layers(snapshot)), **dict(_of_heads(snapshot, heads)), **dict(_of_kinds(snapshot))}
    return StepEvents(step, scalars, dict(_distributions(snapshot)), pictures or {}, dict(_classes(snapshot)), time)


def event_files(series: LogSeries, folder: str, model: str) -> dict[Path, bytes]:
    """Return the event file of a series by its path, in a subfolder of its own.

    A running TensorBoard does not notice that a file is replaced, so the name of the file depends on its content.

    folder  folder that TensorBoard reads
    model   name of the model, or pattern of the checkpoints, which names the subfolder
    A checkpoint has the time of its folder, and its number in the series as its step if steps are unknown.
    """
    heads: dict[tuple[str, int], tuple[int, ...]] = {}
    if len(series.snapshots[0].heads["head"]) <= MOST_HEADS:
        for kind, layer, head in head_keys_of(series.snapshots[0].heads):
            heads[kind, layer] = (*heads.get((kind, layer), ()), head)
    steps: Sequence[int] = series.steps.tolist() if series.has_steps else range(len(series.steps))
    events = [
        step_events(shown, step, heads, time=_modified(checkpoint.path))
        for shown, step, checkpoint in zip(series.snapshots, steps, series.checkpoints, strict=True)
    ]
    data = event_bytes(events)
    return {Path(folder, run_name(model), f"{EVENTS}.{hashlib.sha256(data).hexdigest()[:12]}.attncli"): data}


def outdated_files(files: Iterable[Path]) -> tuple[Path, ...]:
    """Return the event files that attncli wrote into the folders of these files before."""
    listed = list(files)
    return tuple(sorted({old for path in listed for old in path.parent.glob(f"{EVENTS}.*.attncli")} - {*listed}))


def run_name(model: str) -> str:
    """Return the name of the subfolder of a series: readable, and of no other pattern."""
    whole = str(Path(model).expanduser().absolute())
    return f"{slug('/'.join(Path(model).parts[-2:]))}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


def _modified(path: str) -> float:
    """Return when a checkpoint was written, in seconds since 1970; 0 if it has no folder by now."""
    return Path(path).stat().st_mtime if Path(path).exists() else 0.0


def _of_layers(snapshot: Snapshot) -> Iterator[tuple[str, float]]:
    table = snapshot.layers
    names = [name for name in table if name not in _COORDINATES and not name.endswith((_UNIFORM, _CLASS))]
    for row, (kind, layer) in enumerate(zip(table["kind"].tolist(), table["layer"].tolist(), strict=True)):
        for name in names:
            yield f"attention/{kind}/layer-{layer:02d}/{name}", float(table[name][row])


def _of_heads(snapshot: Snapshot, chosen: Selection) -> Iterator[tuple[str, float]]:
    for row, (kind, layer, head) in enumerate(head_keys_of(snapshot.heads)):
        if head in chosen.get((kind, layer), ()):
            for name in snapshot.numbers:
                yield f"attention/{kind}/head-{layer}.{head}/{name}", float(snapshot.heads[name][row])


def _of_kinds(snapshot: Snapshot) -> Iterator[tuple[str, float]]:
    """Yield how many heads of each kind of attention have each class, and the highest of each score."""
    for kind, rows in _kinds(snapshot):
        counts = Counter(snapshot.heads["class"][rows].tolist())
        for column in snapshot.layers:
            if column.endswith(_CLASS):
                name = column.removesuffix(_CLASS)
                yield f"attention/{kind}/classes/{name}", float(counts[name])
        for score in snapshot.scores:
            values = snapshot.heads[score][rows]
            if np.isfinite(values).any():
                yield f"attention/{kind}/{score}_max", float(np.nanmax(values))


def _distributions(snapshot: Snapshot) -> Iterator[tuple[str, Array]]:
    for kind, rows in _kinds(snapshot):
        for name in snapshot.numbers:
            yield f"attention/{kind}/{name}", snapshot.heads[name][rows]


def _classes(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield a Markdown table with the class of each head, a row for each layer."""
    for kind, rows in _kinds(snapshot):
        layers, heads, classes = (snapshot.heads[name][rows].tolist() for name in ("layer", "head", "class"))
        cells = {(layer, head): name for layer, head, name in zip(layers, heads, classes, strict=True)}
        columns: Sequence[int] = sorted(set(heads))
        lines = [_line(["layer", *(f"head {head}" for head in columns)]), _line(["---"] * (len(columns) + 1))]
        for layer in sorted(set(layers)):
            # a head that is missing here has no cell; one without a class is a dash
            names = [cells[layer, head] or "-" if (layer, head) in cells else "" for head in columns]
            lines.append(_line([str(layer), *names]))
        yield f"attention/{kind}/classes", "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _kinds(snapshot: Snapshot) -> Iterator[tuple[str, Array]]:
    """Yield each kind of attention, and which rows of the table of heads are of it."""
    kinds = snapshot.heads["kind"]
    for kind in dict.fromkeys(kinds.tolist()):
        yield kind, kinds == kind
