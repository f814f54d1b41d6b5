"""What `segments` writes: segments.json, three tables and pictures."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from attncli.data import Input, Kind, RowsAs
from attncli.data.surfaces import token_texts
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing, Report
from attncli.store import analysis_document
from attncli.store.tables import defined_columns
from attncli.studies.segments.result import Segments
from attncli.studies.segments.sides import TextSides

SCHEMA = "attncli.segments/1"
MOST_IN_PANELS = 16
"""Largest number of segments that a panel of a page can show."""


def segments_report(result: Segments, sides: TextSides, run: Collected, selected: bool) -> Report:
    """Return the document, the tables and the pictures; `selected`: whether the result is of selected segments."""
    columns = {"heads": result.table(), "mean": result.mean_table()}
    columns |= {"tokens": result.tokens_table()} if result.tokens else {}
    inputs = [entry for text in run.inputs for entry in _input_entries(text, sides, result.rows_as)]
    document = analysis_document(SCHEMA, run.info, {"inputs": inputs}, columns)
    tables = {
        "segments" if name == "heads" else f"segments-{name}": defined_columns(table) for name, table in columns.items()
    }
    notes: tuple[str, ...] = ()
    if any(len(side.names) > MOST_IN_PANELS for both in sides.values() for side in both):
        notes = (f"there is no page of all heads: panels show at most {MOST_IN_PANELS} segments, segments.csv all",)
    return Report(run.info, document, tables, list(_drawings(result, run, selected)), notes)


def _input_entries(
    text: Input, sides: TextSides, rows_as: Mapping[tuple[Kind, str], RowsAs]
) -> Iterator[dict[str, Any]]:
    """Yield the tokens of a text with their segments, and which rows stand for these, for each kind of attention."""
    for kind in (kind for index, kind in sides if index == text.index):
        entry: dict[str, Any] = {"index": text.index, "kind": kind}
        for axis, names, tokens, side in zip(
            ("query", "key"), ("queries", "keys"), text.sides(kind), sides[text.index, kind], strict=True
        ):
            segments = [side.names[number] for number in side.numbers.tolist()]
            pieces = list(tokens.vocabulary_pieces)
            entry |= {names: token_texts(tokens), f"{axis}_pieces": pieces, f"{axis}_segments": segments}
        entry["rows_as"] = {name: value for (of, name), value in rows_as.items() if of == kind}
        yield entry


def _drawings(result: Segments, run: Collected, selected: bool) -> Iterator[Drawing]:
    """Yield the pictures: for each kind the strongest heads, the mean and a page of all heads; then generated tokens.

    The mean and the page are left out if segments were selected: they compare all segments.
    """
    # imported here: matplotlib takes long to load
    from attncli.studies.segments import figures

    labels = run.info.captions(run.mean_note)
    for kind in result.kinds:
        yield Drawing(f"{kind}-segments-strongest", partial(figures.draw_strongest, result, kind, **labels))
        if not selected:
            yield Drawing(f"{kind}-segments", partial(figures.draw, result, kind, **labels))
            yield Drawing(f"{kind}-segments-heads", partial(figures.draw_heads, result, kind, MOST_IN_PANELS, **labels))
    if result.tokens:
        columns = result.tokens_table()
        for text, kind in dict.fromkeys(zip(columns["text"].tolist(), columns["kind"].tolist(), strict=True)):
            queries = next(one for one in run.inputs if one.index == text).sides(kind)[0]
            labels = run.info.captions(run.text_note(text))
            picture = partial(figures.draw_tokens, result, kind, text, queries, **labels)
            yield Drawing(f"{run.text_prefix(text)}{kind}-segments-tokens", picture)
