"""`--compile on` gives the numbers of plain blocks, and stands in the manifest; edited attention is not compiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import RunCli

STATS = ("stats", "-t", "The cat sat on the mat because it was warm.", "--metric", "entropy", "--metric", "distance")


def run_of(folder: str) -> Any:
    return json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))["run"]


def test_compiled_statistics_are_those_of_plain_blocks(run_cli: RunCli) -> None:
    documents = []
    for choice in ("on", "off"):
        done = run_cli(*STATS, "--compile", choice, "-o", choice, "--json")
        assert (done.code, done.err) == (0, "")
        documents.append(json.loads(done.out)["heads"])
    assert run_of("on")["resolved"]["compile"] == "on"
    assert "compile" not in run_of("off")["resolved"]
    for compiled, plain in zip(*documents, strict=True):
        assert compiled.pop("kind") == plain.pop("kind")
        assert compiled == pytest.approx(plain, rel=1e-5, abs=1e-5)


def test_edited_attention_is_not_compiled_and_a_note_says_so(run_cli: RunCli) -> None:
    done = run_cli(*STATS, "--compile", "on", "--zero", "1.1", "-o", "here")
    assert done.code == 0
    assert done.err.count("the attention of the model is edited") == 1
    assert "compile" not in run_of("here")["resolved"]
