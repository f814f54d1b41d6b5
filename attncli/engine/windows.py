"""The part of a text that maps show: rows and keys that a user names, and the rows that stand for them."""

from dataclasses import replace

import numpy as np

from attncli.data import Array, Attention, Kind, Span, Tokens, Zoom
from attncli.data.focus import find_one_focus
from attncli.data.transforms import zoomed
from attncli.errors import UsageError
from attncli.inputs.rows_as import check_rows_as, is_written, predicting_rows, rows_as_of


def located(zoom: Zoom, sides: tuple[Tokens, Tokens], kind: Kind) -> Zoom:
    """Return the zoom for the queries and keys of one text: the positions of its keys, and of the rows to read.

    `rows_as` of the result says which rows these are if the user asked for it or named what the model writes, else it
    is None. Raise UsageError if the text has no such tokens, or if they are not next to each other.
    """
    queries, keys = sides
    name, words = zoom.rows if isinstance(zoom.rows, str) else "", bool(queries.merged)
    check_rows_as(zoom.rows_as, words=words)
    rows_as = rows_as_of(name, kind, zoom.rows_as, words=words)
    rows = _span(zoom.rows, queries, "--rows")
    if rows_as == "predicted":
        window = Zoom(rows=rows).sides(len(queries), len(keys))[0]
        rows = _predicting(queries, np.arange(window.first, window.last + 1))
    asked = zoom.rows_as is not None or is_written(name)
    return replace(zoom, rows=rows, keys=_span(zoom.keys, keys, "--keys"), rows_as=rows_as if asked else None)


def zoomed_text(attention: Attention, zoom: Zoom) -> Attention:
    """Return the window of the maps of one text, in at most `resolution` cells a side: see `zoomed`.

    Rows that predict tokens are named by these. Maps whose rows are such already stay as they are.
    """
    zoom = replace(zoom, rows_as="input") if attention.rows_as == "predicted" else zoom
    part = located(zoom, (attention.queries, attention.keys), attention.kind)
    shown = zoomed(attention, part)
    return shown if attention.rows_as == "predicted" else name_rows(shown, attention.queries, part)


def name_rows(attention: Attention, queries: Tokens, part: Zoom) -> Attention:
    """Return the maps of a part of the text `queries`, whose rows are named by the tokens that they stand for."""
    if part.rows_as != "predicted" or attention.window is None:
        return replace(attention, rows_as=part.rows_as or attention.rows_as)
    (first, last), keys = attention.window
    window = Zoom(rows=part.rows).sides(len(queries), 1)[0]
    tokens = queries.take(np.arange(window.first + 1, window.last + 2))
    return replace(attention, queries=tokens, window=((first + 1, last + 1), keys), rows_as="predicted")


def _span(wanted: Span | str | None, tokens: Tokens, option: str) -> Span | None:
    """Return the first and last position of the tokens that a user names, with special tokens between them.

    Positions are returned as they are.
    """
    if not isinstance(wanted, str):
        return wanted
    named = np.array(find_one_focus(tokens, wanted, option).positions)
    between = np.flatnonzero(tokens.special)
    inside = between[(between > named[0]) & (between < named[-1])]
    return _ends(np.union1d(named, inside), f"{option} {wanted}")


def _predicting(queries: Tokens, positions: Array) -> Span:
    """Return the first and last of the rows that predict the tokens at these positions."""
    rows = predicting_rows(queries)[positions]
    if not (rows >= 0).any():
        raise UsageError(f"no row predicts token {positions[0]}: choose other --rows, or --rows-as input")
    return _ends(rows[rows >= 0], "--rows-as predicted: rows")


def _ends(positions: Array, what: str) -> Span:
    """Return the first and last position; raise UsageError that lists the parts if some between them are missing."""
    parts = np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
    if len(parts) > 1:
        listed = ", ".join(f"{part[0]}-{part[-1]}" for part in parts[:6])
        raise UsageError(f"{what} are in {len(parts)} parts of the text, {listed}: give the positions of one of them")
    return int(positions[0]), int(positions[-1])
