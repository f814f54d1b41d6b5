"""`attncli compare` of corpora: what is written, the links to texts, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path

import pytest
from conftest import RunCli

from attncli.engine.study import Study

HOSTILE = 'it\'s "$(touch pwned)" `touch pwned`; touch pwned & \\ --head=1'
TEXTS = [f"the cat sat on a mat {'and ran ' * (number % 3)}" for number in range(9)]
FEW = ("-l", "0", "--metric", "entropy,entropy_normalized")


@pytest.fixture(autouse=True)
def few_texts_are_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "corpus_from", 7)


def rows(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def test_two_models_on_many_texts(run_tables: RunCli) -> None:
    Path("texts.txt").write_text("\n".join([*TEXTS, HOSTILE]) + "\n")
    call = ("compare", "--edit-b", "zero 0.1", "-f", "texts.txt", "-l", "0,1", "--metric", "entropy", "--views", "1")
    done = run_tables(*call, "--no-pictures", "-o", "here")
    assert (done.code, done.err) == (0, "")
    assert done.out == Path("here/compare.csv").read_text()
    files = {entry["name"] for entry in json.loads(Path("here/manifest.json").read_text())["files"]}
    assert files == {
        *("compare.json", "compare.csv", "compare-measures.csv", "compare-texts.csv"),
        *("views/01-a.html", "views/01-b.html"),
    }
    document = json.loads(Path("here/compare.json").read_text())
    assert list(document) == ["schema", "run", "corpus", "other", "metrics", "heads", "measures", "texts"]
    assert (document["corpus"]["texts"], document["corpus"]["files"]) == (10, 1)
    texts = rows("here/compare-texts.csv")
    assert len(texts) == 10
    first = texts[0]
    assert first["page_b"] == f"views/01-b.html#view=head&kind=encoder&layer={first['layer']}&head={first['head']}"
    assert (Path("here") / first["page_a"].partition("#")[0]).is_file()
    assert texts[1]["page_a"] == ""
    hostile = next(text for text in texts if text["place"] == "texts.txt, line 10")
    words = shlex.split(hostile["view_b"])
    assert words[:3] == ["attncli", "view", "--model=demo:encoder"]
    assert words[3:5] == ["--edit=zero 0.1", f"--text={HOSTILE}"]
    shown = run_tables(*words[1:], "-o", "page")
    assert (shown.code, Path("page/view.html").is_file()) == (0, True)


def test_one_model_on_two_corpora(run_tables: RunCli) -> None:
    Path("a.txt").write_text("\n".join(TEXTS[:6]))
    Path("b.jsonl").write_text("".join(json.dumps({"text": f"{text} once more today"}) + "\n" for text in TEXTS))
    done = run_tables("compare", *FEW, "-f", "a.txt", "--against-file", "b.jsonl", "--no-pictures", "-o", "here")
    assert done.code == 0
    assert "note: the texts of A have" in done.err
    assert done.out.startswith("kind,layer,head,metric,texts_a,texts_b,text_effect\n")
    assert "change_alike" not in rows("here/compare-measures.csv")[0]  # no length in common
    document = json.loads(Path("here/compare.json").read_text())
    assert (document["corpus"]["texts"], document["other_corpus"]["texts"]) == (6, 9)
    assert document["other_corpus"]["mean_tokens"] > document["corpus"]["mean_tokens"]
    texts = rows("here/compare-texts.csv")
    assert [text["side"] for text in texts] == ["A"] * 6 + ["B"] * 9
    assert texts[0]["view"].startswith("attncli view --model=demo:encoder '--text=the cat sat on a mat")
    other = run_tables("compare", *FEW, "-f", "b.jsonl", "--against-file", "a.txt", "--no-pictures", "-o", "here")
    assert other.code == 4  # another run


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-f", "a.txt", "--against-file", "empty.txt"), "empty.txt contains no text: expected at least one that"),
        (("-f", "empty.txt", "--against-file", "a.txt"), "empty.txt contains no text: expected at least one that"),
        (("-f", "a.txt", "--against-file", "none.txt"), "no such file: none.txt; did you mean 'a.txt'?"),
        (("-t", "x", "--against-file", "a.txt"), "--against-file goes with --file PATH or --dataset, which name"),
        (("-f", "-", "--against-file", "a.txt"), "--against-file goes with --file PATH or --dataset, which name"),
        (
            ("-f", "a.txt", "--against-file", "a.txt", "--against-text", "x"),
            "--against-text and --against-file exclude",
        ),
        (("-f", "a.txt", "--against-file", "a.txt", "--against-dataset", "x"), "--against-file and --against-dataset"),
        (("-f", "a.txt", "--against-split", "test"), "--against-split is a split of a dataset: give --dataset or"),
        (("-f", "a.txt", "--against-file", "a.txt", "--against-split", "x"), "--against-split goes with --against-d"),
        (
            ("-f", "a.txt", "--against-file", "a.txt", "--aggregate-layers", "mean"),
            "--aggregate-layers mean needs all texts at once, and corpora are read in parts: leave it out",
        ),
        (("-f", "a.txt", "--dtype-b", "bfloat16", "--views", "1"), "--views shows texts of a corpus: give --against-"),
        (("-f", "a.txt", "--against-file", "a.txt", "--views", "21"), "expected --views from 0 to 20, got 21"),
        (("-f", "a.txt", "--against-file", "a.txt", "--workers", "0"), "expected --workers from 1 up, got 0"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(args: tuple[str, ...], said: str, run_tables: RunCli) -> None:
    Path("a.txt").write_text("the cat sat\n")
    Path("empty.txt").write_text("\n")
    done = run_tables("compare", *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")
    assert done.err.count("\n") == 1
