"""Words that the user numbers, and notes on words that the rule cannot find."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.errors import UsageError
from attncli.inputs.word_ids import parse_word_ids

TEXT = "The cat sat."
OWN = [None, 0, 0, 0, 1, 1, None]
"""[CLS] the-cat sat-. [SEP]"""


@pytest.fixture(scope="module")
def encoder() -> attncli.Model:
    return attncli.load("demo:encoder")


def test_own_words_are_merged_in_the_pass_and_from_kept_maps(encoder: attncli.Model, tmp_path: Path) -> None:
    whole = encoder.run(TEXT)
    assert whole.inputs[0].source.pieces == ("[CLS]", "the", "ca", "##t", "sat", ".", "[SEP]")
    found = encoder.run(TEXT, word_ids=OWN)
    weights = whole.attention("encoder").stack().astype(np.float64)
    groups = ([0], [1, 2, 3], [4, 5], [6])
    by_key = np.stack([weights[..., group].sum(-1) for group in groups], axis=-1)
    expected = np.stack([by_key[..., group, :].mean(-2) for group in groups], axis=-2)
    attention = found.attention("encoder")
    assert attention.words
    assert attention.queries.pieces == attention.keys.pieces == ("[CLS]", "The cat", "sat.", "[SEP]")
    np.testing.assert_allclose(attention.stack(), expected, atol=1e-6)
    again = attncli.open(whole.save(tmp_path / "run"))
    from attncli.engine.request import Request

    reread = again.reshaped(Request.of({"word_ids": [OWN]}), "run").maps[0]
    np.testing.assert_allclose(reread.stack(), expected, atol=1e-6)
    assert reread.queries.vocabulary_pieces == ("[CLS]", "the ca ##t", "sat .", "[SEP]")


def test_own_words_of_both_sides_of_an_encoder_decoder() -> None:
    model = attncli.load("demo:seq2seq")
    sides = {"source": [0, 0, 0, None], "target": [None, 0, 1, 1, None]}
    run = model.run("cat", target="abcd", word_ids=sides)
    cross = run.attention("cross")
    assert (cross.queries.pieces, cross.keys.pieces) == (("<pad>", "a", "bc", "d"), ("cat", "</s>"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 1], "--word-ids has 2 numbers for the source tokens of text 0, which are 7"),
        ([OWN, OWN], "--word-ids has words for 2 texts, there are 1"),
        ([None, "0", 0, 0, 1, 1, None], "--word-ids, text 0: expected the word number of each token"),
        ([[None, 0.5, 0, 0, 1, 1, None]], "--word-ids, text 0: expected the word number"),
        ([-5, 0, 0, 0, 1, 1, None], "--word-ids, text 0: expected word numbers from 0 up"),
        ({"sources": OWN}, "--word-ids, text 0: expected the word number"),
        ([], "--word-ids: expected the word number"),
        (5, "--word-ids: expected the word number of each token.*got int"),
        ("words", "--word-ids: expected the word number of each token.*got str"),
    ],
)
def test_wrong_numbers_are_refused(encoder: attncli.Model, given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encoder.run(TEXT, word_ids=given)


def test_maps_of_words_take_no_other_words(encoder: attncli.Model) -> None:
    from attncli.engine.request import Request

    with pytest.raises(UsageError, match="these are of words already"):
        encoder.run(TEXT, words=True).reshaped(Request.of({"word_ids": [OWN]}), "run")


def test_numbers_may_be_arrays() -> None:
    assert parse_word_ids(np.array([[-1, 0, 0]])) == ({"source": (-1, 0, 0)},)


def test_the_command_line_reads_a_file(run_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text(json.dumps(OWN))
    options = ("--text", TEXT, "--word-ids", tmp_path / "ids.json", "--metric", "entropy", "--json")
    found = json.loads(run_cli("stats", *options, "--out", tmp_path / "out").out)
    assert found["inputs"][0]["queries"] == ["[CLS]", "The cat", "sat.", "[SEP]"]
    assert found["inputs"][0]["query_pieces"] == ["[CLS]", "the ca ##t", "sat .", "[SEP]"]
    (tmp_path / "ids.json").write_text("[1, 2")
    wrong = run_cli("stats", *options, "--out", tmp_path / "other")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)


# ------------------------------------------------------------------------------------------ notes


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("thecatsatonthemat", "text 0 has a word of 9 tokens, more than half of them"),
        ("猫が座った", "text 0 is in a script without spaces between words"),
        ("ภาษาไทย", "text 0 is in a script without spaces between words"),
    ],
)
def test_a_text_without_spaces_gets_a_note(text: str, note: str) -> None:
    import re

    model = attncli.load("demo:decoder")
    assert not any("--word-ids" in found for found in model.run(text, layer=0).info.notes)
    (found,) = (found for found in model.run(text, layer=0, words=True).info.notes if "--word-ids" in found)
    assert re.match(note, found)
    own = [None, *range(len(model.run(text, layer=0).inputs[0].source) - 1)]
    assert not any("--word-ids" in found for found in model.run(text, layer=0, word_ids=own).info.notes)


def test_ordinary_texts_get_no_note(encoder: attncli.Model) -> None:
    assert not any("word" in note for note in encoder.run(TEXT, words=True).info.notes)


def test_the_help_page_of_words_is_true_of_its_example(run_cli: Callable[..., Any], encoder: attncli.Model) -> None:
    page = " ".join(run_cli("explain", "words").out.split())
    assert "\"It didn't rain.\" has the words It, didn't, rain and the full stop" in page
    words = encoder.run("It didn't rain.", words=True, special="drop", layer=0).inputs[0].source.pieces
    assert words == ("It", "didn't", "rain", ".")
