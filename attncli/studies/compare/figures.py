"""The differences between two models, texts or runs: the distance of each head, and the change of each measure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from attncli.data import Metric, Scores, Statistics
from attncli.data.kinds import KNOWN, KindNames
from attncli.plotting import overview
from attncli.studies.compare.result import Comparison

_DISTANCES = {"norm_distance": "distance of the norms", "js_distance": "distance of the maps"}
_LONGEST, _BEFORE = 120, 40


def draw(
    comparison: Comparison,
    *,
    names: tuple[str, str] = ("A", "B"),
    texts: Sequence[tuple[str, str]] = (),
    kinds: KindNames = KNOWN,
    metrics: Mapping[str, Metric] | None = None,
) -> Figure | None:
    """Return the page of differences: which heads changed, and in what? None where no number is defined.

    First the distances of each head of A from the same head of B, where there are any, then the change of each main
    measure from A to B: red is more in B, blue is less, white is no change.

    names    what A and B are called
    texts    pairs of different texts that A and B read, for the lines below the title
    metrics  declarations of the measures, for their labels and ranges
    """
    distances = {name: comparison.heads.get(name) for name in _DISTANCES}
    panels = {name: scores for name, scores in distances.items() if scores and np.isfinite(scores.values).any()}
    measured = comparison.measures["change"].coords["metric"][1].tolist()
    shown = [name for name in overview.MAIN if name in measured] or list(dict.fromkeys(measured))
    declared = metrics or {}
    changes = {name: _change(comparison, name, declared.get(name)) for name in shown}
    statistics = Statistics({**panels, **changes})
    if not any(np.isfinite(scores.values).any() for scores in statistics.heads.values()):
        return None
    coords = next(iter(comparison.heads.values())).coords
    sizes = [int(coords[name][1].max()) for name in ("texts", "texts_a", "texts_b") if name in coords]
    note = "means over " + " and ".join(f"{size:,}" for size in sizes) + " texts" if len(sizes) > 1 else ""
    note = note or (f"mean over {sizes[0]} texts" if sizes[0] > 1 else "")
    of_measures = {name: metric.label for name, metric in declared.items()}
    return overview.draw(
        statistics,
        model=names[0] if names[0] == names[1] else f"A: {names[0]}   B: {names[1]}",
        texts=[*_text_lines(texts)],
        note="change from A to B" + (f" · {note}" if note else ""),
        kinds=kinds,
        metrics=list(statistics.heads),
        labels=_DISTANCES | of_measures,
        changes=changes,
    )


def _change(comparison: Comparison, name: str, metric: Metric | None) -> Scores:
    """Return the change of one measure for every head, with the unit and range of the measure."""
    scores = comparison.measures["change"].sel(metric=name)
    coords = {axis: ("head", scores.coords[axis][1]) for axis in ("kind", "layer", "head")}
    ends: Any = metric.range if metric else (0.0, 1.0)
    return Scores(name, scores.values, ("head",), coords, comparison.units.get(name, "1"), ends, "")


def _text_lines(texts: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the first pair of texts as two lines, and how many pairs follow."""
    for a, b in texts[:1]:
        yield from (f"{side}: {line}" for side, line in zip("AB", _around_difference(a, b), strict=True))
    if len(texts) > 1:
        others = len(texts) - 1
        yield f"and {others} more pair{'s' * (others > 1)} of texts"


def _around_difference(a: str, b: str) -> tuple[str, str]:
    """Return two texts; if one is long, both from a few words before their first difference on.

    >>> _around_difference("so " * 50 + "good", "so " * 50 + "bad")[1]
    '…so so so so so so so so so so so so so bad'
    """
    if max(len(a), len(b)) <= _LONGEST:
        return a, b
    pairs = enumerate(zip(a, b, strict=False))
    first = next((n for n, (one, other) in pairs if one != other), min(len(a), len(b))) - _BEFORE
    if first > 0:
        first = a.find(" ", first) + 1 or first
        a, b = f"…{a[first:]}", f"…{b[first:]}"
    return _cut(a), _cut(b)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()}…"
