"""What `segments` writes: segments.json, three tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from attncli.data import Array, Input, Kind
from attncli.engine.collected import Collected
from attncli.engine.report import Drawing
from attncli.inputs.partitions import Sides
from attncli.store import analysis_document
from attncli.studies.segments.result import Segments

SCHEMA = "attncli.segments/1"
MOST_IN_PANELS = 16
"""Largest number of segments that a panel of a page can show."""
TextSides = Mapping[tuple[int, Kind], Sides]


def tables(result: Segments) -> dict[str, dict[str, Array]]:
    """Return the tables by file name."""
    of_tokens = {"segments-tokens": result.tokens_table()} if result.tokens else {}
    return {"segments": result.table(), "segments-mean": result.mean_table(), **of_tokens}


def document(result: Segments, sides: TextSides, run: Collected) -> dict[str, Any]:
    """Return the contents of segments.json."""
    keys = {"segments": "heads", "segments-mean": "mean", "segments-tokens": "tokens"}
    columns = {keys[name]: table for name, table in tables(result).items()}
    inputs = [entry for text in run.inputs for entry in _input_entries(text, sides)]
    return analysis_document(SCHEMA, run.info, {"inputs": inputs}, columns)


def _input_entries(text: Input, sides: TextSides) -> Iterator[dict[str, Any]]:
    """Yield the tokens of a text with their segments, once for each kind of attention."""
    for kind in (kind for index, kind in sides if index == text.index):
        entry: dict[str, Any] = {"index": text.index, "kind": kind}
        for axis, names, tokens, side in zip(
            ("query", "key"), ("queries", "keys"), text.sides(kind), sides[text.index, kind], strict=True
        ):
            segments = [side.names[number] for number in side.numbers.tolist()]
            entry |= {names: list(tokens.pieces), f"{axis}_segments": segments}
        yield entry


def drawings(result: Segments, run: Collected) -> list[Drawing]:
    """Return the pictures: the mean and a page of all heads for each kind, and generated tokens for each text."""
    # imported here: matplotlib takes long to load
    from attncli.studies.segments.figures import means
    from attncli.studies.segments.figures import tokens as generated

    inputs = {text.index: text for text in run.inputs}
    labels: dict[str, Any] = {"model": run.info.title, "note": run.mean_note}
    pictures = []
    for kind in dict.fromkeys(result["mass"].coords["kind"][1].tolist()):
        pictures.append(Drawing(f"{kind}-segments", partial(means.draw, result, kind, **labels)))
        page = partial(means.draw_heads, result, kind, MOST_IN_PANELS, **labels)
        pictures.append(Drawing(f"{kind}-segments-heads", page))
    if result.tokens:
        coords = result.tokens["mass"].coords
        for text, kind in dict.fromkeys(zip(coords["text"][1].tolist(), coords["kind"][1].tolist(), strict=True)):
            queries = inputs[text].sides(kind)[0]
            of_text = {"model": run.info.title, "note": run.text_note(text)}
            picture = partial(generated.draw, result, kind, text, queries, **of_text)
            pictures.append(Drawing(f"{run.text_prefix(text)}{kind}-segments-tokens", picture))
    return pictures
