"""`attncli segments`: what is written, what a script and a person read, what is said of bad calls."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from cli.test_streams import on_terminal
from hostile import HOSTILE
from PIL import Image

if TYPE_CHECKING:
    from conftest import RunCli

PAIR = ("-t", "Who sat on the mat?", "--pair", "The cat sat on the mat.")
CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Where did the cat sit?"}]
COLUMNS = ["kind", "layer", "head", "from", "to", "texts", "mass", "uniform_mass", "positional_mass", "ratio"]
COLUMNS += ["excess"]
RETRIEVAL = ["retrieval", "retrieval_uniform", "retrieval_positional", "retrieval_most", "written"]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def names(folder: str) -> set[str]:
    return {entry["name"] for entry in json.loads(Path(folder, "manifest.json").read_text())["files"]}


def test_a_pipe_gets_every_head(run_cli: RunCli) -> None:
    done = run_cli("segments", *PAIR, "-o", "here")
    assert (done.code, done.err) == (0, "")
    assert done.out == Path("here/segments.csv").read_text()
    table = rows(done.out)
    assert list(table[0]) == COLUMNS
    assert len(table) == 4 * 4 * 9
    assert sum(float(row["mass"]) for row in table if row["from"] == "a" and row["head"] == row["layer"] == "0") == (
        pytest.approx(1, abs=1e-5)
    )
    pictures = {"encoder-segments-strongest.png", "encoder-segments.png", "encoder-segments-heads.png"}
    assert names("here") == {"segments.json", "segments.csv", "segments-mean.csv"} | pictures
    for name in pictures:
        with Image.open(Path("here", name)) as image:
            image.verify()


def test_json_is_one_document_with_everything(run_cli: RunCli) -> None:
    done = run_cli("segments", *PAIR, "-l", "0", "-H", "0", "--json", "-o", "here", "--format", "jsonl,parquet,svg,pdf")
    document = json.loads(done.out)
    assert done.out == Path("here/segments.json").read_text()
    assert document["schema"] == "attncli.segments/1"
    assert "given" not in document["run"]
    (text,) = document["inputs"]
    assert dict(zip(text["queries"], text["query_segments"], strict=True))["Who"] == "a"
    assert text["query_pieces"][text["queries"].index("Who")] == "who"
    assert list(document["heads"][0]) == COLUMNS
    lines = Path("here/segments.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == document["heads"]
    assert pq.read_table("here/segments.parquet").to_pylist() == document["heads"]
    assert pq.read_table("here/segments-mean.parquet").to_pylist() == document["mean"]
    assert {"encoder-segments.svg", "encoder-segments.pdf"} <= names("here")


def test_the_answer_to_a_chat_token_by_token(run_cli: RunCli) -> None:
    Path("chat.json").write_text(json.dumps(CHAT))
    call = ("segments", "-m", "demo:decoder", "--chat", "chat.json", "--generate", "6", "-l", "0", "-o", "here")
    assert run_cli(*call).code == 0
    table = rows(Path("here/segments-tokens.csv").read_text())
    assert list(table[0]) == ["text", "kind", "layer", "query", "token", "piece", "to", "mass", "uniform_mass"]
    assert {row["to"] for row in table} == {"system", "user", "assistant", "generated", "special"}
    assert len({row["query"] for row in table}) == 6
    assert "decoder-segments-tokens.png" in names("here")
    assert [row["from"] for row in rows(Path("here/segments-mean.csv").read_text())][::5] == [
        *("system", "user", "assistant", "generated", "special")
    ]


def test_a_person_sees_first_what_the_answer_reads(tmp_path: Path) -> None:
    call = ("segments", "-m", "demo:decoder", "-t", "abc abc abc abc abc abc", "--generate", "8", "-o", "here")
    seen = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(tmp_path, *call))
    text = " ".join(seen.split())
    titles = (
        "decoder attention: heads by share above both baselines, from generated (rows as predicted)",
        "decoder attention: heads by retrieval score",
        "decoder attention between segments, mean over layers and heads, from generated (rows as predicted)",
    )
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    table = rows(Path(tmp_path, "here/segments-mean.csv").read_text())
    visible = [row for row in table if float(row["uniform_mass"]) > 0]
    of_answer = [row for row in visible if row["from"] == "generated"]
    for row in of_answer:
        assert f" {row['to']} {float(row['mass']):.3f} {float(row['uniform_mass']):.3f} " in text[places[2] :]
    assert f"{len(visible) - len(of_answer)} more in segments-mean.csv" in text
    assert len(visible) < len(table)
    document = json.loads(Path(tmp_path, "here/segments.json").read_text())
    assert document["inputs"][0]["rows_as"] == {"prompt": "input", "generated": "predicted", "special": "input"}


def test_two_segments_are_selected(run_cli: RunCli) -> None:
    Path("chat.json").write_text(json.dumps(CHAT))
    call = ("segments", "-m", "demo:decoder", "--chat", "chat.json", "--generate", "6", "-o", "here")
    done = run_cli(*call, "--query", "generated", "--key", "user")
    assert (done.code, done.err) == (0, "note: text 0: the model generated: ' I will not be a l'\n")
    table = rows(done.out)
    assert list(table[0]) == [*COLUMNS, *RETRIEVAL, "key_value_head"]
    assert {(row["from"], row["to"]) for row in table} == {("generated", "user")}
    excess = [float(row["excess"]) for row in table]
    assert excess == sorted(excess, reverse=True)
    assert {name for name in names("here") if name.endswith(".png")} == {
        "decoder-segments-strongest.png",
        "decoder-segments-tokens.png",
    }


def test_passages_of_a_file(run_cli: RunCli) -> None:
    Path("spans.json").write_text(json.dumps({"question": ["Who sat?"], "document": [[9, 21]]}))
    call = ("segments", "-t", "Who sat? The cat sat. And so on.", "--segments", "spans.json", "-l", "0", "-H", "0")
    done = run_cli(*call)
    assert (done.code, done.err) == (0, "")
    assert list(dict.fromkeys(row["from"] for row in rows(done.out))) == ["question", "document", "rest", "special"]
    Path("spans.json").write_text(json.dumps({"document": [[9, 21]]}))
    run_cli(*call)
    assert len(list(Path("outputs/segments/demo-encoder").iterdir())) == 2


def test_the_same_bytes_from_the_model_again_and_from_a_saved_run(run_cli: RunCli) -> None:
    assert run_cli("heatmap", *PAIR, "-l", "0", "-H", "0", "--save-maps", "-o", "saved").code == 0
    for out, given in (("one", PAIR), ("two", PAIR), ("from", ("--from", "saved"))):
        assert run_cli("segments", *given, "-l", "0", "-H", "0", "--words", "-o", out).code == 0
    for name in names("one"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    one, other = (rows(Path(folder, "segments.csv").read_text()) for folder in ("one", "from"))
    assert [list(row.items())[:6] for row in one] == [list(row.items())[:6] for row in other]
    for row, again in zip(one, other, strict=True):
        assert float(row["mass"]) == pytest.approx(float(again["mass"]), rel=1e-5)


def test_several_texts_have_a_spread(run_cli: RunCli) -> None:
    Path("texts.txt").write_text("Once upon a time\nThe king\n")
    done = run_cli("segments", "-f", "texts.txt", "-m", "demo:decoder", "--generate", "3", "-l", "0", "-o", "here")
    wrote = [f"note: text {text}: the model generated: ',\\nAnd'\n" for text in (0, 1)]
    assert (done.code, done.err) == (0, "".join(wrote))
    assert list(rows(done.out)[0])[5:] == [
        "texts",
        "mass",
        "mass_std",
        "uniform_mass",
        "uniform_mass_std",
        "positional_mass",
        "ratio",
        "excess",
        *RETRIEVAL,
        "key_value_head",
    ]
    assert {"T000-decoder-segments-tokens.png", "T001-decoder-segments-tokens.png"} <= names("here")


def test_many_segments_have_no_page_of_heads(run_cli: RunCli) -> None:
    done = run_cli("segments", "-t", "\n".join(["word"] * 20), "--divide", "line", "-l", "0", "-o", "here")
    assert "note: there is no page of all heads: panels show at most 16 segments, segments.csv all" in done.err
    assert "encoder-segments.png" in names("here")
    assert "encoder-segments-heads.png" not in names("here")


def test_combined_maps(run_cli: RunCli) -> None:
    done = run_cli("segments", *PAIR, "--aggregate", "mean", "--aggregate-layers", "mean", "-o", "here", "--json")
    document = json.loads(done.out)
    assert {(row["layer"], row["head"]) for row in document["heads"]} == {("mean", "mean")}
    pictures = {"encoder-segments.png", "encoder-segments-strongest.png"}
    assert names("here") == {"segments.json", "segments.csv", "segments-mean.csv", *pictures}


def test_a_person_sees_the_means(tmp_path: Path) -> None:
    seen = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(tmp_path, "segments", *PAIR, "-l", "0", "-o", "here"))
    assert "encoder attention between segments, mean over layers and heads" in seen
    assert re.search(r"^a +special +0\.\d{3} +0\.\d{3} +0\.\d{3} +\d\.\d\d  0\.\d{3} in \d\.\d", seen, re.MULTILINE)
    assert "Wrote here/segments.csv" in seen
    odd = ["[bold red]", *(name for name in HOSTILE if name.strip() and not name.isprintable())]
    hostile = {name: [{"tokens": [at + 1, at + 2]}] for at, name in enumerate(odd)}
    (tmp_path / "spans.json").write_text(json.dumps(hostile))
    call = ("segments", "-t", "a " * 60, "--segments", "spans.json", "-o", "there", "-H", "0", "-l", "0")
    seen = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(tmp_path, *call))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", seen)
    assert "[bold red]" in seen


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["-t", "The cat sat."],
            "the text has one segment (text), so there is no attention between segments: give --pair",
        ),
        ([*PAIR, "--divide", "paragraf"], "unknown --divide 'paragraf': did you mean 'paragraph'?"),
        (
            [*PAIR, "--divide", "line", "--segments", "spans.json"],
            "--segments says what the segments are, as --divide line does",
        ),
        ([*PAIR, "--segments", "nothing.json"], "no such file: nothing.json"),
        ([*PAIR, "--segments", "spans.json"], "segment 'a': 'dog' does not occur in the text"),
        ([*PAIR, "--aggregate", "max"], "expected --aggregate to be none or mean, got max"),
        ([*PAIR, "--format", "html"], "unknown --format 'html'"),
        ([*PAIR, "--query", "c"], "--query: there is no segment 'c': known are: a, b, special"),
        ([*PAIR, "--rows-as", "predicted"], "--rows-as predicted needs a decoder, whose rows predict the next token"),
        ([*PAIR, "--words", "--rows-as", "predicted"], "needs the rows of single tokens"),
    ],
)
def test_bad_calls(args: list[str], said: str, run_tables: RunCli) -> None:
    Path("spans.json").write_text('{"a": ["dog"]}')
    done = run_tables("segments", *args, "-o", "here")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not Path("here").exists()
