"""Which rows stand for chosen tokens: their own, or those that predict them."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.data import Kind, Text, Tokens
from attncli.data.tokens import Input
from attncli.data.transforms import without_special
from attncli.errors import UsageError
from attncli.inputs.rows_as import check_rows_as, predicting_rows, rows_as_of, rows_of
from attncli.stream.merging import merge_inputs


def with_special(*special: int, count: int = 6) -> Tokens:
    """Return tokens t0, t1, … of which some are special."""
    plain = Tokens.plain([f"t{number}" for number in range(count)])
    flags = np.isin(np.arange(count), special)
    return Tokens(plain.pieces, plain.ids, flags, plain.offsets, plain.words, plain.segments)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("generated", "decoder", "predicted"),
        ("assistant", "decoder", "predicted"),
        ("assistant ¶2", "decoder", "predicted"),
        ("generated", "cross", "predicted"),
        ("generated", "encoder", "input"),
        ("user", "decoder", "input"),
        ("assistants", "decoder", "input"),
        ("14-21", "decoder", "input"),
    ],
)
def test_written_tokens_are_read_where_they_are_predicted(name: str, kind: Kind, expected: str) -> None:
    assert rows_as_of(name, kind) == expected


def test_what_is_given_holds_for_all_rows_of_a_decoder() -> None:
    assert rows_as_of("generated", "decoder", "input") == "input"
    assert rows_as_of("user", "cross", "predicted") == "predicted"
    assert rows_as_of("user", "encoder", "predicted") == "input"
    assert rows_as_of("generated", "decoder", words=True) == "input"


def test_a_token_is_predicted_by_the_row_before_it() -> None:
    tokens = with_special(0)
    assert rows_of(tokens, np.array([0, 3, 4]), "predicted").tolist() == [2, 3]
    assert rows_of(tokens, np.array([0, 3, 4]), "input").tolist() == [0, 3, 4]


def test_a_token_after_a_dropped_token_has_no_row() -> None:
    tokens = without_special(with_special(0, 3))
    assert tokens.pieces == ("t1", "t2", "t4", "t5")
    assert predicting_rows(tokens).tolist() == [-1, 0, -1, 2]
    assert predicting_rows(tokens.take([1, 2, 3])).tolist() == [-1, -1, 1]
    (merged,) = merge_inputs([Input(0, Text("t"), with_special(0, 3))], words=False, drop=True)
    assert predicting_rows(merged.source).tolist() == [-1, 0, -1, 2]


@pytest.mark.parametrize(
    ("given", "kinds", "words", "said"),
    [
        ("predict", ("decoder",), False, "unknown --rows-as 'predict': did you mean 'predicted'"),
        ("predicted", ("decoder",), True, "needs the rows of single tokens.*leave out --words"),
        ("predicted", ("encoder",), False, "needs a decoder, whose rows predict the next token"),
    ],
)
def test_rows_that_do_not_exist_are_refused(given: str, kinds: tuple[Kind, ...], words: bool, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_rows_as(given, kinds, words=words)
    check_rows_as(None, kinds, words=words)
    check_rows_as("input", kinds, words=words)
