"""`attncli flow`: what is written, what a person and a script read, and what is refused before the work begins."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from cli.test_streams import on_terminal
from hostile import HOSTILE

if TYPE_CHECKING:
    from conftest import Called, RunCli

SHORT = "Now it ran."
TEXT = "The cat sat on the mat because it was warm."
ANIMAL = "The animal didn't cross the street because it was too tired."
PAIR = ("-m", "demo:seq2seq", "-t", "one two", "--target", "owt eno")


def rows(done: Called) -> list[dict[str, str]]:
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def files(folder: str | Path) -> set[str]:
    """The files of a folder, all of which the manifest lists."""
    there = {path.name for path in Path(folder).iterdir()} - {"manifest.json"}
    listed = {entry["name"] for entry in json.loads(Path(folder, "manifest.json").read_text())["files"]}
    assert there == listed
    return there


def test_of_minilm_it_is_mostly_what_cls_was(minilm: Path, run_cli: RunCli) -> None:
    found = rows(run_cli("flow", "-m", minilm, "-t", ANIMAL, "--focus", "it", "-o", "here"))
    assert [row["query_token"] for row in found] == ["it"] * 16
    shares = {row["key_token"]: float(row["rollout"]) for row in found}
    assert round(shares["[CLS]"], 3) == 0.575
    assert sum(float(row["rollout"]) for row in found) == pytest.approx(1)
    assert all(sum(float(row[name]) for row in found) == pytest.approx(1) for name in ("uniform", "position"))
    assert files("here") == {"flow.json", "flow.csv", "encoder-rollout.png", "encoder-rollout-matrix.png"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("-t", SHORT), ["encoder-rollout", "encoder-rollout-matrix"]),
        (("-t", SHORT, "--method", "flow", "--focus", "it"), ["encoder-flow", "encoder-flow-matrix"]),
        (
            PAIR,
            [
                *("encoder-rollout", "encoder-rollout-matrix", "decoder-rollout-matrix"),
                *("cross-rollout", "cross-rollout-matrix"),
            ],
        ),
        ((*PAIR, "--kind", "cross"), ["cross-rollout", "cross-rollout-matrix"]),
        ((*PAIR, "--kind", "decoder"), ["decoder-rollout", "decoder-rollout-matrix"]),
        (
            ("-t", SHORT, "-t", "Once."),
            [f"T00{at}-encoder-rollout{end}" for at in (0, 1) for end in ("", "-matrix")],
        ),
    ],
)
def test_the_pictures_of_each_kind(options: tuple[str, ...], names: list[str], run_once: RunCli) -> None:
    done = run_once("flow", *options, "-o", "here", "--format", "svg")
    assert (done.code, done.err) == (0, "")
    pictures = {f"{name}.{end}" for name in names for end in ("png", "svg")}
    assert files(done.folder / "here") == {"flow.json", "flow.csv", *pictures}


def test_kinds_choose_what_is_shown_not_what_is_gone_through(run_once: RunCli) -> None:
    everything, cross = (
        rows(run_once("flow", *PAIR, *kind, "-o", "here", "--format", "svg")) for kind in ((), ("--kind", "cross"))
    )
    expected = [row for row in everything if row["kind"] == "cross"]
    assert {row.pop("position") for row in expected} == {""}
    assert cross == expected  # cross-attention has no offsets, so that it has no such column when it is alone


def test_of_a_decoder_alone_the_source_is_drawn_too(run_cli: RunCli) -> None:
    call = ("flow", "-m", "demo:seq2seq", "-t", "q", "--target", "owt eno", "--kind", "decoder", "--format", "svg")
    assert run_cli(*call, "-o", "here").code == 0
    svg = Path("here/decoder-rollout.svg").read_text(encoding="utf-8")
    assert ">q</text>" in svg
    assert ">from the source</text>" in svg


def test_json_holds_the_same_as_the_table(run_tables: RunCli) -> None:
    options = ("flow", "-t", TEXT, "--method", "flow", "--no-residual", "--start-layer", "1", "-o", "here")
    done = run_tables(*options, "--json", "--format", "parquet,jsonl")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert done.out == Path("here/flow.json").read_text(encoding="utf-8")
    assert (document["schema"], len(document["flows"])) == ("attncli.flow/1", 1)
    (flow,) = document["flows"]
    assert (flow["layers"], flow["residual"], flow["aggregate"]) == ([1, 2, 3], False, "mean")
    table = pq.read_table("here/flow.parquet")
    assert table.schema.metadata[b"schema"] == b"attncli.flow/1"
    for name, column in (("values", "flow"), ("maximum", "maximum"), ("uniform", "uniform"), ("position", "position")):
        assert np.ravel(flow[name]).tolist() == table[column].to_pylist()
    lines = [json.loads(line) for line in Path("here/flow.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == table.to_pylist()


def test_the_page_of_the_file_names_what_is_in_it(run_tables: RunCli) -> None:
    (flow,) = json.loads(run_tables("flow", "-t", "one", "--method", "flow", "--json").out)["flows"]
    page = " ".join(run_tables("explain", "flow.json").out.split())
    assert all(f'"{name}"' in page for name in flow)
    columns = run_tables("flow", "-t", "one").out.splitlines()[0]
    assert columns == "text,kind,query,key,query_token,query_piece,key_token,key_piece,rollout,uniform,position"
    names = "text, kind, query, key, query_token, query_piece, key_token, key_piece"
    assert f"{names}, rollout or flow, uniform, position and maximum" in page


def test_a_person_reads_the_strongest_inputs_beside_their_baselines(minilm: Path, tmp_path: Path) -> None:
    args = ("flow", "-m", str(minilm), "-t", ANIMAL, "-o", "here")
    seen = on_terminal(tmp_path, *args, "--focus", "it", NO_COLOR="1")
    assert "encoder: rollout from 'it'" in seen
    assert re.search(r"^\[CLS\] 0 +0\.575 +0\.062 +0\.104$", seen, re.MULTILINE)
    assert seen.endswith("Wrote here/encoder-rollout.png\nWrote here/encoder-rollout-matrix.png\n")
    every = on_terminal(tmp_path, *args[:-1], "there", NO_COLOR="1")
    assert re.search(r"^it 10 +\[CLS\] 0 0\.575   \[SEP\] 15 0\.086   \. 14 0\.042 *$", every, re.MULTILINE)
    assert f"text: {ANIMAL}\n" in every


def test_hostile_text_steers_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(" ".join(HOSTILE).replace("\0", "\x01").replace("\n", " ").replace("\r", " "))
    seen = on_terminal(tmp_path, "flow", "-f", "text.txt", "--focus", "null", "-o", "here", NO_COLOR="1")
    seen = re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", seen)


def test_a_saved_run_gives_the_same_numbers_without_the_model(run_cli: RunCli) -> None:
    assert run_cli("heatmap", "-t", SHORT, "-H", "0-1", "--save-maps", "-o", "saved").code == 0
    for method in ("rollout", "flow"):
        options = ("--method", method, "--focus", "it")
        model = rows(run_cli("flow", "-t", SHORT, "-H", "0-1", *options, "-o", f"{method}-model"))
        saved = rows(run_cli("flow", "--from", "saved", *options, "-o", f"{method}-saved"))
        assert [row["key_token"] for row in model] == [row["key_token"] for row in saved]
        pairs = zip(model, saved, strict=True)
        assert all(float(one[method]) == pytest.approx(float(other[method]), abs=1e-6) for one, other in pairs)


def test_maps_may_be_kept_on_the_way(run_cli: RunCli) -> None:
    assert run_cli("flow", *PAIR, "--save-maps", "-o", "kept").code == 0
    assert {"maps.safetensors", "run.json"} <= files("kept")
    again = run_cli("flow", "--from", "kept", "--kind", "cross", "-o", "again")
    assert {row["kind"] for row in rows(again)} == {"cross"}


def test_the_same_call_writes_the_same_bytes(run_once: RunCli, run_cli: RunCli) -> None:
    call = ("flow", "-t", SHORT, "--method", "flow", "--focus", "it", "-o", "here", "--format", "svg")
    first = run_once(*call).folder / "here"
    assert run_cli(*call).code == 0
    for name in files(first):
        assert (first / name).read_bytes() == Path("here", name).read_bytes(), name


def test_what_changes_the_result_changes_the_folder(run_cli: RunCli) -> None:
    for more in ((), ("--focus", "it"), ("--no-residual",), ("--method", "flow"), ("--aggregate", "max")):
        assert run_cli("flow", "-t", SHORT, *more).code == 0
    assert len(list(Path("outputs/flow/demo-encoder").iterdir())) == 5


def test_maps_of_one_layer_and_maps_of_other_tools(run_tables: RunCli) -> None:
    maps = np.random.default_rng(0).dirichlet(np.ones(5), 5)
    np.save("one.npy", maps)
    done = run_tables("flow", "--from", "one.npy", "-o", "here")
    assert done.err == "note: there is a single layer: its rollout is the attention of that layer\n"
    assert float(rows(done)[0]["rollout"]) == pytest.approx((1 + maps[0, 0]) / 2, abs=1e-6)
    np.save("cross.npy", maps[:, :3] / maps[:, :3].sum(1, keepdims=True))
    done = run_tables("flow", "--from", "cross.npy")
    assert (done.code, done.out) == (2, "")
    assert "the way from target to source needs encoder, decoder and cross attention, this run has cross" in done.err


def test_kept_maps_that_lead_nowhere_are_refused(run_cli: RunCli) -> None:
    assert (
        run_cli("heatmap", "-t", SHORT, "-H", "0", "--save-maps", "--aggregate-layers", "mean", "-o", "mean").code == 0
    )
    done = run_cli("flow", "--from", "mean")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: flow goes from layer to layer, these maps are the mean over layers: keep them without "
        "--aggregate-layers\n"
    )


def test_layers_that_are_left_out_are_told(run_tables: RunCli) -> None:
    done = run_tables("flow", "-t", SHORT, "-l", "0,3", "-o", "here")
    assert done.err == "note: layers 1-2 are left out: the others follow each other directly\n"


def test_texts_without_the_focus_are_left_out(run_tables: RunCli) -> None:
    done = run_tables("flow", "-t", "It ran.", "-t", "A cat.", "--focus", "it", "-o", "here")
    assert {row["text"] for row in rows(done)} == {"0"}
    assert "text 1, encoder is left out: 'it' does not occur in the text" in done.err


def test_too_long_a_text_for_flow_is_refused_before_the_work(run_tables: RunCli) -> None:
    long = " ".join(["animal"] * 400)
    done = run_tables("flow", "-m", "demo:decoder", "-t", long, "--method", "flow", "-o", "here")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        r"error: attention flow takes about \d[\d.]* (minutes|hours|days) for \d+ tokens and 3 layers, at most 10 "
        r"minutes are allowed: choose --focus WORD for one token, --max-tokens \d+, a later --start-layer, "
        r"or --method rollout\n",
        done.err,
    )
    assert not Path("here").exists()


def test_too_much_memory_is_refused_before_the_work(run_tables: RunCli) -> None:
    done = run_tables("flow", "-t", TEXT, "--max-memory", "5kB", "-o", "here")
    assert (done.code, done.out) == (2, "")
    assert "allowed are 5 kB (--max-memory); shorten the text with --max-tokens" in done.err


def test_a_long_text_is_rolled_out_without_its_graph(run_cli: RunCli) -> None:
    long = " ".join(f"Animal {at} crossed." for at in range(40))
    done = run_cli("flow", "-m", "demo:decoder", "-t", long, "--focus", "-1", "-o", "here")
    assert done.err == "note: the layers of texts of more than 128 tokens are not drawn: only their matrix is\n"
    assert files("here") == {"flow.json", "flow.csv", "decoder-rollout-matrix.png"}
