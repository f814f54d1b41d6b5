"""Which heads are alike, from Python: a pass and kept maps, several texts, hidden states, shuffled tokens."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_distances import naive_distances

import attncli
from attncli.data import Text
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.shuffled_inputs import shuffle_batch
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult
from attncli.studies.heads.similarity import mean_cosine, rank_one_distance

TEXTS = ["The cat sat on the mat because it was warm.", "A dog ran home."]


def same(one: HeadsResult, other: HeadsResult) -> None:
    for kind, group in one.groups.items():
        like = other.groups[kind]
        assert group.distances == pytest.approx(like.distances, abs=1e-6)
        assert group.to_even == pytest.approx(like.to_even, abs=1e-6)
        assert group.baselines["positional"] == pytest.approx(like.baselines["positional"], abs=1e-5)


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq"])
def test_a_pass_and_kept_maps_say_the_same(name: str) -> None:
    model = attncli.load(f"demo:{name}")
    streamed, kept = model.heads(TEXTS), model.run(TEXTS).heads()
    assert list(streamed.groups) == list(kept.groups)
    same(streamed, kept)
    rows = [one.layers["rows_to_mean"].values for one in (streamed, kept)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-6)
    kinds = streamed.layers["cosine"].coords["kind"][1]
    assert (np.isfinite(streamed.layers["cosine"].values) == (kinds != "cross")).all()
    assert np.isnan(kept.layers["cosine"].values).all()
    assert {name.rsplit("_", 1)[-1] for name in streamed.layers} - {
        name.rsplit("_", 1)[-1] for name in kept.layers
    } == {"shuffled"}


def test_distances_over_texts_are_the_mean_of_each_text_against_loops() -> None:
    run = attncli.load("demo:encoder").run(TEXTS)
    each = [naive_distances(np.concatenate([one.weights for one in maps.layers])) for maps in run.maps]
    assert run.heads().groups["encoder"].distances == pytest.approx(np.mean(each, axis=0), abs=1e-5)


def test_hidden_states_are_those_of_the_model() -> None:
    model = attncli.load("demo:encoder")
    ids = model.loaded.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        states = model.loaded.model(**ids, output_hidden_states=True).hidden_states
    found = model.heads(TEXTS[0]).layers
    assert found["cosine"].values == pytest.approx([mean_cosine(one[0]) for one in states[1:]])
    assert found["rank_one_distance_input"].values == pytest.approx([rank_one_distance(states[0][0])] * len(states[1:]))


def test_the_shuffled_baseline_is_what_the_model_does_with_shuffled_tokens() -> None:
    model = attncli.load("demo:encoder")
    found = model.heads(TEXTS[0]).groups["encoder"].baselines["shuffled"]
    prepared = model.prepare([Text(TEXTS[0])], Request())
    plain, mixed = (batch.tensors for batch in (prepared.batches[0], shuffle_batch(prepared.batches[0], 0)))
    assert plain["input_ids"].tolist() != mixed["input_ids"].tolist()
    maps = attncli.capture(model.loaded.model, mixed).maps[0].layers
    assert found == pytest.approx(naive_distances(np.concatenate([one.weights for one in maps])), abs=1e-5)
    assert "shuffled" not in model.heads(TEXTS[0], attncli.HeadsOptions(shuffles=0)).groups["encoder"].baselines


def test_words_and_a_choice_of_heads_are_compared_too() -> None:
    model = attncli.load("demo:encoder")
    found = model.heads(TEXTS, words=True, layer="1,2", head="0,2", special="drop")
    group = found.groups["encoder"]
    assert group.names == ["1.0", "1.2", "2.0", "2.2"]
    same(found, model.run(TEXTS, words=True, layer="1,2", head="0,2", special="drop").heads())
    assert np.isfinite(found.layers["cosine_shuffled"].values).all()


def test_minilm_has_no_two_heads_that_do_the_same(minilm: Path) -> None:
    found = attncli.load(str(minilm)).heads("The animal didn't cross the street because it was too tired.")
    group = found.groups["encoder"]
    assert len(found.redundant_pairs()["distance"]) == 0
    closest = [tuple(group.names[at] for at in pair) for pair in group.pairs[:2].tolist()]
    assert closest == [("2.7", "4.5"), ("5.3", "5.5")]
    cosine = found.layers["cosine"].values
    assert (np.diff(cosine) > 0).all()
    assert cosine[-1] > 2 * cosine[0]


def test_runs_without_maps_say_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    model = attncli.load("demo:encoder").loaded
    run = attncli.capture(model.model, model.tokenizer(TEXTS[0]), model.tokenizer, keep_maps=False, metrics="sink")
    with pytest.raises(UsageError, match=r"model\.heads"):
        run.heads(HeadsOptions())
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UsageError, match=r'pip install "attncli\[analyses\]"'):
        attncli.load("demo:encoder").run(TEXTS[0]).heads()


def test_texts_with_maps_of_different_heads_are_refused() -> None:
    run = attncli.load("demo:encoder").run(TEXTS)
    maps = (run.maps[0], replace(run.maps[1], layers=run.maps[1].layers[1:]))
    with pytest.raises(UsageError, match="different heads"):
        replace(run, maps=maps).heads()


def test_frames_have_a_row_per_head_pair_and_layer() -> None:
    found = attncli.load("demo:encoder").run(TEXTS[0]).heads(HeadsOptions(clusters=2))
    count = len(found.to_frame())
    assert len(found.pairs_frame()) == count * (count - 1) // 2
    assert len(found.layers_frame()) == len(set(found.to_frame().layer))
    assert set(found.to_frame().cluster) == {1, 2}
