"""What the heads of a model show at one step, against other analyses and plain loops; the model stays as it is."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import attncli
from attncli.errors import ModelError, UsageError
from attncli.models.loading import load
from attncli.models.state import has_finite_parameters
from attncli.studies.log.options import SnapshotOptions
from attncli.studies.log.result import Snapshot
from attncli.studies.log.snapshot import snapshot

TEXTS = ["The cat sat on the mat because it was warm.", "The animal didn't cross the street."]
SMALL = SnapshotOptions(("entropy_normalized", "distance"), probe_length=6, sequences=1)


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    """A demo:decoder of these tests alone: they change its mode, its gradients and its weights."""
    return attncli.Model(load("demo:decoder", head="auto-lm"))


@pytest.fixture(scope="module")
def shown(decoder: attncli.Model) -> Snapshot:
    return snapshot(decoder, TEXTS, SMALL, step=7)


def test_numbers_are_those_of_the_analyses_of_one_model(decoder: attncli.Model, shown: Snapshot) -> None:
    statistics = decoder.run(TEXTS).stats(["entropy_normalized", "distance"])
    for metric in ("entropy_normalized", "distance"):
        assert shown.heads[metric] == pytest.approx(statistics[metric].values, rel=1e-6)
    classes = decoder.patterns(TEXTS, shuffles=0).classes
    assert shown.heads["class"].tolist() == [names[0] for names in classes]
    probe = decoder.probe_repeated(length=6, sequences=1)
    for score in ("previous", "duplicate", "induction"):
        assert shown.heads[score] == pytest.approx(probe.heads[score].values, abs=1e-7)
        assert shown.heads[f"{score}_uniform"] == pytest.approx(probe.baselines["uniform"][score].values)
    layers = decoder.heads(TEXTS).layers
    for name in ("rows_to_mean", "rows_to_mean_uniform", "cosine", "rank_one_distance"):
        assert shown.layers[name] == pytest.approx(layers[name].values, rel=1e-5)
    assert (shown.step, shown.metrics, shown.scores[-1]) == (7, ("entropy_normalized", "distance"), "induction")


def test_layers_are_means_and_counts_over_their_heads(shown: Snapshot) -> None:
    heads, layers = shown.to_frame(), shown.layers_frame()
    for row, (_, of_layer) in enumerate(heads.groupby("layer")):
        assert layers["distance"][row] == pytest.approx(of_layer["distance"].mean())
        assert layers["induction_max"][row] == of_layer["induction"].max()
        assert layers["diagonal_heads"][row] == (of_layer["class"] == "diagonal").sum()
        # of a causal row i, uniform attention has the mean distance i / 2; over a text of n tokens (n - 1) / 4
        lengths = [len(text.source) for text in decoder_inputs()]
        assert layers["distance_uniform"][row] == pytest.approx(np.mean([(length - 1) / 4 for length in lengths]))


def decoder_inputs() -> list[attncli.Input]:
    return list(attncli.load("demo:decoder").run(TEXTS).inputs)


def test_a_model_in_training_stays_as_it_is(decoder: attncli.Model, shown: Snapshot) -> None:
    model = decoder.loaded.model.train()
    ids = torch.arange(3, 9)[None]
    model(ids, labels=ids).loss.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    states = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    again = snapshot(attncli.load(model, tokenizer=decoder.loaded.tokenizer), TEXTS, SMALL)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(parameter.grad, old) for parameter, old in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert repr(np.random.get_state()) == states[1]
    assert random.getstate() == states[2]
    assert hooks == [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    assert again.heads["distance"].tolist() == shown.heads["distance"].tolist()  # no dropout
    model.zero_grad()
    model.eval()


def test_an_encoder_has_no_probe_and_an_encoder_decoder_one_of_its_decoder() -> None:
    encoder = snapshot(attncli.load("demo:encoder"), TEXTS, SMALL)
    assert (encoder.scores, "induction" in encoder.heads, encoder.step) == ((), False, None)
    text = attncli.Text("The cat sat on the mat.", target="Die Katze.")
    both = snapshot(attncli.load("demo:seq2seq"), text, SMALL)
    kinds, defined = both.heads["kind"], np.isfinite(both.heads["induction"])
    assert {*kinds[defined]} == {"decoder"}
    assert np.isfinite(both.layers["cosine"]).tolist() == [kind != "cross" for kind in both.layers["kind"]]
    assert "too short to tell" in snapshot(attncli.load("demo:encoder"), "It was.", SMALL).notes[0]


def test_a_probe_that_is_too_long_is_left_out_with_a_note(decoder: attncli.Model) -> None:
    shown = snapshot(decoder, TEXTS[0], SnapshotOptions(("distance",), probe_length=5000), layer=0, head=0)
    assert shown.scores == ()
    assert shown.notes[-1].startswith("no probe of repeated tokens: ")
    assert ": pass --probe-length " in shown.notes[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.uint8])
def test_parameters_of_each_dtype_can_be_finite(dtype: torch.dtype) -> None:
    values = torch.tensor([1.0, 2.0])
    assert has_finite_parameters(nn.ParameterList([nn.Parameter(values.to(dtype), requires_grad=False)]))
    if dtype.is_floating_point:
        values[1] = float("nan")
        assert not has_finite_parameters(nn.ParameterList([nn.Parameter(values.to(dtype), requires_grad=False)]))


def test_a_model_with_nan_weights_is_one_line(decoder: attncli.Model) -> None:
    weight: Any = decoder.loaded.model.get_input_embeddings().weight
    with torch.no_grad():
        kept = weight.clone()
        weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="its weights are not finite"):
        snapshot(decoder, TEXTS, SMALL)
    with torch.no_grad():
        weight.copy_(kept)


@pytest.mark.parametrize(
    ("options", "run_options", "message"),
    [
        (SnapshotOptions(("sink_position",)), {}, "sink_position is a position, of which there is no mean"),
        (SnapshotOptions(("received",)), {}, "received has a value for every key"),
        (SnapshotOptions(("entropi",)), {}, "unknown metric 'entropi'"),
        (SnapshotOptions(probe_length=1), {}, "from 2 tokens up, or 0 for no probe"),
        (SnapshotOptions(sequences=0), {}, "from 1 up"),
        (SnapshotOptions(), {"aggregate": "mean"}, "snapshots are of single heads"),
        (SnapshotOptions(), {"by": "norm"}, "snapshots are of attention weights"),
        (SnapshotOptions(), {"layer": 9}, "layer 9"),
    ],
)
def test_wrong_options_are_one_line(
    decoder: attncli.Model, options: SnapshotOptions, run_options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        snapshot(decoder, TEXTS, options, **run_options)
