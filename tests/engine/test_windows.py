"""Rows and keys of maps by name, and rows that predict tokens: in the forward pass and from kept maps alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.data import Array, Tokens, Zoom
from attncli.data.transforms import without_special
from attncli.engine.request import zoom_of
from attncli.engine.windows import located, zoomed_text
from attncli.errors import UsageError
from attncli.plotting.captions import describe_processing

TEXTS = ["Once upon a time", "The king"]
WRITTEN = 4


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load("demo:decoder", head="auto-lm")


@pytest.fixture(scope="module")
def whole(model: attncli.Model) -> attncli.Run:
    return model.run(TEXTS, generate=WRITTEN)


def full(run: attncli.Run, text: int) -> Array:
    """Return the whole maps of a text: [layer, head, query, key]."""
    return run.attention(text=text).stack()


@pytest.mark.parametrize(
    ("options", "rows", "keys"),
    [
        ({"rows": "generated"}, (-5, -1), (0, None)),
        ({"rows": "generated", "keys": "prompt"}, (-5, -1), (1, -4)),
        ({"rows": "generated", "rows_as": "input"}, (-4, None), (0, None)),
        ({"rows": "-3--2", "rows_as": "predicted"}, (-4, -2), (0, None)),
        ({"rows": "-3--2"}, (-3, -1), (0, None)),
        ({"rows_as": "predicted"}, (0, -1), (0, None)),
        ({"rows": "generated", "aggregate": "mean", "resolution": 64}, (-5, -1), (0, None)),
    ],
)
def test_the_pass_shows_the_rows_that_kept_maps_show(
    options: dict[str, Any], rows: tuple[int, int], keys: tuple[int, int], model: attncli.Model, whole: attncli.Run
) -> None:
    run = model.run(TEXTS, generate=WRITTEN, **options)
    zoom = {name: value for name, value in options.items() if name != "aggregate"}
    for text in range(len(TEXTS)):
        shown, kept = run.attention(text=text), whole.attention(text=text)
        kept = kept.mean("head") if "aggregate" in options else kept
        expected = kept.stack()[:, :, slice(*rows), slice(*keys)]
        np.testing.assert_allclose(shown.stack(), expected, atol=1e-6)
        of_kept = zoomed_text(kept, zoom_of(zoom))
        np.testing.assert_array_equal(of_kept.stack(), expected)
        predicted = options.get("rows_as", "predicted") == "predicted" and options.get("rows") != "-3--2"
        predicted |= options.get("rows_as") == "predicted"
        shift = 1 if predicted else 0
        tokens = kept.queries.pieces
        first, last = np.arange(len(tokens))[slice(*rows)][[0, -1]] + shift
        for attention in (shown, of_kept):
            assert attention.queries.pieces == tokens[first : last + 1]
            assert attention.window is not None
            assert attention.window[0] == (first, last)
            assert ("rows as predicted" in describe_processing(attention)) == predicted


def test_a_saved_run_says_which_rows_it_keeps(model: attncli.Model, tmp_path: Path) -> None:
    run = model.run(TEXTS[0], generate=WRITTEN, rows="generated")
    run.save(tmp_path / "saved")
    again = attncli.open(tmp_path / "saved").attention()
    assert (again.rows_as, again.window) == ("predicted", run.attention().window)
    assert again.queries.pieces == run.attention().queries.pieces
    # its rows are named by the tokens that they predict already: they do not move again
    assert zoomed_text(again, zoom_of({"rows": "generated"})).queries.pieces == again.queries.pieces


def test_rows_of_words_are_their_own(model: attncli.Model) -> None:
    run = model.run(TEXTS[0], generate=WRITTEN, rows="generated", words=True)
    assert run.attention().rows_as == "input"
    with pytest.raises(UsageError, match="needs the rows of single tokens"):
        model.run(TEXTS[0], generate=WRITTEN, rows="generated", rows_as="predicted", words=True)


def test_cross_attention_shows_what_predicts_the_target() -> None:
    model = attncli.load("demo:seq2seq")
    given: dict[str, Any] = {"target": "owt eno", "kind": "cross"}
    run, kept = model.run("one two", **given, rows_as="predicted"), model.run("one two", **given)
    np.testing.assert_array_equal(run.attention().stack(), kept.attention().stack()[:, :, :-1])
    assert run.attention().queries.pieces == kept.attention().queries.pieces[1:]
    whole = model.run("one two", target="owt eno", kind="encoder", rows_as="predicted")
    assert whole.attention().window is None


def special(*positions: int, count: int = 8) -> Tokens:
    plain = Tokens.plain([f"t{number}" for number in range(count)])
    flags = np.isin(np.arange(count), positions)
    segments = tuple("user" if 1 <= number <= 5 else "" for number in range(count))
    return Tokens(plain.pieces, plain.ids, flags, plain.offsets, plain.words, segments)


def test_special_tokens_inside_a_segment_are_shown() -> None:
    tokens = special(3)
    part = located(Zoom(rows="user", keys="user"), (tokens, tokens), "decoder")
    assert (part.rows, part.keys, part.rows_as) == ((1, 5), (1, 5), None)


def test_a_dropped_special_token_takes_its_row_with_it() -> None:
    tokens = without_special(special(0))
    part = located(Zoom(rows=(0, 4), rows_as="predicted"), (tokens, tokens), "decoder")
    assert part.rows == (0, 3)
    tokens = without_special(special(0, 3))
    with pytest.raises(UsageError, match="rows are in 2 parts of the text, 0-0, 2-3"):
        located(Zoom(rows=(0, 4), rows_as="predicted"), (tokens, tokens), "decoder")


@pytest.mark.parametrize(
    ("zoom", "said"),
    [
        (Zoom(rows="nothing"), "'nothing' does not occur in the text"),
        (Zoom(rows=(0, 0), rows_as="predicted"), "no row predicts token 0: choose other --rows"),
        (Zoom(rows=(5, 9), rows_as="predicted"), "--rows 5-9 is outside the text"),
        (Zoom(keys="user"), "--keys user are in 2 parts of the text, 1-2, 5-5: give the positions of one of them"),
    ],
)
def test_rows_that_do_not_exist_are_refused(zoom: Zoom, said: str) -> None:
    tokens = special(0)
    apart = Tokens(
        *(getattr(tokens, name) for name in ("pieces", "ids", "special", "offsets", "words")),
        segments=("", "user", "user", "b", "b", "user", "", ""),
    )
    with pytest.raises(UsageError, match=said):
        located(zoom, (apart, apart), "decoder").sides(len(apart), len(apart))
