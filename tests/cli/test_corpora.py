"""Commands read corpora: folders, patterns, compressed files and datasets, and say what they leave out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import pytest

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = ["The cat sat.", "A dog ran away from the cat.", "It rained.", "The mat was red."]
SHORT = ("--layer", "0", "--head", "0", "--metric", "entropy", "--format", "json")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt.gz").write_bytes(gzip.compress(f"{TEXTS[0]}\n{TEXTS[1]}\n".encode()))
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[2:]))
    return folder


def test_a_corpus_gives_what_its_texts_give(run_tables: RunCli, corpus: Path, tmp_path: Path) -> None:
    plain = run_tables("stats", *(part for text in TEXTS for part in ("--text", text)), *SHORT, "-o", "typed").out
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "saved")
    for number, source in enumerate(("--file=corpus", "--file=corpus/*", "--dataset=saved")):
        done = run_tables("stats", source, *SHORT, "-o", f"out{number}")
        assert (done.code, done.err, done.out) == (0, "", plain)
        assert Path(f"out{number}/stats.json").read_bytes() == Path("typed/stats.json").read_bytes()


def test_wrong_records_stop_a_command_or_are_named(run_tables: RunCli, corpus: Path) -> None:
    with (corpus / "b.jsonl").open("a") as file:
        file.write("{\n")
    (corpus / "notes.md").touch()
    error = "corpus/b.jsonl, line 3 is not JSON: Expecting property name enclosed in double quotes"
    done = run_tables("stats", "--file", "corpus", *SHORT)
    assert (done.code, done.out, done.err) == (2, "", f"error: {error}\n")
    done = run_tables("stats", "--file", "corpus", "--on-error", "skip", *SHORT, "--json")
    ignored = "note: ignored notes.md: expected .txt, .jsonl, .csv, .tsv, .parquet, and .gz or .zst of them\n"
    assert (done.code, done.err) == (0, f"{ignored}note: left out 1 record: {error}\n")
    assert [text["text"] for text in json.loads(done.out)["inputs"]] == TEXTS
    done = run_tables("stats", "--file", "-", "--on-error", "skip", *SHORT, stdin="The cat sat.")
    assert done.err == "error: --on-error goes with files, not with stdin: save the texts as a file first\n"


def test_a_file_of_run_finds_corpora_beside_itself(run_cli: RunCli, corpus: Path, tmp_path: Path) -> None:
    plans = tmp_path / "pl[a]ns"
    plans.mkdir()
    corpus.rename(plans / "corpus")
    steps = "steps: [{stats: {metric: entropy, format: json}}]\nlayer: 0\nhead: 0\nout: out"
    (plans / "plan.yaml").write_text(f"inputs: [{{file: corpus/*.jsonl}}, {{file: corpus/a.txt.gz}}]\n{steps}\n")
    done = run_cli("run", plans / "plan.yaml")
    assert (done.code, done.err) == (0, "")
    read = [json.loads(path.read_text())["inputs"] for path in sorted(Path("out").rglob("stats.json"))]
    assert [[text["text"] for text in inputs] for inputs in read] == [TEXTS[2:], TEXTS[:2]]
    (plans / "plan.yaml").write_text(f"file: corpus/*.csv\n{steps}\n")
    done = run_cli("run", plans / "plan.yaml")
    assert done.code == 2
    assert "line 1, column 7: no file matches" in done.err
