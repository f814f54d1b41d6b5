"""When attention is compiled, what enters the digest, and what is said if it is not."""

from __future__ import annotations

from dataclasses import replace

import families
import numpy as np
import pytest
from families import FAMILIES

import attncli
from attncli.data import Text
from attncli.engine.compiling import EDITED, LONG, with_compile
from attncli.engine.request import Request

TEXT = "The cat sat on the mat because it was warm."


@pytest.mark.parametrize(
    ("texts", "choice"),
    [((LONG - 1,), "off"), ((LONG,), "on"), ((10, LONG), "on"), ((LONG // 2, LONG // 2), "off"), ((), "off")],
)
def test_auto_compiles_for_long_texts(texts: tuple[int, ...], choice: str) -> None:
    request = with_compile(Request(), [Text("a" * length) for length in texts], "cpu")
    assert (request.compile, request.compile_notes) == (choice, ())


def test_the_parts_of_a_text_count_together() -> None:
    text = Text("a" * (LONG - 10), pair="b" * 5, target="c" * 5)
    assert with_compile(Request(), [text], "cpu").compile == "on"


def test_a_text_that_is_cut_counts_as_the_tokens_that_are_left() -> None:
    for tokens, choice in ((LONG // 4 - 1, "off"), (LONG // 4, "on")):
        assert with_compile(Request(max_tokens=tokens), [Text("a" * 2 * LONG)], "cpu").compile == choice


def test_off_is_off_for_any_text() -> None:
    assert with_compile(Request(compile="off"), [Text("a" * LONG)], "cpu").compile == "off"


def test_attention_that_cannot_be_compiled_gives_a_note() -> None:
    for request in (Request(compile="on"), Request()):
        resolved = with_compile(request, [Text("a" * LONG)], "cpu", EDITED)
        assert resolved.compile == "off"
        [note] = resolved.compile_notes
        assert note.endswith(f"by rounding only: {EDITED}")


def test_only_compiled_attention_enters_the_digest() -> None:
    plain = Request().resolved()
    assert replace(Request(), compile="off").resolved() == plain
    assert replace(Request(), compile="on").resolved() == {**plain, "compile": "on"}


def test_compiled_statistics_are_the_same_every_time_and_close_to_plain_ones() -> None:
    model, text = attncli.load("demo:decoder"), " ".join([TEXT] * 20)  # several blocks of rows
    first, second, plain = (
        model.run(text, metrics="all", keep_maps=False, compile=choice) for choice in ("on", "on", "off")
    )
    assert (first.info.resolved["compile"], "compile" in plain.info.resolved) == ("on", False)
    for name, scores in first.statistics.heads.items():
        np.testing.assert_array_equal(scores.values, second.statistics.heads[name].values)
        np.testing.assert_allclose(scores.values, plain.statistics.heads[name].values, rtol=1e-5, atol=1e-5)


def test_maps_of_compiled_blocks_are_those_of_plain_ones() -> None:
    model = attncli.load("demo:seq2seq")
    compiled, plain = (model.run(TEXT, target="it was", compile=choice) for choice in ("on", "off"))
    for kind in ("encoder", "decoder", "cross"):
        for ours, theirs in zip(compiled.attention(kind).layers, plain.attention(kind).layers, strict=True):
            np.testing.assert_allclose(ours.weights, theirs.weights, atol=1e-5)


def test_a_model_that_computes_its_attention_itself_is_read_without_compiled_code() -> None:
    family = FAMILIES["bloom"]
    run = attncli.capture(families.build(family), families.inputs(family), compile="on")
    assert any("the model computes its attention itself" in note for note in run.info.notes)


def test_edited_models_say_that_they_are_not_compiled() -> None:
    with attncli.load("demo:encoder").edited(attncli.zero("1.1")) as edited:
        run = edited.run(TEXT, compile="on")
    assert any(EDITED in note for note in run.info.notes)


def test_passes_of_a_study_that_are_not_compiled_are_named_once() -> None:
    resolved = with_compile(Request(compile="on"), [], "cpu", uncompiled="passes with gradients")
    again = with_compile(resolved, [], "cpu")
    assert again.compile_notes == ("passes with gradients are not compiled",)
