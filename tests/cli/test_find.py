"""`attncli find`: what is written, what a script and a person read, what is said of bad calls."""

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
from PIL import Image

if TYPE_CHECKING:
    from conftest import RunCli

CAT = ("-t", "The cat sat on the mat because it was warm.")
ANIMAL = "The animal didn't cross the street because it was too tired."
ENDS = ("--query", "it", "--key", "cat")
COLUMNS = [
    *("kind", "layer", "head", "texts", "queries", "weight", "weight_uniform", "weight_positional"),
    *("rank", "keys", "top", "top_weight", "top_share"),
]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_pipe_gets_every_head_the_largest_weight_first(minilm: Path, run_cli: RunCli) -> None:
    done = run_cli("find", "-m", minilm, "-t", ANIMAL, "--query", "it", "--key", "animal", "-o", "here")
    assert (done.code, done.err) == (0, "")
    assert done.out == Path("here/find.csv").read_text()
    table = rows(done.out)
    assert list(table[0]) == COLUMNS
    assert len(table) == 72
    first = table[0]
    assert (first["layer"], first["head"], first["top"], first["weight"][:4]) == ("3", "1", "animal", "0.67")
    weights = [float(row["weight"]) for row in table]
    assert weights == sorted(weights, reverse=True)
    files = {entry["name"] for entry in json.loads(Path("here/manifest.json").read_text())["files"]}
    assert files == {"find.json", "find.csv", "find.png"}
    with Image.open("here/find.png") as image:
        assert image.width > 400


def test_json_is_one_document_with_everything(run_cli: RunCli) -> None:
    done = run_cli("find", *CAT, *ENDS, "--json", "-o", "here", "--format", "parquet,svg")
    document = json.loads(done.out)
    assert done.out == Path("here/find.json").read_text()
    assert (document["schema"], document["searched"], document["leave_one_out"]) == ("attncli.find/1", 16, None)
    assert document["tokens"] == [
        {
            "text": 0,
            "kind": "encoder",
            "query": [{"name": "it", "positions": [10]}],
            "key": [{"name": "cat", "positions": [2, 3]}],
            "rows": [10],
            "rows_as": "input",
        }
    ]
    assert list(document["heads"][0]) == COLUMNS
    assert set(document["numbers"]) == {*COLUMNS[5:10], *COLUMNS[11:]}
    assert pq.read_table("here/find.parquet").to_pylist() == document["heads"]
    assert ">##t 3</text>" in Path("here/find.svg").read_text(encoding="utf-8")


def test_the_page_of_the_document_names_what_is_in_it(run_cli: RunCli) -> None:
    page = " ".join(run_cli("explain", "find.json").out.split())
    assert f"Columns: {', '.join(COLUMNS)} " in page
    assert "top_weight the mean over rows of the weight of each row's strongest key" in " ".join(page.split())
    assert all(name in run_cli("explain", "token-names").out for name in ("14-21", "it#2", "[CLS]", "generated"))


def test_a_person_gets_a_table_of_the_first_heads(tmp_path: Path) -> None:
    """A negative position is named by the token that it is."""
    seen = on_terminal(tmp_path, "find", *CAT, "--query", "-1", "--key", "cat", "-o", "here")
    seen = re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert "encoder attention from '[SEP]' to 'cat'" in seen
    assert re.search(r"\n\d\.\d +0\.\d{3} +0\.125 +0\.\d{3} +\d+ of 15 +\S+ 0\.\d{3}", seen)
    assert re.search(r"is the best of 16 heads that were searched: try it on +other", seen)
    assert "Wrote here/find.png" in seen


def test_over_several_texts(minilm: Path, run_tables: RunCli) -> None:
    texts = (ANIMAL, "An animal ran since it was late.", "Nothing of the kind.")
    options = [option for text in texts for option in ("-t", text)]
    done = run_tables("find", "-m", minilm, *options, "--query", "it", "--key", "animal", "-l", "3", "-o", "here")
    assert done.err == "note: 1 of 3 texts are left out, the first is text 2: 'it' does not occur in the text\n"
    table = rows(done.out)
    assert (table[0]["head"], table[0]["texts"]) == ("1", "2")
    assert float(table[0]["weight_std"]) > 0
    document = json.loads(Path("here/find.json").read_text())
    assert (document["leave_one_out"]["texts"], document["leave_one_out"]["same"]) == (2, 2)
    assert "On each text, the head that is best on the other texts gives" in document["advice"]


def test_a_saved_run_gives_the_same_numbers(run_cli: RunCli) -> None:
    alone = run_cli("find", *CAT, *ENDS, "--save-maps", "-o", "saved")
    again = run_cli("find", "--from", "saved", *ENDS, "-o", "again")
    assert (again.code, again.err) == (0, "")
    assert [(row["layer"], row["head"], row["rank"]) for row in rows(again.out)] == [
        (row["layer"], row["head"], row["rank"]) for row in rows(alone.out)
    ]
    other = run_cli("find", "--from", "saved", "--query", "warm", "--key", "mat", "-l", "1", "-o", "other")
    assert {row["layer"] for row in rows(other.out)} == {"1"}


@pytest.mark.parametrize(
    ("model", "query", "key", "positions"),
    [
        ("encoder", "-1", "[CLS]", ([15], [0])),
        ("encoder", "it#1", "2-3", ([10], [2, 3])),
        ("encoder", "special", "the", ([0, 15], [1, 6])),
        ("encoder", "all", "The", (list(range(16)), [1])),
        ("decoder", "-2--1", "0", ([15, 16], [0])),
    ],
)
def test_tokens_are_named_by_position_range_segment_and_word(
    model: str, query: str, key: str, positions: tuple[list[int], list[int]], run_tables: RunCli
) -> None:
    done = run_tables("find", "-m", f"demo:{model}", *CAT, f"--query={query}", "--key", key, "-H", "0", "--json")
    (tokens,) = json.loads(done.out)["tokens"]
    found = [sorted(position for match in tokens[end] for position in match["positions"]) for end in ("query", "key")]
    assert (*found,) == positions


def test_segments_of_a_pair_and_of_a_file(run_tables: RunCli) -> None:
    pair = ("-t", "A dog barks.", "--pair", "It was a cat.")
    done = run_tables("find", *pair, "--query", "b", "--key", "a", "-o", "pair")
    assert done.err == "note: 'a' is the segment 'a' of the text: for the word give a#1\n"
    assert rows(done.out)[0]["queries"] == "6"
    Path("parts.json").write_text(json.dumps({"doc1": ["The cat"], "doc2": ["it was warm"]}))
    done = run_tables("find", *CAT, "--segments", "parts.json", "--query", "doc2", "--key", "doc1", "-o", "parts")
    assert (done.code, done.err, rows(done.out)[0]["queries"]) == (0, "", "4")
    done = run_tables("find", *CAT, "--segments", "parts.json", "--query", "doc3", "--key", "doc1")
    assert done.err == "error: 'doc3' does not occur in the text: did you mean 'doc2' or 'doc1'?\n"


def test_a_number_is_a_position_and_a_note_names_the_word(run_tables: RunCli) -> None:
    text = ("-t", "She had 4 cats and they had 4 homes.", "-H", "0", "--json")
    done = run_tables("find", *text, "--query", "cats", "--key", "4", "-o", "position")
    assert done.err == "note: '4' is token 4 of the text: for the word give 4#1\n"
    (tokens,) = json.loads(done.out)["tokens"]
    assert tokens["key"][0]["positions"] == [4]
    (tokens,) = json.loads(run_tables("find", *text, "--query", "cats", "--key", "4#1", "-o", "word").out)["tokens"]
    assert tokens["key"] == [{"name": "4#1", "positions": [3]}]


def test_written_tokens_have_the_rows_that_predict_them(run_tables: RunCli) -> None:
    options = ("-m", "demo:decoder", "-t", "Once upon a time", "--generate", "4", "--key", "time", "-H", "0", "--json")
    tokens = {}
    for name, more in {"default": (), "input": ("--rows-as", "input")}.items():
        done = run_tables("find", *options, "--query", "generated", *more, "-o", name)
        (tokens[name],) = json.loads(done.out)["tokens"]
    assert (tokens["default"]["rows"], tokens["default"]["rows_as"]) == ([5, 6, 7, 8], "predicted")
    assert (tokens["input"]["rows"], tokens["input"]["rows_as"]) == ([6, 7, 8, 9], "input")


@pytest.mark.parametrize(
    "command", ["find --query generated --key time", "segments", "highlight --focus generated --format html"]
)
def test_a_note_says_that_words_are_read_by_their_own_rows(command: str, run_tables: RunCli) -> None:
    options = ("-m", "demo:decoder", "-t", "Once upon a time", "--generate", "4", "-l", "0", "-H", "0")
    note = "note: rows of 'generated' are read as input, as no row predicts a word: leave out --words"
    assert note in run_tables(*command.split(), *options, "--words", "-o", "words").err
    for name, more in {"tokens": (), "chosen": ("--words", "--rows-as", "input")}.items():
        assert "as no row predicts" not in run_tables(*command.split(), *options, *more, "-o", name).err


def test_several_occurrences_have_a_note(run_tables: RunCli) -> None:
    done = run_tables("find", "-t", "it is the cat and it ran", "--query", "it", "--key", "cat", "-o", "here")
    assert done.err == (
        "note: 'it' counts with all its occurrences, it has 2: it#1 is token 1, it#2 is token 7: weights are the mean "
        "over them; --query 'it#2' is one of them\n"
    )
    assert rows(done.out)[0]["queries"] == "2"
    causal = run_tables("find", "-m", "demo:decoder", "-t", "it is the cat and it ran", *ENDS, "-o", "causal")
    assert "note: 1 query tokens come before all keys, which a decoder masks: they do not count\n" in causal.err
    assert rows(causal.out)[0]["queries"] == "1"


def test_cross_attention_is_found_by_where_the_words_are(run_tables: RunCli) -> None:
    texts = ("-m", "demo:seq2seq", "-t", "one two", "--target", "owt eno")
    done = run_tables("find", *texts, "--query", "eno", "--key", "one", "-o", "here")
    assert done.err == "note: encoder and decoder attention is left out: 'eno' does not occur in the text\n"
    assert {row["kind"] for row in rows(done.out)} == {"cross"}
    assert {row["weight_positional"] for row in rows(done.out)} == {""}
    whole = rows(run_tables("find", *texts, "--query", "target", "--key", "source", "--kind", "cross", "-o", "w").out)
    assert all(0.5 < float(row["weight"]) < 1 for row in whole)
    done = run_tables("find", *texts, "--query", "drei", "--key", "one")
    assert done.err.startswith("error: encoder: 'drei' does not occur in the text: there are one, two, ")
    assert "; decoder and cross: 'drei' does not occur in the text: there are " in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--key cat", "--query is missing: it says which tokens attend, such as --query The; the text has The, cat, "),
        ("--query it", "--key is missing: it says what they attend to, such as --key The; the text has The, cat, "),
        ("--query it --key dog", "'dog' does not occur in the text: there are [CLS], The, cat, "),
        ("--query it --key 99", "--key 99 is outside the text: it has 16 tokens, 0-15"),
        ("--query it --key cat --aggregate mean", "find ranks single heads: leave out --aggregate"),
        ("--query it --key cat --rows-as predicted", "--rows-as predicted needs a decoder"),
        ("-m demo:decoder --query cat --key it", "'it' comes after 'cat', which a decoder masks: no head can see it."),
        (
            "-m demo:decoder --query 0 --key 0 --rows-as predicted",
            "no row predicts '<s>': choose another --query, or --rows-as input",
        ),
    ],
)
def test_bad_calls_say_what_is_wrong(options: str, message: str, run_tables: RunCli) -> None:
    done = run_tables("find", *CAT, *options.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: {message}"), done.err
