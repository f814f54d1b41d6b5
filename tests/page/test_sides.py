"""What the page knows of each token: its label, its word, and the text that it covers."""

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


def told(found: dict) -> str:
    return "".join(a + b for a, b in zip(found["before"], found["surface"], strict=True)) + found["after"]


TEXTS = [" Once  upon a time.\nShe was naïve ", "👩‍👩‍👧 注意 e\u0301"]


@pytest.mark.parametrize("model", ["demo:encoder", "demo:decoder", "demo:seq2seq"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_text_is_told_whole(model: str, text: str) -> None:
    run = attncli.load(model).run(text, target="x") if "seq2seq" in model else attncli.load(model).run(text)
    found = side_document(run.inputs[0].source)
    assert told(found) == text
    assert len({len(found[name]) for name in ("pieces", "labels", "words", "segments", "before", "surface")}) == 1
    assert max(found["words"]) == len(found["word_labels"]) - 1


def test_both_texts_of_a_pair_are_told() -> None:
    found = side_document(attncli.load("demo:encoder").run("The cat.", pair="It sat.").inputs[0].source)
    assert told(found) == "The cat.\nIt sat."
    assert found["surface"][0] == ""
    assert {found["segments"][at] for at in found["special"]} == {""}


def test_the_space_before_a_piece_is_not_its_own() -> None:
    found = side_document(attncli.load("demo:decoder").run("The cat").inputs[0].source)
    assert found["pieces"] == ["<s>", "The", "Ġc", "at"]
    assert found["surface"] == ["", "The", "c", "at"]
    assert found["before"] == ["", "", " ", ""]
    assert (found["special"], found["words"]) == ([0], [0, 1, 2, 2])
    assert found["word_labels"] == ["<s>", "The", "cat"]


def test_what_a_model_wrote_is_told_by_its_pieces() -> None:
    run = attncli.load("demo:decoder", head="causal-lm").run("Once upon", generate=8)
    found = side_document(run.inputs[0].source)
    assert found["segments"][-1] == "generated"
    assert told(found).startswith("Once upon")
    assert len(told(found)) > len("Once upon") + 8


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
    assert told(side_document(bare(pieces, scheme))) == text


def test_a_part_of_a_text_tells_no_more_than_its_tokens() -> None:
    tokens = attncli.load("demo:encoder").run("The cat sat on the mat.").inputs[0].source
    assert told(side_document(tokens.take([2, 3, 4]), cut=True)) == tokens.text[slice(*tokens.offsets[[2, 4], [0, 1]])]


@pytest.mark.parametrize("scheme", ["plain", "wordpiece", "bytelevel", "metaspace"])
def test_hostile_pieces_are_kept_as_they_are(scheme: Scheme) -> None:
    pieces = [*HOSTILE, "\ud800", "\udce2"]
    found = side_document(bare(pieces, scheme))
    assert found["pieces"] == pieces
    assert len(found["surface"]) == len(found["labels"]) == len(pieces)
