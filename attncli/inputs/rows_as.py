"""Which rows stand for chosen tokens: their own rows, or the rows before them, which predict them.

In a decoder, the row of a token is computed from this token and predicts the next one. What a written token was chosen
by is therefore seen one row earlier.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from attncli.data import Array, Input, Kind, RowsAs, Scores, Tokens, predicts_tokens
from attncli.data.surfaces import token_columns
from attncli.errors import UsageError, did_you_mean
from attncli.vocabulary import ROWS_AS

WRITTEN = ("generated", "assistant")
"""Segments that the model wrote, or writes in a conversation."""


def check_rows_as(given: str | None, kinds: Collection[Kind] = (), *, words: bool = False) -> RowsAs | None:
    """Return `given`; raise UsageError if it is no value of --rows-as, or if these kinds of attention lack such rows.

    words  whether rows are words: the mean over rows of pieces predicts no single token
    """
    if given is None:
        return None
    if given not in ROWS_AS:
        raise UsageError(f"unknown --rows-as '{str(given)[:60]}': {did_you_mean(str(given), ROWS_AS)}")
    if given == "predicted" and words:
        raise UsageError(
            "--rows-as predicted needs the rows of single tokens, and the row of a word is the mean over its pieces: "
            "leave out --words"
        )
    if given == "predicted" and set(kinds) == {"encoder"}:
        raise UsageError(
            "--rows-as predicted needs a decoder, whose rows predict the next token; this is the attention of an "
            "encoder: leave it out"
        )
    return "predicted" if given == "predicted" else "input"


def is_written(name: str) -> bool:
    """Return whether a segment is one that the model writes, or a part of one, such as `assistant ¶2`."""
    return name.split(" ")[0] in WRITTEN


def rows_as_of(name: str, kind: Kind, given: RowsAs | None = None, *, words: bool = False) -> RowsAs:
    """Return which rows stand for the tokens of a segment or a focus: `given`, or the default for its name.

    The default is predicted for `generated` and `assistant` (and its parts, such as `assistant ¶2`), else input.
    Rows of an encoder and rows of words are always input.

    >>> rows_as_of("generated", "decoder"), rows_as_of("user", "decoder"), rows_as_of("user", "decoder", "predicted")
    ('predicted', 'input', 'predicted')
    """
    if kind == "encoder" or words:
        return "input"
    if given is not None:
        return given
    return "predicted" if is_written(name) else "input"


def words_note(names: Iterable[str], kinds: Iterable[Kind], given: RowsAs | None, *, words: bool) -> str:
    """Return a note if the tokens of a segment are not read by the rows that predict them because rows are words.

    names  names of segments or of a focus
    words  whether rows are words

    >>> words_note(["generated"], ["decoder"], "input", words=True), words_note(["it"], ["decoder"], None, words=True)
    ('', '')
    """
    changed = {name for kind in kinds for name in names if rows_as_of(name, kind, given) == "predicted"}
    if not words or not changed:
        return ""
    listed = " and ".join(f"'{name}'" for name in names if name in changed)
    return (
        f"rows of {listed} are read as input, as no row predicts a word: leave out --words to read those of its tokens"
    )


def predicting_rows(tokens: Tokens) -> Array:
    """Return [token] the position of the row that predicts each token, -1 for none.

    The first token has none, nor has a token right after special tokens that were dropped: their rows are gone.

    >>> predicting_rows(Tokens.plain(["The", "cat", "sat"])).tolist()
    [-1, 0, 1]
    """
    rows = np.arange(len(tokens)) - 1
    return np.where(tokens.gaps, -1, rows) if tokens.gaps else rows


def rows_of(tokens: Tokens, positions: Array, rows_as: RowsAs) -> Array:
    """Return the rows that stand for the tokens at these positions, without those that have none.

    >>> rows_of(Tokens.plain(["The", "cat", "sat"]), np.array([0, 2]), "predicted").tolist()
    [1]
    """
    if rows_as == "input":
        return positions
    rows = predicting_rows(tokens)[positions]
    return rows[rows >= 0]


def named_as_predicted(scores: Mapping[str, Scores], inputs: Sequence[Input]) -> dict[str, Scores]:
    """Return scores of rows whose `query`, `token` and `piece` are those of the token that each row predicts.

    Rows that predict no token of the text are left out. Rows of an encoder, and rows that stand for several tokens,
    keep their names.

    scores  dim `row` (coords text, kind, layer, head, query, token, piece)
    """
    if not scores:
        return {}
    coords = dict(next(iter(scores.values())).coords)
    kinds, texts, rows = (coords[name][1] for name in ("kind", "text", "query"))
    by_index = {text.index: text for text in inputs}
    position = rows.copy()
    names = {name: coords[name][1].copy() for name in ("token", "piece")}
    for text, kind in dict.fromkeys(zip(texts.tolist(), kinds.tolist(), strict=True)):
        if not predicts_tokens(kind):
            continue
        part = np.flatnonzero((texts == text) & (kinds == kind))
        tokens = by_index[text].sides(kind)[0]
        position[part] = tokens.predicted[rows[part]]
        for name, column in zip(names, token_columns(tokens), strict=True):
            names[name][part] = column[position[part]]
    kept = position >= 0
    coords |= {"query": ("row", position)} | {name: ("row", column) for name, column in names.items()}
    of_kept = {name: (dim, entries[kept]) for name, (dim, entries) in coords.items()}
    return {name: replace(one, values=one.values[kept], coords=of_kept) for name, one in scores.items()}
