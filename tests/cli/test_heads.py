"""`attncli heads`: what is written, what a script and a person read, what is said of bad calls."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from cli.test_streams import on_terminal
from hostile import HOSTILE

import attncli

if TYPE_CHECKING:
    from conftest import RunCli

TEXT = "The cat sat on the mat because it was warm."
PICTURES = {f"heads-{name}.png" for name in ("map", "dendrogram", "distances", "layers")}
TABLES = {"heads.json", "heads.csv", "heads-pairs.csv", "heads-layers.csv"}


def test_the_command_writes_what_it_promises(run_cli: RunCli) -> None:
    done = run_cli("heads", "-t", TEXT, "--out", "here", "--clusters", "2", "--redundant", "0.3", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found == json.loads(Path("here/heads.json").read_text())
    assert {path.name for path in Path("here").iterdir()} == PICTURES | TABLES | {"manifest.json"}
    heads, pairs = pd.read_csv("here/heads.csv"), pd.read_csv("here/heads-pairs.csv")
    assert len(pairs) == len(heads) * (len(heads) - 1) // 2
    assert pairs.distance.is_monotonic_increasing
    assert set(heads.cluster) == {1, 2}
    (kind,) = found["kinds"]
    assert sum(map(len, kind["clusters"])) == len(heads)
    assert kind["median"]["distance_shuffled"] == pytest.approx(pairs.distance_shuffled.median())
    assert len(found["redundant"]) == (pairs.distance < 0.3).sum() > 0
    assert heads.nearest_distance.min() == pairs.distance[0]
    page = run_cli("explain", "heads.json").out
    parts = (found, kind, kind["median"], *(found[name][0] for name in ("heads", "redundant", "layers")))
    assert all(f'"{name}"' in page for part in parts for name in part)


def test_every_number_has_a_page(run_cli: RunCli) -> None:
    for name in ("head-distance", "rows_to_mean", "cosine", "rank_one_distance"):
        page = run_cli("explain", name).out
        assert page.startswith(name)
        assert all(word in page for word in ("Formula", "Axes", "Unit", "Undefined"))


SAVED = (
    *("heads", "-t", TEXT, "-l", "0-1", "--redundant", "0.3", "--quiet"),
    *("--format", "svg,parquet,jsonl", "--save-maps", "-o", "one"),
)


def test_a_pipe_gets_the_heads_and_the_same_command_the_same_bytes(run_once: RunCli, run_cli: RunCli) -> None:
    done = run_once(*SAVED)
    one = done.folder / "one"
    assert done.out == (one / "heads.csv").read_text()
    run_cli(*SAVED)
    names = {path.name for path in one.iterdir()}
    listed = json.loads((one / "manifest.json").read_text())["files"]
    assert names == {entry["name"] for entry in listed} | {"manifest.json"}
    for name in names - {"manifest.json"}:
        assert (one / name).read_bytes() == Path("one", name).read_bytes(), name
    assert len(pd.read_parquet(one / "heads-pairs.parquet")) == len(pd.read_csv(one / "heads-pairs.csv"))


def test_saved_maps_say_the_same_without_hidden_states_and_shuffled_tokens(
    run_once: RunCli, run_tables: RunCli
) -> None:
    one = run_once(*SAVED).folder / "one"
    done = run_tables("heads", "--from", one, "--out", "two")
    assert done.code == 0
    assert "cosine, rank_one_distance and that baseline are left out" in done.err
    first, second = (pd.read_csv(folder / "heads-pairs.csv") for folder in (one, Path("two")))
    for name in ("distance", "distance_positional"):
        assert first[name].to_numpy() == pytest.approx(second[name].to_numpy(), abs=1e-5)
    assert "distance_shuffled" not in second
    assert "cosine" in pd.read_csv(one / "heads-layers.csv")
    assert "cosine" not in pd.read_csv("two/heads-layers.csv")
    assert {layer["cosine"] for layer in json.loads(Path("two/heads.json").read_text())["layers"]} == {None}
    refused = run_tables("heads", "--from", one, "--shuffles", "2")
    assert (refused.code, refused.out) == (2, "")
    assert "--shuffles runs the model on shuffled tokens, and --from has none" in refused.err


def test_a_step_of_a_file_finds_what_the_command_alone_finds(run_once: RunCli, run_cli: RunCli) -> None:
    Path("steps.yaml").write_text(
        f"model: demo:encoder\ntext: {TEXT}\nlayer: 0-1\nsteps: [heads: {{redundant: 0.3}}, stats: {{metric: sink}}]\n"
    )
    done = run_cli("run", "steps.yaml", "--out", "steps", "--quiet")
    assert done.code == 0, done.err
    (step,) = Path("steps").rglob("heads.csv")
    alone = run_once(*SAVED).folder / "one"
    for name in TABLES - {"heads.json"}:
        one, other = pd.read_csv(step.parent / name), pd.read_csv(alone / name)
        pd.testing.assert_frame_equal(one, other, atol=1e-5)


def test_each_kind_of_an_encoder_decoder_has_its_pictures(run_cli: RunCli) -> None:
    done = run_cli("heads", "-m", "demo:seq2seq", "-t", "abc", "--target", "cba", "-H", "0,1", "--out", "here")
    assert done.code == 0, done.err
    names = {path.name for path in Path("here").glob("*.png")}
    each = {f"{kind}-heads-{name}.png" for kind in ("encoder", "decoder", "cross") for name in ("map", "dendrogram")}
    assert each | {"heads-layers.png", "cross-heads-distances.png"} <= names
    layers = pd.read_csv("here/heads-layers.csv").set_index("kind")
    assert layers.loc["cross"].cosine.isna().all()
    assert layers.loc["decoder"].cosine.notna().all()


@pytest.mark.parametrize("head", ["0", "0,1"])
def test_few_heads_are_drawn_too(head: str, run_cli: RunCli) -> None:
    done = run_cli("heads", "-t", TEXT, "--layer", "0", "--head", head, "--out", "here")
    assert done.code == 0, done.err
    assert len(pd.read_csv("here/heads.csv")) == len(head.split(","))


def test_a_text_of_one_token_is_drawn_too(run_cli: RunCli) -> None:
    done = run_cli(
        "heads",
        "-m",
        "demo:decoder",
        "-t",
        "a",
        "--max-tokens",
        "1",
        "-l",
        "0-1",
        "-H",
        "0-3",
        "--out",
        "here",
        "--json",
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found["inputs"][0]["queries"]) == 1
    assert {row["nearest_distance"] for row in found["heads"]} == {0}
    assert {row["cosine"] for row in found["layers"]} == {None}


def test_several_texts_are_averaged_and_counted(run_tables: RunCli) -> None:
    texts = ("A dog ran home.", TEXT)
    model = attncli.load("demo:encoder")
    first, second = (model.run(text, layer=0).heads().pairs_frame() for text in texts)
    done = run_tables("heads", "-t", texts[0], "-t", texts[1], "-l", "0", "--shuffles", "0", "--out", "both", "--json")
    assert json.loads(done.out)["compared"]["texts"] == 2
    keys = ["layer", "head", "other_layer", "other_head"]
    first, second, both = (pairs.set_index(keys) for pairs in (first, second, pd.read_csv("both/heads-pairs.csv")))
    assert ((first.distance + second.distance) / 2 - both.distance).abs().max() < 1e-6


def test_hostile_tokens_are_data(run_cli: RunCli) -> None:
    text = " ".join(word for word in HOSTILE if word.strip())
    done = run_cli(
        "heads", "-t", text, "--max-tokens", "60", "-l", "0", "--out", "here", "--json", "--format", "svg,parquet"
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["heads"]


def test_a_person_reads_clusters_pairs_and_layers(tmp_path: Path) -> None:
    seen = on_terminal(tmp_path, "heads", "-t", TEXT, "--out", "here")
    assert "encoder attention, 16 heads in" in seen
    assert "no pair of encoder heads closer than 0.1; the closest" in seen
    assert re.search(r"median +0\.\d{3} +0\.\d{3} +0\.\d{3}", seen)
    assert f"text: {TEXT}\n" in seen
    layers = ("attention: rows of a layer to their mean", "hidden states of each layer")
    assert not any(title in seen for title in layers)
    assert "--verbose shows further tables" in seen
    more = on_terminal(tmp_path, "heads", "-t", TEXT, "-l", "0-1", "-H", "0-1", "--out", "there", "--verbose")
    assert all(title in more for title in layers)
    assert "--verbose" not in more
    assert "Wrote here/heads-map.png" in seen


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--clusters", "0"), "expected --clusters from 1 up, got 0"),
        (("--clusters", "500"), "expected --clusters up to 16, the number of encoder heads, got 500"),
        (("--threshold", "2"), "expected --threshold to be a distance from 0 to 0.833, got 2.0"),
        (("--redundant", "-1"), "expected --redundant to be a distance from 0 to 0.833, got -1.0"),
        (("--threshold", "nan"), "expected --threshold to be a distance"),
        (("--clusters", "2", "--threshold", "0.2"), "give one"),
        (("--shuffles", "-1"), "expected --shuffles from 0 up, got -1"),
        (("--aggregate", "mean"), "leave out --aggregate"),
        (("--format", "bmp"), "unknown --format 'bmp'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(args: tuple[str, ...], said: str, run_cli: RunCli) -> None:
    done = run_cli("heads", "-t", TEXT, *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert said in done.err
    assert not list(Path().rglob("*.png"))


@pytest.mark.parametrize("missing", ["sklearn.manifold", "scipy.cluster.hierarchy"])
def test_what_is_not_installed_is_asked_for(missing: str, run_tables: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    done = run_tables("heads", "-t", TEXT)
    assert (done.code, done.out) == (2, "")
    assert 'pip install "attncli[analyses]"' in done.err
