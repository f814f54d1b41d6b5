"""The report of `compare`: compare.json, two tables and a picture."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from attncli.data import RunInfo, Text
from attncli.engine.collected import Collected
from attncli.engine.measuring import declarations
from attncli.engine.report import Drawing, Report
from attncli.store import analysis_document, run_document
from attncli.store.tables import defined_columns
from attncli.studies.compare.result import Comparison

SCHEMA = "attncli.compare/1"


def compare_report(result: Comparison, other: RunInfo, run: Collected, texts_of_b: Sequence[Text]) -> Report:
    """Return the document, the tables of heads and measures, and the picture.

    run                run A
    other, texts_of_b  where run B comes from, and the texts that it read
    """
    # imported here: matplotlib takes long to load
    from attncli.studies.compare import figures

    heads, measures = result.table(), result.measures_table()
    metrics = declarations(dict.fromkeys(result.measures["change"].coords["metric"][1].tolist()))
    declared = {name: {"unit": metric.unit, "question": metric.question} for name, metric in metrics.items()}
    head = {**_corpora(result, run), "other": run_document(other, given=False), "metrics": declared}
    tables = {"compare": defined_columns(heads), "compare-measures": defined_columns(measures)}
    parts = {"heads": heads, "measures": measures}
    if result.weights:
        tables["compare-weights"] = parts["weights"] = dict(result.weights)
    if result.examples:
        tables["compare-texts"] = parts["texts"] = dict(result.examples)
    document = analysis_document(SCHEMA, run.info, head, parts)
    titles, full = (run.info.title, other.title), (_name(run.info), _name(other))
    names = full if titles[0] == titles[1] and full[0] != full[1] else titles
    kinds = replace(run.info.kinds, known=run.info.kinds.known and other.kinds.known)
    pairs = [(text.text.line, b.line) for text, b in zip(run.inputs, texts_of_b, strict=True)]
    texts = [(a, b) for a, b in pairs if a != b]
    picture = partial(figures.draw, result, names=names, texts=texts, kinds=kinds, metrics=metrics)
    drawing = Drawing("compare", picture, description=f"{names[0]} {names[1]} compare")
    pages = [Drawing(name, html=partial(str, html)) for name, html in result.pages.items()]
    return Report(run.info, document, tables, [drawing, *pages])


def _corpora(result: Comparison, run: Collected) -> dict[str, Any]:
    """Return the sizes of the corpora that were read; empty for texts that were read at once."""
    if run.corpus is None:
        return {}
    counts = {"corpus": run.corpus, "other_corpus": run.corpus.against}
    sides = zip(counts.items(), "ab", strict=True)
    return {name: {**of_side.document, **result.lengths[side]} for (name, of_side), side in sides if of_side}


def _name(info: RunInfo) -> str:
    """Return the title of a run with the folder above it, its revision and dtype, for runs of the same title."""
    parts = info.model.replace("\\", "/").rstrip("/").split("/")
    title = info.title if info.title == info.model else "/".join(parts[-2:])
    return " ".join(filter(None, (title, info.revision, info.dtype)))
