"""Commands on corpora: which texts are one, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import RunCli

from attncli.engine.study import Study

TEXTS = [f"the cat sat on a mat {'and ran ' * (number % 3)}" for number in range(12)]
FEW = ("-l", "0", "--metric", "entropy")


@pytest.fixture(autouse=True)
def few_texts_are_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "corpus_from", 10)


def document(folder: str | Path) -> dict[str, object]:
    read: dict[str, object] = json.loads(Path(folder, "stats.json").read_text())
    return read


def test_many_texts_are_not_listed_but_counted(run_tables: RunCli) -> None:
    Path("all.txt").write_text("\n".join(TEXTS))
    Path("parts").mkdir()
    for name, lines in (("a", TEXTS[:5]), ("b", TEXTS[5:])):
        Path("parts", f"{name}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    assert run_tables("stats", "-f", "all.txt", *FEW, "-o", "one").code == 0
    assert run_tables("stats", "-f", "parts/*.jsonl", *FEW, "-o", "two", "--threads", "2", "--no-resume").code == 0
    one, two = document("one"), document("two")
    assert one["inputs"] == []
    counts = one["corpus"]
    assert isinstance(counts, dict)
    assert {name: counts[name] for name in ("files", "texts", "malformed", "skipped")} == {
        "files": 1,
        "texts": 12,
        "malformed": 0,
        "skipped": 0,
    }
    assert two["corpus"]["files"] == 2  # type: ignore[index]
    assert two["heads"] == one["heads"]
    assert not Path("one", ".shards").exists()
    Path("ten.txt").write_text("\n".join(TEXTS[:10]))
    assert run_tables("stats", "-f", "ten.txt", *FEW, "-o", "ten").code == 0
    assert len(document("ten")["inputs"]) == 10  # type: ignore[arg-type]


def test_options_about_single_texts_read_a_file_at_once_and_refuse_a_larger_corpus(run_tables: RunCli) -> None:
    Path("all.txt").write_text("\n".join(TEXTS))
    done = run_tables("stats", "-f", "all.txt", *FEW, "--per-query", "-o", "one")
    assert done.code == 0
    assert len(document("one")["inputs"]) == 12  # type: ignore[arg-type]
    done = run_tables("stats", "-f", "*.txt", *FEW, "--per-query")
    assert done.code == 2
    assert done.err.startswith("error: --per-query needs all texts at once, and a corpus of 12 texts is read in parts")


def test_workers_and_threads_are_counted_from_one(run_tables: RunCli) -> None:
    Path("all.txt").write_text("\n".join(TEXTS))
    for name in ("workers", "threads"):
        done = run_tables("stats", "-f", "all.txt", f"--{name}", "0")
        assert (done.code, done.err) == (2, f"error: expected --{name} from 1 up, got 0\n")


def test_ray_is_named_if_it_is_missing_or_does_not_answer(run_tables: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("all.txt").write_text("\n".join(TEXTS))
    Path("ray").mkdir()  # no package
    monkeypatch.syspath_prepend(Path.cwd())
    for options, message in (
        (("--engine", "ray"), '--engine ray needs Ray: pip install "attncli[ray]", or leave out --engine'),
        (("--address", "auto"), "--address goes with --engine ray: give both, or leave it out"),
        (("--gpus-per-worker", "0.5"), "--gpus-per-worker goes with --engine ray: give both, or leave it out"),
    ):
        done = run_tables("stats", "-f", "all.txt", *options)
        assert (done.code, done.err) == (2, f"error: {message}\n")
