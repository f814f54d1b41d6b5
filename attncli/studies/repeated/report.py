"""What `patterns --probe repeated` writes: repeated.json, repeated.csv and a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

from attncli.data import Statistics
from attncli.data.described import counted
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store.tables import declared_numbers, document_head, records
from attncli.studies.repeated.compute import questions
from attncli.studies.repeated.result import Losses, Repeated


def repeated_report(result: Repeated, run: Collected) -> Report:
    """Return the document, the table and the picture of the three scores."""
    # imported here: matplotlib takes long to load
    from attncli.plotting import overview

    table, scores = result.table(), {name: result.heads[name] for name in questions()}
    document = {
        **document_head("attncli.repeated/1", run.info, run.inputs, table),
        **described(result),
        "loss": loss_document(result.losses),
        "heads": list(records(table)),
    }
    read, averaged = ("passages", "passage") if result.passages else ("random tokens", "seed")
    lengths = f"|r| = {result.length}" if result.length else f"|r| from {min(result.lengths)} to {max(result.lengths)}"
    note = f"{read} r, read as BOS r r · {lengths} · mean over {counted(len(result.lengths), averaged)}"
    if result.losses is not None:
        means = result.losses.means()
        note += f" · loss {means['first']:.2f} and {means['second']:.2f} nat"
    picture = partial(overview.draw, Statistics(scores), **run.info.captions(note), top=1.0)
    return Report(run.info, document, {"repeated": table}, [Drawing("repeated", picture)])


def described(result: Repeated) -> dict[str, Any]:
    """Return what was read and which numbers there are, as plain values."""
    scores = {name: result.heads[name] for name in questions()}
    return {
        "length": result.length,
        "lengths": list(result.lengths),
        "seeds": list(result.seeds),
        "passages": list(result.passages),
        "numbers": declared_numbers(scores, questions()),
    }


def loss_document(losses: Losses | None) -> dict[str, Any] | None:
    """Return the losses of both copies with their unit; None if the model has none."""
    return None if losses is None else {"unit": "nat", **losses.means()}
