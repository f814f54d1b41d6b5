"""Faithfulness on a corpus: shards give the tables of all texts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.engine.corpus import ShardMemory, in_this_process, needs_texts, run_corpus
from attncli.engine.execution import Execution
from attncli.engine.request import Request
from attncli.engine.shards import ShardTask
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.texts import parse_texts
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.studies.faithfulness.study import FaithfulnessStudy

SHORT = "cat"
TEXTS = [f"I saw {what}, and a chosen cat." for what in ("soup", "an ox", "the lever", "a goat", "bears", "my cake")]


def test_shards_give_the_numbers_of_all_texts_at_once(tmp_path: Path, classifier: attncli.Model) -> None:
    path = tmp_path / "few.txt"
    path.write_text("\n".join([SHORT, *TEXTS]))
    study = FaithfulnessStudy(FaithfulnessOptions(method="attention", removal="delete", draws=2))
    request = Request.of(study.run_options())
    execution = Execution(request, load=lambda: classifier)

    def from_shards(on_error: str) -> Any:
        task = ShardTask(study, request, {}, Corpus.of_files(path, on_error=on_error), 3)
        return run_corpus(task, ShardMemory(), execution, in_this_process(lambda: classifier))

    with pytest.raises(UsageError, match=r"few\.txt, line 1: the prediction reads one token or none"):
        from_shards("stop")
    run, result = from_shards("skip")
    _, expected = study.run(
        Execution(request, parse_texts(TEXTS), load=lambda: classifier, numbers=range(1, 1 + len(TEXTS)))
    )
    assert (run.corpus.texts, run.corpus.skipped, run.inputs) == (6, 1, ())
    assert [text.text for text in result.texts] == [1, 2, 3, 4, 5, 6]
    assert (result.texts, result.baseline, result.unit) == (expected.texts, expected.baseline, expected.unit)
    for name, part in expected.parts.items():
        tables = result.parts[name].tables()
        for file, table in part.tables().items():
            for column, values in table.items():
                np.testing.assert_array_equal(tables[file][column], values, err_msg=f"{file} {column}")
    assert set(result.curves.of_texts["text"]) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("options", "named"),
    [({"removal": "mask,resample"}, "--removal resample"), ({"seed_models": "a"}, "--seed-models"), ({}, "")],
)
def test_what_is_about_all_texts_is_named(options: dict[str, Any], named: str) -> None:
    study = FaithfulnessStudy(FaithfulnessOptions(**options))
    assert needs_texts(study, Request.of({}), save_maps=False) == named
