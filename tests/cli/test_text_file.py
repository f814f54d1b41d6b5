"""`--text-file` reads one whole text, `--file` one text a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on\nthe mat.\n\nA dog ran away."
SHORT = ("--layer", "0", "--head", "0", "--metric", "entropy", "--format", "json", "--json")


@pytest.fixture
def story(tmp_path: Path) -> Path:
    (tmp_path / "story.txt").write_text(TEXT + "\n", encoding="utf-8")
    return tmp_path / "story.txt"


def test_it_gives_what_the_text_itself_gives(run_tables: RunCli, story: Path) -> None:
    typed = json.loads(run_tables("stats", "--text", TEXT, *SHORT).out)
    assert [row["text"] for row in typed["inputs"]] == [TEXT]
    assert json.loads(run_tables("stats", "--text-file", "story.txt", *SHORT).out) == typed
    assert json.loads(run_tables("stats", "--text-file", "-", *SHORT, stdin=TEXT).out) == typed


def test_it_may_have_a_second_segment(run_tables: RunCli, story: Path) -> None:
    done = run_tables("segments", "--text-file", "story.txt", "--pair", "It was warm.", "--json", "--format", "json")
    assert {row["from"] for row in json.loads(done.out)["heads"]} == {"a", "b", "special"}


def test_a_file_of_many_short_lines_gets_a_note(run_tables: RunCli, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a cat\n" * 20)
    done = run_tables("stats", "--file", "lines.txt", *SHORT)
    assert done.err == "note: lines.txt is read as 20 texts, one a line; --text-file reads it as one text\n"
    assert json.loads(done.out)["heads"][0]["texts"] == 20


def test_it_is_one_of_the_ways_to_give_a_text(run_tables: RunCli, story: Path) -> None:
    done = run_tables("stats", "--file", "story.txt", "--text-file", "story.txt")
    assert (done.code, done.err) == (2, "error: --file and --text-file exclude each other: give one of them\n")


def test_a_file_of_run_finds_it_beside_itself(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "story.txt").write_text(TEXT)
    steps = "steps: [{stats: {metric: entropy, format: json}}]"
    (tmp_path / "plans" / "plan.yaml").write_text(f"inputs: [{{text-file: story.txt}}]\nlayer: 0\n{steps}\nout: out\n")
    done = run_cli("run", "plans/plan.yaml")
    assert (done.code, done.err) == (0, "")
    assert json.loads(Path("out/demo-encoder/000/stats/stats.json").read_text())["inputs"][0]["text"] == TEXT
    (tmp_path / "plans" / "plan.yaml").write_text(f"text-file: story.txt\ninputs: [{{text: a}}]\n{steps}\n")
    assert "text-file and inputs exclude each other" in run_cli("run", "plans/plan.yaml").err
