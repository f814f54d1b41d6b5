"""`attncli stats`: the documents, the tables and what they say."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from attncli import registry

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat."
OTHER = "A dog ran."


def document(run_cli: RunCli, *options: str) -> dict[str, Any]:
    done = run_cli("stats", "--json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_three_files_are_written_and_a_pipe_reads_the_table(run_cli: RunCli) -> None:
    done = run_cli("stats", "-t", TEXT, "--out", "here")
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in Path("here").iterdir()) == [
        *("manifest.json", "stats.csv", "stats.json", "stats.png"),
    ]
    assert done.out == Path("here/stats.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert list(rows[0])[:5] == ["kind", "layer", "head", "texts", "queries"]
    # an encoder has no cross-attention
    measured = set(registry.names("metrics")) - {"received", "alignment_distance"}
    assert set(rows[0]) - set(list(rows[0])[:5]) == measured
    heads = json.loads(Path("here/stats.json").read_text())["heads"]
    assert all(head["alignment_distance"] is None for head in heads)
    named = run_cli("stats", "-t", TEXT, "--metric", "alignment_distance,sink", "--out", "there")
    assert named.out.splitlines()[0] == "kind,layer,head,texts,queries,alignment_distance,sink"
    assert [(row["layer"], row["head"]) for row in rows] == [(str(a), str(b)) for a in range(4) for b in range(4)]


def test_json_is_the_file(run_tables: RunCli) -> None:
    found = document(run_tables, "-t", TEXT, "--out", "here", "--metric", "entropy", "--metric", "distance,sink")
    assert found == json.loads(Path("here/stats.json").read_text())
    assert found["schema"] == "attncli.stats/1"
    assert list(found["metrics"]) == ["entropy", "distance", "sink"]
    assert set(found["metrics"]["entropy"]) == {"unit", "range", "source", "question"}
    assert found["inputs"][0]["queries"][0] == "[CLS]"
    assert found["run"]["class"] == "BertForMaskedLM" or found["run"]["class"] == "BertModel"
    head = found["heads"][0]
    assert list(head) == ["kind", "layer", "head", "texts", "queries", "entropy", "distance", "sink"]
    assert head["queries"] == len(found["inputs"][0]["queries"])


def test_the_same_command_gives_the_same_bytes(run_cli: RunCli) -> None:
    run_cli("stats", "-t", TEXT, "--metric", "sink,entropy", "--out", "one")
    run_cli("stats", "-t", TEXT, "--metric", "sink,entropy", "--out", "two")
    for name in ("stats.json", "stats.csv", "stats.png"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_several_texts_are_averaged(run_tables: RunCli) -> None:
    alone = [document(run_tables, "-t", text, "--metric", "entropy")["heads"] for text in (TEXT, OTHER)]
    both = document(run_tables, "-t", TEXT, "-t", OTHER, "--metric", "entropy")["heads"]
    for one, other, together in zip(*alone, both, strict=True):
        mean = (one["entropy"] + other["entropy"]) / 2
        assert together["entropy"] == pytest.approx(mean, rel=1e-6)
        assert together["entropy_std"] == pytest.approx(abs(one["entropy"] - other["entropy"]) / 2, rel=1e-5)
        assert (together["texts"], together["queries"]) == (2, one["queries"] + other["queries"])


def test_per_query_adds_a_row_for_every_token(run_tables: RunCli) -> None:
    found = document(run_tables, "-t", TEXT, "--per-query", "-l", "0", "-H", "1", "--metric", "entropy,received")
    tokens = found["inputs"][0]["queries"]
    assert [(row["query"], row["token"]) for row in found["tokens"]] == list(enumerate(tokens))
    assert [row["token"] for row in found["keys"]] == tokens
    mean = math.fsum(row["entropy"] for row in found["tokens"]) / len(tokens)
    assert found["heads"][0]["entropy"] == pytest.approx(mean)


def test_formats_are_added(run_tables: RunCli) -> None:
    assert (
        run_tables("stats", "-t", TEXT, "--metric", "entropy", "--format", "parquet,jsonl", "--out", "here").code == 0
    )
    heads = json.loads(Path("here/stats.json").read_text())["heads"]
    assert [json.loads(line) for line in Path("here/stats.jsonl").read_text().splitlines()] == heads
    table = pq.read_table("here/stats.parquet")
    assert table.to_pylist() == heads
    assert (str(table.schema.field("layer").type), str(table.schema.field("entropy").type)) == ("int64", "double")
    assert Path("here/stats.csv").is_file()


def test_words_and_special_tokens_change_what_is_measured(run_tables: RunCli) -> None:
    plain = document(run_tables, "-t", "Unbelievable.", "--metric", "entropy")
    words = document(run_tables, "-t", "Unbelievable.", "--metric", "entropy", "--words")
    dropped = document(run_tables, "-t", "Unbelievable.", "--metric", "entropy", "--words", "--special", "drop")
    count = [found["heads"][0]["queries"] for found in (plain, words, dropped)]
    assert count[0] > count[1] > count[2] > 0
    assert words["inputs"][0]["queries"] == ["[CLS]", "Unbelievable", ".", "[SEP]"]
    assert any("special tokens took" in note for note in dropped["run"]["notes"])


def test_combined_maps_are_measured_as_one(run_tables: RunCli) -> None:
    found = document(run_tables, "-t", TEXT, "--metric", "entropy", "--aggregate", "mean")
    assert [(head["layer"], head["head"]) for head in found["heads"]] == [(layer, "mean") for layer in range(4)]
    found = document(run_tables, "-t", TEXT, "--metric", "entropy", "--aggregate", "mean", "--aggregate-layers", "mean")
    assert [(head["layer"], head["head"]) for head in found["heads"]] == [("mean", "mean")]
    refused = run_tables("stats", "-t", TEXT, "--aggregate", "max")
    assert refused.code == 2
    assert "is no distribution" in refused.err


def test_layers_are_a_table_of_their_own_and_what_a_pipe_reads(run_tables: RunCli) -> None:
    call = ("stats", "-t", TEXT, "-t", OTHER, "--metric", "entropy,sink_position,next_mass", "--by-layer")
    done = run_tables(*call, "--out", "here")
    assert done.out == Path("here/stats-layers.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["kind"], row["layer"], row["heads"], row["texts"]) for row in rows] == [
        ("encoder", str(layer), "4", "2") for layer in range(4)
    ]
    document = json.loads(Path("here/stats.json").read_text())
    for row, layer in zip(rows, document["layers"], strict=True):
        assert list(row) == list(layer)
        of_layer = [head["entropy"] for head in document["heads"] if head["layer"] == layer["layer"]]
        assert layer["entropy"] == pytest.approx(sum(of_layer) / 4)
        assert float(row["entropy"]) == pytest.approx(layer["entropy"], rel=6e-6)


def test_special_tokens_are_columns_and_null_where_a_kind_has_none(run_tables: RunCli) -> None:
    options = ("-m", "demo:seq2seq", "-t", "one two.", "--metric", "entropy", "--special-tokens", "--out", "here")
    found = document(run_tables, *options)
    special = [name for name in found["heads"][0] if name.endswith("_mass")]
    assert special[:2] == ["first_mass", "special_mass"]
    inputs = {one["kind"]: one for one in found["inputs"]}
    for head in found["heads"]:
        keys = set(inputs[head["kind"]]["key_pieces"])
        for name in special[2:]:
            piece = name.removesuffix("_mass")
            assert (head[name] is None) == (piece not in keys if piece != "punctuation" else "." not in "".join(keys))
    assert found["metrics"][special[2]]["question"] == f"How much attention goes to {special[2].removesuffix('_mass')}?"
    assert set(special) <= set(Path("here/stats.csv").read_text().splitlines()[0].split(","))


def test_texts_can_count_by_their_tokens(run_tables: RunCli) -> None:
    options = ("-t", TEXT, "-t", OTHER, "--metric", "entropy", "--layer", "0", "--head", "0", "--pool-texts", "tokens")
    found = document(run_tables, *options, "--per-query")
    assert found["pool_texts"] == "tokens"
    values = [row["entropy"] for row in found["tokens"]]
    head = found["heads"][0]
    assert (head["entropy"], head["entropy_count"]) == (pytest.approx(sum(values) / len(values)), len(values))


def test_rows_are_named_by_what_they_predict(run_tables: RunCli) -> None:
    options = ("-m", "demo:decoder", "-t", "the cat sat", "--metric", "entropy", "--layer", "0", "--head", "0")
    read = document(run_tables, *options, "--per-query")
    named = document(run_tables, *options, "--per-query", "--rows-as", "predicted", "--top-k", "1", "--out", "here")
    assert (read.get("rows_as"), named["rows_as"]) == (None, "predicted")
    assert named["heads"] == read["heads"]
    pieces = read["inputs"][0]["query_pieces"]
    assert [(row["query"], row["piece"]) for row in named["tokens"]] == list(enumerate(pieces))[1:]
    edges = pq.read_table("here/edges.parquet").to_pylist()
    assert [(row["query"], row["query_piece"]) for row in edges] == list(enumerate(pieces))[1:]
    for wrong, said in [
        (("-m", "demo:decoder", "-t", "a"), "--rows-as names the rows of --per-query, --top-k and --min-weight"),
        (("-t", TEXT, "--per-query"), "--rows-as predicted needs a decoder"),
        (("-m", "demo:decoder", "-t", "a b", "--per-query", "--words"), "--rows-as predicted needs the rows of single"),
    ]:
        done = run_tables("stats", *wrong, "--rows-as", "predicted")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert said in done.err


def test_a_saved_run_is_measured_again_without_the_model(run_cli: RunCli) -> None:
    first = document(run_cli, "-t", TEXT, "-t", OTHER, "-l", "0-1", "-H", "1,2", "--save-maps", "--out", "run")
    again = document(run_cli, "--from", "run")
    assert len(again["heads"]) == len(first["heads"]) == 4
    for one, other in zip(first["heads"], again["heads"], strict=True):
        assert one.pop("kind") == other.pop("kind")
        assert {name for name in one if one[name] is None} == {name for name in other if other[name] is None}
        for name in one:
            assert one[name] is None or one[name] == pytest.approx(other[name], rel=1e-6, abs=1e-7)
    some = document(run_cli, "--from", "run", "-l", "1", "--metric", "sink", "--special", "drop")
    assert [head["layer"] for head in some["heads"]] == [1] * 2


def test_spread_adds_a_picture_of_the_heads_by_layer(run_cli: RunCli) -> None:
    assert run_cli("stats", "-t", TEXT, "--metric", "sink", "--spread", "--out", "here").code == 0
    assert Path("here/stats-spread.png").read_bytes().startswith(b"\x89PNG")
    listed = json.loads(Path("here/manifest.json").read_text())["files"]
    assert "stats-spread.png" in [entry["name"] for entry in listed]


def test_a_metric_of_keys_asks_for_tokens(run_cli: RunCli) -> None:
    refused = run_cli("stats", "-t", TEXT, "--metric", "received")
    assert refused.err == "error: received has a value for every key and none for a whole head: add --per-query\n"
    done = run_cli("stats", "-t", TEXT, "--metric", "received", "--per-query", "--out", "here")
    assert done.code == 0
    assert not Path("here/stats.png").exists()
    assert done.err == "note: there is no picture: none of these metrics has a value for a whole head here\n"


def test_texts_come_from_files_and_from_stdin(run_tables: RunCli) -> None:
    expected = document(run_tables, "-t", TEXT, "-t", OTHER, "--metric", "entropy")["heads"]
    Path("texts.txt").write_text(f"{TEXT}\n\n{OTHER}\n")
    Path("texts.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in (TEXT, OTHER)))
    Path("texts.csv").write_text(f"text,more\n{TEXT},1\n{OTHER},2\n")
    for options in (["--file", "texts.txt"], ["-f", "texts.jsonl", "--column", "body"], ["-f", "texts.csv"]):
        assert document(run_tables, *options, "--metric", "entropy")["heads"] == expected
    done = run_tables("stats", "-f", "-", "--json", "--metric", "entropy", stdin=f"{TEXT}\n{OTHER}\n")
    assert json.loads(done.out)["heads"] == expected


def test_thousands_of_lines_come_through_stdin(run_tables: RunCli) -> None:
    lines = "".join(f"{'cat ' * (at % 3)}{at}\n" for at in range(3_000))
    done = run_tables("stats", "-f", "-", "--metric", "sink", "--json", "--batch-tokens", "16000", stdin=lines)
    found = json.loads(done.out)
    assert {head["texts"] for head in found["heads"]} == {3_000}
    assert [one["index"] for one in found["inputs"]] == list(range(3_000))
    assert found["inputs"][2_999]["text"] == "cat cat 2999"
    assert done.err.startswith("note: 3,000 texts are read at once, as only files are read in parts: ")


def test_what_the_model_wrote_is_told_from_what_it_was_given(run_cli: RunCli) -> None:
    options = ("-m", "demo:decoder", "--metric", "sink", "--generate", "3")
    [one] = document(run_cli, *options, "-t", "The animal")["inputs"]
    assert one["query_segments"] == one["key_segments"] == ["prompt"] * (len(one["queries"]) - 3) + ["generated"] * 3
    Path("chat.json").write_text(json.dumps([{"role": "user", "content": "one two"}]))
    [one] = document(run_cli, *options, "--chat", "chat.json")["inputs"]
    assert [segment for segment in dict.fromkeys(one["query_segments"]) if segment] == [
        "user",
        "assistant",
        "generated",
    ]
    options = ("-m", "demo:seq2seq", "--metric", "sink", "-t", "one two")
    encoder, decoder, cross = document(run_cli, *options)["inputs"]
    assert not encoder.keys() & {"query_segments", "key_segments"}
    written = ["", *["generated"] * (len(decoder["queries"]) - 1)]
    assert decoder["query_segments"] == decoder["key_segments"] == cross["query_segments"] == written
    assert "key_segments" not in cross


def test_a_pair_a_chat_and_generated_tokens_are_read(run_tables: RunCli) -> None:
    pair = document(run_tables, "-t", TEXT, "--pair", OTHER, "--metric", "entropy")
    assert pair["inputs"][0]["pair"] == OTHER
    assert pair["inputs"][0]["queries"].count("[SEP]") == 2
    Path("chat.json").write_text(json.dumps([{"role": "user", "content": "one two"}]))
    chat = document(run_tables, "-m", "demo:decoder", "--chat", "chat.json", "--metric", "entropy")
    assert chat["heads"][0]["kind"] == "decoder"
    options = ("-m", "demo:decoder", "-t", "one two three", "--metric", "entropy", "-H", "causal-lm")
    short = document(run_tables, *options)["heads"][0]["queries"]
    assert document(run_tables, *options, "--generate", "4")["heads"][0]["queries"] == short + 4
    assert document(run_tables, *options, "--max-tokens", "2")["heads"][0]["queries"] == 2


def test_model_options_are_heeded(run_cli: RunCli, demo_dirs: dict[str, Path]) -> None:
    model = str(demo_dirs["encoder"])
    options = ("--dtype", "bfloat16", "--device", "cpu", "--capture", "eager", "--model-head", "masked-lm")
    found = document(run_cli, "-m", model, "--tokenizer", model, "-t", TEXT, "--metric", "entropy", *options)
    run = found["run"]
    assert (run["dtype"], run["device"], run["capture"], run["class"]) == (
        "bfloat16",
        "cpu",
        "eager",
        "BertForMaskedLM",
    )
    assert run["resolved"]["tokenizer"] == "…/demo/encoder"


def test_a_short_text_leaves_no_column_out(run_tables: RunCli) -> None:
    call = ("stats", "-m", "demo:decoder", "-l", "0", "-H", "0")
    short, longer = (run_tables(*call, "-t", text).out.splitlines()[0] for text in ("a", "a b"))
    assert set(short.split(",")) - set(longer.split(",")) == {"next_mass", "alignment_distance"}
