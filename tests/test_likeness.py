"""Which heads are alike: the numbers against naive loops and closed forms, and the command from text to files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import jensenshannon

import attncli
from attncli.analyses.grouping import clustered, leaves, linked, placed
from attncli.analyses.likeness import sampled, smoothness, text_likeness
from attncli.analyses.smoothness import mean_cosine, rank_one_distance
from attncli.data import LARGEST_DISTANCE, Attention, Grouping, LayerMaps, Likeness, Tokens
from attncli.errors import UsageError

if TYPE_CHECKING:
    from conftest import RunCli

TEXTS = ["The cat sat on the mat because it was warm.", "A dog ran home."]


def maps(*layers: Any, visible: Any = None) -> Attention:
    """One text; each layer [head, query, key]."""
    arrays = [np.asarray(layer, np.float32) for layer in layers]
    rows, keys = (Tokens.plain([str(n) for n in range(count)]) for count in arrays[0].shape[1:])
    made = [LayerMaps(at, tuple(range(len(one))), one, visible) for at, one in enumerate(arrays)]
    return Attention("encoder", rows, keys, tuple(made))


def naive_distance(one: Any, other: Any) -> float:
    return float(np.sqrt(np.mean([jensenshannon(p, q) ** 2 for p, q in zip(one, other, strict=True)])))


def test_distances_are_those_of_a_double_loop_over_heads_of_all_layers() -> None:
    random = np.random.default_rng(0)
    seen = np.tril(np.ones((1, 7, 7), bool))
    weights = [np.where(seen, random.dirichlet(np.full(7, 0.4), (count, 7)), 0) for count in (3, 2)]
    weights = [one / one.sum(-1, keepdims=True) for one in weights]
    found = text_likeness(maps(*weights, visible=seen))
    heads = np.concatenate(weights)
    assert found.places == ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))
    assert found.distances == pytest.approx(np.array([[naive_distance(a, b) for b in heads] for a in heads]), abs=1e-6)
    even = seen[0] / seen[0].sum(-1, keepdims=True)
    assert found.to_even == pytest.approx([naive_distance(a, even) for a in heads], abs=1e-6)


def test_equal_heads_are_0_apart_and_those_without_a_common_key_as_far_as_can_be() -> None:
    first, second = np.zeros((4, 4)), np.zeros((4, 4))
    first[:, 0], second[:, 1] = 1, 1
    found = text_likeness(maps([first, first], [second]))
    assert found.distances[0, 1] == 0
    assert found.distances[0, 2] == pytest.approx(LARGEST_DISTANCE)
    assert found.layers[0] == (0, 0)


def test_rows_that_see_nothing_do_not_count() -> None:
    random = np.random.default_rng(1)
    weights = random.dirichlet(np.ones(3), (2, 3))
    weights[:, 1] = np.nan
    found = text_likeness(maps(weights))
    assert found.distances[0, 1] == pytest.approx(naive_distance(*weights[:, [0, 2]]), abs=1e-6)


def test_long_texts_are_compared_by_evenly_spread_rows() -> None:
    assert sampled(256).tolist() == list(range(256))
    assert sampled(1000).tolist() == list(range(0, 1000, 4))


def test_rows_to_their_mean_against_a_loop() -> None:
    rows = np.random.default_rng(2).dirichlet(np.ones(5), (2, 6))
    mean = rows.mean((0, 1))
    expected = np.mean([jensenshannon(row, mean) ** 2 for row in rows.reshape(-1, 5)])
    assert smoothness(torch.from_numpy(rows)) == pytest.approx(expected)


def test_measures_of_hidden_states_against_loops_and_closed_forms() -> None:
    states = np.random.default_rng(3).normal(size=(5, 4))
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(5) for j in range(i)]
    assert mean_cosine(torch.from_numpy(states)) == pytest.approx(np.mean(pairs))
    best = np.linalg.lstsq(np.ones((5, 1)), states, rcond=None)[0]
    expected = np.linalg.norm(states - best) / np.linalg.norm(states)
    assert rank_one_distance(torch.from_numpy(states)) == pytest.approx(expected)
    same = torch.ones(3, 4)
    assert (mean_cosine(same), rank_one_distance(same)) == pytest.approx((1, 0))
    assert np.isnan(mean_cosine(same[:1]))


def test_a_map_of_points_in_the_plane_gives_their_distances_back() -> None:
    points = np.random.default_rng(4).normal(size=(8, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found, stress = placed(distances)
    assert stress < 0.01
    assert np.linalg.norm(found[:, None] - found[None], axis=-1) == pytest.approx(distances, abs=0.05)
    assert placed(np.zeros((3, 3)))[1] == 0


def test_clusters_are_numbered_in_the_order_of_the_tree() -> None:
    line = np.array([0.0, 0.5, 0.02, 0.53])
    tree = linked(np.abs(line[:, None] - line[None]))
    assert sorted(leaves(tree)) == [0, 1, 2, 3]
    by_threshold, by_count = clustered(tree, None, 0.1), clustered(tree, 2, 0.0)
    assert by_threshold.tolist() == by_count.tolist()
    assert by_threshold[0] == by_threshold[2] != by_threshold[1] == by_threshold[3]
    assert [by_threshold[at] for at in leaves(tree)] == [1, 1, 2, 2]
    assert clustered(tree, None, 0.0).tolist() != by_count.tolist()
    assert clustered(linked(np.zeros((1, 1))), None, 0.3).tolist() == [1]


def same(one: Likeness, other: Likeness) -> None:
    for kind, group in one.groups.items():
        assert group.distances == pytest.approx(other.groups[kind].distances, abs=1e-6)
        assert group.to_even == pytest.approx(other.groups[kind].to_even, abs=1e-6)


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq"])
def test_a_pass_and_kept_maps_say_the_same(name: str) -> None:
    model = attncli.load(f"demo:{name}")
    streamed, kept = model.likeness(TEXTS), model.run(TEXTS).heads()
    same(streamed, kept)
    same(kept, streamed)
    rows = [one.layers["rows_to_mean"].values for one in (streamed, kept)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)
    kinds = streamed.layers["cosine"].coords["kind"][1]
    assert (np.isfinite(streamed.layers["cosine"].values) == (kinds != "cross")).all()
    assert np.isnan(kept.layers["cosine"].values).all()


def test_distances_over_texts_are_the_mean_of_each_text() -> None:
    model = attncli.load("demo:encoder")
    each = [model.run(text).heads().groups["encoder"].distances for text in TEXTS]
    assert model.run(TEXTS).heads().groups["encoder"].distances == pytest.approx(np.mean(each, axis=0), abs=1e-6)


def test_hidden_states_are_those_of_the_model() -> None:
    model = attncli.load("demo:encoder")
    loaded = model.loaded
    ids = loaded.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        states = loaded.model(**ids, output_hidden_states=True).hidden_states
    found = model.likeness(TEXTS[0]).layers
    assert found["cosine"].values == pytest.approx([mean_cosine(one[0]) for one in states[1:]])
    assert found["rank_one_distance_input"].values == pytest.approx([rank_one_distance(states[0][0])] * len(states[1:]))


def test_the_command_writes_what_it_promises(run_cli: RunCli) -> None:
    done = run_cli("heads", "-t", TEXTS[0], "--out", "here", "--clusters", "2", "--redundant", "0.3", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found == json.loads(Path("here/heads.json").read_text())
    pictures = {f"heads-{name}.png" for name in ("map", "dendrogram", "distances", "layers")}
    tables = {"heads.json", "heads.csv", "heads-pairs.csv", "heads-layers.csv"}
    assert {path.name for path in Path("here").iterdir()} == pictures | tables | {"manifest.json"}
    heads, pairs = pd.read_csv("here/heads.csv"), pd.read_csv("here/heads-pairs.csv")
    assert len(pairs) == len(heads) * (len(heads) - 1) // 2
    assert pairs.distance.is_monotonic_increasing
    assert set(heads.cluster) == {1, 2}
    assert sum(map(len, found["kinds"][0]["clusters"])) == len(heads)
    assert len(found["redundant"]) == (pairs.distance < 0.3).sum()
    assert heads.nearest_distance.min() == pairs.distance[0]
    page = run_cli("explain", "heads.json").out
    assert all(f'"{name}"' in page for name in [*found, *found["kinds"][0], *found["heads"][0], *found["layers"][0]])


def test_a_pipe_gets_the_heads_and_the_same_command_the_same_bytes(run_cli: RunCli) -> None:
    args = ("heads", "-t", TEXTS[0], "--quiet", "--format", "svg")
    assert run_cli(*args, "--out", "one").out == Path("one/heads.csv").read_text()
    run_cli(*args, "--out", "two")
    for path in Path("one").iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (Path("two") / path.name).read_bytes(), path.name


def test_saved_maps_say_the_same_without_hidden_states(run_cli: RunCli) -> None:
    run_cli("heads", "-t", TEXTS[0], "--out", "one", "--save-maps", "--quiet")
    done = run_cli("heads", "--from", "one", "--out", "two")
    assert done.code == 0
    assert "hidden states are not in saved maps" in done.err
    first, second = (pd.read_csv(f"{name}/heads-pairs.csv") for name in ("one", "two"))
    assert first.distance.to_numpy() == pytest.approx(second.distance.to_numpy(), abs=1e-6)
    assert pd.read_csv("two/heads-layers.csv").cosine.isna().all()


@pytest.mark.parametrize("head", ["0", "0,1"])
def test_few_heads_are_drawn_too(head: str, run_cli: RunCli) -> None:
    done = run_cli("heads", "-t", TEXTS[0], "--layer", "0", "--head", head, "--out", "here")
    assert done.code == 0, done.err
    assert len(pd.read_csv("here/heads.csv")) == len(head.split(","))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--clusters", "0"), "expected --clusters from 1 up, got 0"),
        (("--clusters", "500"), "expected --clusters up to"),
        (("--threshold", "2"), "expected --threshold to be a distance from 0 to 0.833, got 2.0"),
        (("--redundant", "-1"), "expected --redundant to be a distance from 0 to 0.833, got -1.0"),
        (("--threshold", "nan"), "expected --threshold to be a distance"),
        (("--clusters", "2", "--threshold", "0.2"), "give one"),
        (("--aggregate", "mean"), "leave out --aggregate"),
        (("--format", "bmp"), "unknown --format 'bmp'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(args: tuple[str, ...], said: str, run_cli: RunCli) -> None:
    done = run_cli("heads", "-t", TEXTS[0], *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert not list(Path().rglob("*.png"))


def test_runs_without_maps_say_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    run = attncli.load("demo:encoder").run(TEXTS[0], keep_maps=False, metrics="sink")
    with pytest.raises(UsageError, match=r"model\.likeness"):
        run.heads(Grouping())
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UsageError, match=r'pip install "attncli\[analyses\]"'):
        attncli.load("demo:encoder").run(TEXTS[0]).heads()


def test_frames_have_a_row_per_head_pair_and_layer() -> None:
    found = attncli.load("demo:encoder").run(TEXTS[0]).heads(Grouping(clusters=2))
    count = len(found.to_frame())
    assert len(found.pairs_frame()) == count * (count - 1) // 2
    assert len(found.layers_frame()) == len(set(found.to_frame().layer))
