"""Commands on corpora: which texts are one, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import RunCli

from attncli.engine.study import Study
from attncli.inputs.corpus import Corpus

TEXTS = [f"the cat sat on a mat {'and ran ' * (number % 3)}" for number in range(12)]
FEW = ("-l", "0", "--metric", "entropy")


@pytest.fixture(autouse=True)
def few_texts_are_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.cli.large_corpus.CORPUS_TEXTS", 10)
    monkeypatch.setattr("attncli.cli.commands.run.CORPUS_TEXTS", 10)
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


def test_a_file_of_few_texts_is_read_once(run_tables: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ten.txt").write_text("\n".join(TEXTS[:10]))
    surveys: list[int] = []
    survey = Corpus._survey
    monkeypatch.setattr(Corpus, "_survey", lambda *args, **named: surveys.append(1) or survey(*args, **named))
    monkeypatch.setattr("attncli.inputs.texts.read_texts", None)
    for number, file in enumerate(("ten.txt", "*.txt"), start=1):
        assert run_tables("stats", "-f", file, *FEW, "-o", f"out{number}").code == 0
        assert len(document(f"out{number}")["inputs"]) == 10  # type: ignore[arg-type]
        assert len(surveys) == number


def test_attribute_writes_tables_of_several_texts(run_tables: RunCli) -> None:
    Path("all.txt").write_text("\n".join(TEXTS[:3]))
    attribute = ("attribute", "-m", "demo:classifier", "-f", "all.txt", "--method", "attention")
    done = run_tables(*attribute, "--format", "parquet", "-o", "out")
    assert done.out == "method,baseline,texts,predictions,values,all_zero\nattention,,3,3,30,0\n"
    assert done.err == "note: pictures and pages show one text: of several texts there are tables only\n"
    rows = pd.read_parquet("out/attribution.parquet")
    assert list(rows)[:3] == ["text", "method", "output"]
    np.testing.assert_allclose(rows["value"], pd.read_csv("out/attribution.csv")["value"], rtol=1e-5)
    assert rows.groupby("text").size().to_dict() == {0: 8, 1: 10, 2: 12}
    read = json.loads(Path("out/attribution.json").read_text())
    assert (read["schema"], read["corpus"]["texts"], read["inputs"]) == ("attncli.attribute-corpus/1", 3, [])
    done = run_tables(*attribute, "--format", "html")
    assert (done.code, done.err) == (
        2,
        "error: attribute writes only tables of several texts: leave out --format html\n",
    )


def test_steps_of_a_file_read_a_corpus_by_themselves(run_cli: RunCli) -> None:
    Path("all.txt").write_text("\n".join(TEXTS))
    find = "find: {query: cat, key: the, pictures: false}"
    steps = f"[{{stats: {{metric: entropy, pictures: false}}}}, {{attribute: {{method: attention}}}}, {{{find}}}]"
    Path("plan.yaml").write_text(
        f"model: demo:classifier\ninputs: [{{file: all.txt}}]\nlayer: 0\nsteps: {steps}\nout: out\n"
    )
    done = run_cli("run", "plan.yaml", "--threads", "1")
    assert done.code == 0, done.err
    assert "note: 12 texts are read at once, as find does not read texts in parts" in done.err
    folder = Path("out/demo-classifier/000")
    alone = run_cli("stats", "-m", "demo:classifier", "-f", "all.txt", *FEW, "--no-pictures", "-o", "alone")
    assert (folder / "stats" / "stats.csv").read_text() == alone.out
    assert document(folder / "stats")["corpus"] == document("alone")["corpus"]
    assert len(pd.read_csv(folder / "attribute" / "attribution.csv")) > 12
    assert len(json.loads((folder / "find" / "find.json").read_text())["inputs"]) == 12


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
