"""Attribution in the texts of a corpus: the tables of shards, and the summary of the methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.errors import UsageError
from attncli.studies.attribute.corpus_result import CorpusAttribution

TEXTS = ["I saw a chosen cat and some soup.", "cat", "The chosen lever and soup.", "a chosen goat"]
METHODS: Any = ("integrated-gradients", "shapley", "attention")


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    """The bundled classifier with its head."""
    return attncli.load("demo:classifier", head="auto-head")


def attributed(path: Path, model: attncli.Model, **options: Any) -> CorpusAttribution:
    path.write_text("\n".join(TEXTS))
    corpus = attncli.corpus(path, **options)
    return model.attribute(corpus, METHODS, "labels", samples=3, steps=8, seed=1, allow_delta=True)


def joined(parts: Any) -> dict[str, list[Any]]:
    tables: list[Mapping[str, Any]] = list(parts)
    return {name: [value for table in tables for value in table[name].tolist()] for name in tables[0]}


def test_each_text_has_the_values_that_it_has_alone(
    tmp_path: Path, model: attncli.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attncli.studies.attribute.study.AttributeStudy.shard_texts", 2)
    monkeypatch.setattr("attncli.studies.attribute.corpus_result.PART_ROWS", 1)
    result = attributed(tmp_path / "few.txt", model, on_error="skip")
    tokens, texts = joined(result.tokens), joined(result.texts)
    assert len(list(result.tokens)) == 2
    expected: dict[str, list[Any]] = {name: [] for name in tokens}
    errors = []
    for number in (0, 2, 3):
        alone = model.attribute(TEXTS[number], METHODS, "labels", samples=3, steps=8, seed=1, allow_delta=True)
        for name, column in {"text": np.full(alone.raw.size, number), **alone.table()}.items():
            expected[name] += column.tolist()
        integrated = alone.methods[0]
        errors += [abs(d / c) for d, c in zip(integrated.delta, integrated.change, strict=True)]
        rows = [row for row, text in enumerate(texts["text"]) if text == number]
        assert [texts["score"][row] for row in rows] == [of.score for of in alone.outputs for _ in METHODS]
        assert [texts["delta"][row] for row in rows][::3] == list(integrated.delta)
    assert {name: list(map(str, column)) for name, column in tokens.items()} == {
        name: list(map(str, column)) for name, column in expected.items()
    }
    summary = {name: column.tolist() for name, column in result.table().items()}
    assert summary["predictions"] == [len(errors)] * 3
    assert summary["values"] == [sum(name == method for name in tokens["method"]) for method in METHODS]
    assert summary["error"][0] == pytest.approx(np.mean(errors))
    assert summary["error_max"][0] == pytest.approx(max(errors))
    assert summary["over_limit"] == [sum(error > 0.05 for error in errors), None, None]


def test_a_text_with_nothing_to_compare_is_named(tmp_path: Path, model: attncli.Model) -> None:
    with pytest.raises(UsageError, match=r"few\.txt, line 2: the prediction reads one token or none"):
        attributed(tmp_path / "few.txt", model)
