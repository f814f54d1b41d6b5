"""Words that the user numbers: the word of each token, for the texts of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attncli.data import Input, Tokens
from attncli.data.words import words_note
from attncli.errors import UsageError
from attncli.inputs.text_files import read_json

_SIDES = ("source", "target")
_EXPECTED = (
    "the word number of each token, null for a token of no word, such as [null, 0, 0, 1, null]; "
    'a list of such lists for several texts; {"source": [...], "target": [...]} for an encoder-decoder'
)
SideIds = Mapping[str, tuple[int, ...]]
"""The word numbers of the source or target tokens of a text, -1 for none."""
WordIds = tuple[SideIds, ...]


def read_word_ids(path: str | Path) -> Any:
    """Return the content of a JSON file of word numbers, which `parse_word_ids` checks."""
    return read_json(path)


def parse_word_ids(given: Any) -> WordIds | None:
    """Return the word numbers of each text; raise UsageError unless they are lists of numbers."""
    if given is None:
        return None
    is_list = _is_list(given) and len(given) > 0
    if isinstance(given, Mapping) or (is_list and not any(_is_list(one) or isinstance(one, Mapping) for one in given)):
        given = [given]
    if not _is_list(given) or not len(given):
        raise UsageError(f"--word-ids: expected {_EXPECTED}, got {type(given).__name__}")
    return tuple(_text_ids(entry, number) for number, entry in enumerate(given))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)


def _text_ids(entry: Any, number: int) -> SideIds:
    sides = entry if isinstance(entry, Mapping) else {"source": entry}
    if not sides or not sides.keys() <= {*_SIDES}:
        raise UsageError(f"--word-ids, text {number}: expected {_EXPECTED}")
    return {name: _numbers(ids, f"text {number}") for name, ids in sides.items()}


def _numbers(ids: Any, what: str) -> tuple[int, ...]:
    numbers = [-1 if one is None else one for one in ids] if _is_list(ids) else None
    if numbers is None or not all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in numbers):
        raise UsageError(f"--word-ids, {what}: expected {_EXPECTED}")
    if any(not -1 <= one < 2**31 for one in numbers):
        raise UsageError(f"--word-ids, {what}: expected word numbers from 0 up, got {min(numbers)} to {max(numbers)}")
    return tuple(int(one) for one in numbers)


def with_word_ids(inputs: Sequence[Input], word_ids: WordIds, texts: int) -> tuple[Input, ...]:
    """Return texts with the words of the user; raise UsageError if the numbers are not one for each token.

    texts  number of texts of the run, of which these are some
    """
    if len(word_ids) != texts:
        raise UsageError(f"--word-ids has words for {len(word_ids)} texts, there are {texts}: give one list for each")
    return tuple(
        replace(
            one,
            source=number_tokens(one.source, word_ids, one.index, "source"),
            target=None if one.target is None else number_tokens(one.target, word_ids, one.index, "target"),
        )
        for one in inputs
    )


def number_tokens(tokens: Tokens, word_ids: WordIds, text: int, side: str) -> Tokens:
    """Return one side of a text with the words of the user; without numbers for this side, its own words."""
    ids = word_ids[text].get(side) if text < len(word_ids) else None
    if ids is None:
        return tokens
    if len(ids) != len(tokens):
        raise UsageError(
            f"--word-ids has {len(ids)} numbers for the {side} tokens of text {text}, which are {len(tokens)}: "
            "give one for each token, null for a token of no word"
        )
    return replace(tokens, words=np.array(ids, np.int64))


def word_notes(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Return a note on the first text whose words are hardly those of its language, with the number of others."""
    notes = []
    for one in inputs:
        sides = (("text", one.source), ("the target of text", one.target))
        found = (words_note(tokens, f"{what} {one.index}") for what, tokens in sides if tokens is not None)
        notes += list(filter(None, found))[:1]
    return tuple(notes[:1]) if len(notes) < 2 else (f"{notes[0]} (as for {len(notes) - 1} more)",)
