"""The tokens of the page: their labels, their words, and the text that they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import HOSTILE

import attncli
from attncli.data import Scheme, Tokens
from attncli.page.sides import side_document


def bare(pieces: list[str], scheme: Scheme = "plain") -> Tokens:
    n = len(pieces)
    at = np.arange(n)
    return Tokens(tuple(pieces), at, at < 0, np.full((n, 2), -1), at, ("",) * n, scheme=scheme)


def full_text(side: dict) -> str:
    return "".join(a + b for a, b in zip(side["before"], side["surface"], strict=True)) + side["after"]


TEXTS = [" Once  upon a time.\nShe was naïve ", "👩‍👩‍👧 注意 e\u0301"]


@pytest.mark.parametrize("model", ["demo:encoder", "demo:decoder", "demo:seq2seq"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_text_is_complete(model: str, text: str) -> None:
    run = attncli.load(model).run(text, target="x") if "seq2seq" in model else attncli.load(model).run(text)
    side = side_document(run.inputs[0].source)
    assert full_text(side) == text
    assert len({len(side[name]) for name in ("pieces", "labels", "words", "segments", "before", "surface")}) == 1
    assert max(side["words"]) == len(side["word_labels"]) - 1


def test_both_texts_of_a_pair_are_full_text() -> None:
    side = side_document(attncli.load("demo:encoder").run("The cat.", pair="It sat.").inputs[0].source)
    assert full_text(side) == "The cat.\nIt sat."
    assert side["surface"][0] == ""
    assert {side["segments"][at] for at in side["special"]} == {""}


def test_the_space_before_a_piece_is_not_part_of_it() -> None:
    side = side_document(attncli.load("demo:decoder").run("The cat").inputs[0].source)
    assert side["pieces"] == ["<s>", "The", "Ġc", "at"]
    assert side["surface"] == ["", "The", "c", "at"]
    assert side["before"] == ["", "", " ", ""]
    assert (side["special"], side["words"]) == ([0], [0, 1, 2, 2])
    assert side["word_labels"] == ["<s>", "The", "cat"]


def test_generated_text_comes_from_its_pieces() -> None:
    run = attncli.load("demo:decoder", head="causal-lm").run("Once upon", generate=8)
    side = side_document(run.inputs[0].source)
    assert side["segments"][-1] == "generated"
    assert full_text(side).startswith("Once upon")
    assert len(full_text(side)) > len("Once upon") + 8


@pytest.mark.parametrize(
    ("scheme", "pieces", "text"),
    [
        ("wordpiece", ["un", "##believ", "##ably", "so"], "unbelievably so"),
        ("bytelevel", ["ĠShe", "Ġna", "Ã", "¯", "ve"], "She naïve"),
        ("metaspace", ["▁She", "▁na", "<0xC3>", "<0xAF>", "ve"], "She naïve"),
        ("plain", ["She", "sat"], "She sat"),
        ("bytelevel", ["Ã", "x"], "�x"),
    ],
)
def test_pieces_without_a_text(scheme: Scheme, pieces: list[str], text: str) -> None:
    assert full_text(side_document(bare(pieces, scheme))) == text


def test_a_part_of_a_text_has_only_the_text_of_its_tokens() -> None:
    tokens = attncli.load("demo:encoder").run("The cat sat on the mat.").inputs[0].source
    assert (
        full_text(side_document(tokens.take([2, 3, 4]), cut=True))
        == tokens.text[slice(*tokens.offsets[[2, 4], [0, 1]])]
    )


@pytest.mark.parametrize("scheme", ["plain", "wordpiece", "bytelevel", "metaspace"])
def test_hostile_pieces_are_kept_as_they_are(scheme: Scheme) -> None:
    pieces = [*HOSTILE, "\ud800", "\udce2"]
    side = side_document(bare(pieces, scheme))
    assert side["pieces"] == pieces
    assert len(side["surface"]) == len(side["labels"]) == len(pieces)
