"""Corpora in Python: the numbers of the same texts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import attncli
from attncli.inputs.corpus import Corpus

TEXTS = ["The cat sat on the mat.", "A dog ran.", "It rained and rained.", "Two dogs sat."]


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load("demo:encoder")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "made.txt").write_text("\n".join(TEXTS))
    return attncli.corpus(tmp_path / "made.txt")


def test_statistics_of_a_corpus_are_those_of_its_texts(model: attncli.Model, corpus: Corpus) -> None:
    of_texts = model.run(TEXTS, metrics=["entropy", "sink"], layer=1, keep_maps=False).stats(["entropy", "sink"])
    of_corpus = model.stats(corpus, metrics=["entropy", "sink"], layer=1)
    assert list(of_corpus.table()) == list(of_texts.table())
    for name in ("entropy", "sink_std", "queries"):
        np.testing.assert_allclose(of_corpus.table()[name], of_texts.table()[name], rtol=0, atol=1e-6)
    of_tokens = model.stats(corpus, metrics="entropy", layer=1, per_query=True)
    assert set(of_tokens.tokens["entropy"].coords["text"][1]) == {0, 1, 2, 3}


def test_a_corpus_has_no_pair(model: attncli.Model, corpus: Corpus) -> None:
    with pytest.raises(attncli.UsageError, match="pair goes with one text, not with a corpus"):
        model.stats(corpus, pair="and")


def test_a_corpus_is_of_files_or_of_a_dataset(tmp_path: Path) -> None:
    for arguments in ({}, {"files": tmp_path, "dataset": "imdb"}):
        with pytest.raises(attncli.UsageError, match="expected files or a dataset: give one of them"):
            attncli.corpus(**arguments)  # type: ignore[arg-type]
    with pytest.raises(attncli.UsageError, match="split and streaming are about a dataset"):
        attncli.corpus(tmp_path, split="train")
