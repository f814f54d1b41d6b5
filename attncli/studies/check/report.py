"""Files of `check`: check.json, five tables, pictures of failed rules, and the file of a baseline."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from attncli.data import Array, Attention, Input, RunInfo
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.paths import without_folders
from attncli.store import analysis_document, json_text, run_document
from attncli.store.text import plain
from attncli.studies.check.bound import head_fields
from attncli.studies.check.measures import Values
from attncli.studies.check.result import BASELINE_SCHEMA, Checked
from attncli.vocabulary import LINEAR_UP_TO

SCHEMA = "attncli.check/1"


def tables(result: Checked) -> dict[str, dict[str, Array]]:
    """Return the tables by file name; those of suites, drifts and trends if they have rows."""
    names = ("check", "check-cases", "check-heads", "check-drifts", "check-trends")
    named = zip(names, result.tables().values(), strict=True)
    return {name: table for name, table in named if name == "check" or len(table["kind"])}


def document(result: Checked, file: str, run: Collected) -> dict[str, Any]:
    """Return the contents of check.json; `file`: the file of rules as it was named."""
    inputs = [{"index": text.index, "text": text.text.text, **_pair_and_target(text)} for text in run.inputs]
    more = {"file": without_folders(file), "holds": result.holds, "tolerance": result.tolerance, "inputs": inputs}
    return analysis_document(SCHEMA, run.info, more, result.tables())


def _pair_and_target(text: Input) -> dict[str, str]:
    given = {"pair": text.text.pair, "target": text.text.target}
    return {name: value for name, value in given.items() if value is not None}


def baseline_document(info: RunInfo, reading: Mapping[str, Any], numbers: Values) -> bytes:
    """Return the file of a baseline: the numbers of every head.

    reading  how the texts were read, on which the numbers depend
    """
    heads = [
        {**head_fields(key), **{name: plain(values[key]) for name, values in numbers.items()}}
        for key in next(iter(numbers.values()), {})
    ]
    run = {**run_document(info, given=False), "resolved": {}}
    whole = {"schema": BASELINE_SCHEMA, "run": run, "reading": plain(reading), "heads": heads}
    return json_text(whole).encode()


def drawings(result: Checked, maps: Mapping[int, Attention], run: Collected) -> Iterator[Drawing]:
    """Yield for each rule that does not hold the heatmap of its decisive head."""
    # imported here: matplotlib takes long to load
    from attncli.plotting import heatmap

    for row, attention in maps.items():
        verdict = result.verdicts[row - 1]
        log = max(len(attention.queries), len(attention.keys)) > LINEAR_UP_TO
        name = f"rule-{row:02}-{verdict.kind}-L{verdict.layer:02}-H{verdict.head:02}"
        why = verdict.why.partition(",")[0] if verdict.sort == "baseline" else verdict.why
        labels = {**run.info.captions(f"{verdict.name}: {why}"), "log": log}
        yield Drawing(name, partial(heatmap.draw, attention, **labels), description=name)
