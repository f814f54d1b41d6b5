"""Value-weighted norms of real models: measured, traced, combined, saved; never mistaken for weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import naive_norms
import numpy as np
import pytest
import torch
from api.test_flow import one, streamed
from numpy.testing import assert_allclose
from transformers import BertModel

import attncli
from attncli.api.model import Model
from attncli.data import Array, Zoom
from attncli.data.transforms import drop_special, removed_mass, to_words, zoomed
from attncli.errors import ModelError, UsageError
from attncli.models import wrap_model
from attncli.models.loading import load
from attncli.studies.flow.options import FlowOptions
from attncli.studies.flow.study import FlowStudy

ANIMAL = "The animal didn't cross the street because it was too tired."
PAIR: dict[str, Any] = {"pair": "It was a wide street."}
LONG = "unbelievable internationalization"


@pytest.fixture(scope="module")
def model(minilm: Path) -> Model:
    return attncli.load(str(minilm))


@pytest.fixture(scope="module")
def weights(model: Model) -> attncli.Run:
    return model.run(ANIMAL)


@pytest.fixture(scope="module")
def norms(model: Model) -> attncli.Run:
    return model.run(ANIMAL, by="norm")


def shares(run: attncli.Run) -> Array:
    """[layer, head, query, key] of the kept maps, in float64."""
    return one(run.attention().stack().astype(np.float64))


# -------------------------------------------------------------------------------------- what they are


def test_norms_of_a_pretrained_model_are_those_of_its_parameters(minilm: Path, norms: attncli.Run) -> None:
    exact = BertModel.from_pretrained(minilm, attn_implementation="eager").double().eval()
    tensors = {"input_ids": torch.from_numpy(norms.attention().queries.ids.copy())[None]}
    with torch.no_grad():
        attentions = exact(**tensors, output_attentions=True).attentions
    assert norms.attention().by == "norm"
    for layer, truth in enumerate(attentions):
        name = f"encoder.layer.{layer}.attention.self"
        (lengths,) = naive_norms.norms(exact, tensors, naive_norms.BERT, name, heads=12)
        expected = truth[0].numpy() * lengths[0][:, None]
        assert_allclose(norms.attention().sel(layer=layer).stack()[0], expected, atol=2e-5)


def test_cls_loses_the_mass_that_it_has_by_weight(weights: attncli.Run, norms: attncli.Run) -> None:
    """As in Kobayashi et al.: [CLS] gets much attention, but heads write little for it."""
    by_weight, by_norm = (run.stats("first_mass")["first_mass"].values for run in (weights, norms))
    assert round(by_weight.mean(), 3) == 0.466
    assert round(by_norm.mean(), 3) == 0.097
    assert (by_norm < by_weight - 0.01).sum() == 70  # of 72 heads; in one, both are equal up to 3e-6


def equal_values(name: str) -> Any:
    """Return a bundled model in which all tokens have the same value vector."""
    loaded = load(name)
    with torch.no_grad():
        for path, module in loaded.model.named_modules():
            if path.endswith("attention.self.value"):
                module.weight.zero_()
                module.bias.copy_(torch.arange(1.0, len(module.bias) + 1))
    return Model(wrap_model(loaded.model, loaded.tokenizer))


def test_where_all_values_are_equal_norms_are_weights_up_to_a_factor() -> None:
    model = equal_values("demo:encoder")
    weights, norms = (model.run("one two three", by=by, metrics="all") for by in ("weight", "norm"))  # type: ignore[arg-type]
    ratio = norms.attention().stack() / weights.attention().stack()
    assert_allclose(ratio, np.broadcast_to(ratio[:, :, :1, :1], ratio.shape), rtol=1e-4)
    assert ratio.min() > 1
    ours, plain = norms.stats().heads, weights.stats().heads
    for name, scores in plain.items():
        if name != "missing_mass":  # rounding alone
            assert_allclose(ours[name].values, scores.values, atol=2e-5, err_msg=name)


# --------------------------------------------------------------------------------------------- measured


def test_measures_are_of_rows_that_sum_to_one(model: Model, norms: attncli.Run) -> None:
    found = model.run(ANIMAL, by="norm", metrics="all", keep_maps=False).stats()
    assert found.by == "norm"
    rows = shares(norms)
    entropy = -(rows * np.log(rows)).sum(-1).mean(-1)
    assert_allclose(found["entropy"].values, entropy.ravel(), atol=1e-5)
    assert_allclose(found["first_mass"].values, rows[..., 0].mean(-1).ravel(), atol=1e-6)
    assert_allclose(found["self_mass"].values, np.diagonal(rows, axis1=2, axis2=3).mean(-1).ravel(), atol=1e-6)
    assert_allclose(found["missing_mass"].values, 0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"words": True}, {"special": "drop"}, {"words": True, "special": "drop"}, {"aggregate": "mean"}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_measures_of_the_stream_are_those_of_kept_maps(model: Model, options: Any) -> None:
    run = model.run([ANIMAL, LONG], by="norm", metrics="all", **options)
    kept = replace(run, statistics=None).stats()
    assert kept.by == run.stats().by == "norm"
    for name, scores in run.stats().heads.items():
        assert_allclose(kept.heads[name].values, scores.values, atol=1e-5, err_msg=name)


def test_measures_per_query(model: Model) -> None:
    run = model.run(ANIMAL, by="norm", metrics=["received", "sink"], per_query=True)
    assert_allclose(run.stats().keys["received"].values, shares(run).mean(2).ravel(), atol=1e-6)


# ----------------------------------------------------------------------------------------- read and combined


def test_words_add_norms_of_keys_and_take_the_mean_of_queries(model: Model) -> None:
    whole, read = model.run(LONG, by="norm"), model.run(LONG, by="norm", words=True)
    assert len(read.attention().keys) < len(whole.attention().keys)
    assert_allclose(read.attention().stack(), to_words(whole.attention()).stack(), atol=1e-5)
    first = [at for at, word in enumerate(whole.attention().keys.words) if word == 0]
    by_hand = whole.attention().stack()[:, :, first][..., first].sum(-1).mean(-1)
    assert_allclose(read.attention().stack()[:, :, 1, 1], by_hand, atol=1e-5)


def test_dropping_special_tokens_leaves_the_other_norms_unchanged(model: Model, norms: attncli.Run) -> None:
    read = model.run(ANIMAL, by="norm", special="drop")
    assert_allclose(read.attention().stack(), norms.attention().stack()[..., 1:-1, 1:-1], atol=1e-6)
    assert_allclose(drop_special(norms.attention()).stack(), read.attention().stack(), atol=1e-6)
    removed = shares(norms)[..., 1:-1, [0, -1]].sum(-1).mean()
    assert removed_mass(norms.attention()) == pytest.approx(removed, abs=1e-6)
    assert f"special tokens took {removed:.0%}" in " ".join(read.info.notes)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_heads_are_combined_norm_by_norm(model: Model, norms: attncli.Run, aggregate: Any) -> None:
    combined = model.run(ANIMAL, by="norm", aggregate=aggregate).attention()
    assert (combined.by, combined.aggregate) == ("norm", aggregate)
    expected = getattr(norms.attention().stack(), aggregate)(1)
    assert_allclose(combined.stack()[:, 0], expected, atol=1e-6)
    assert norms.attention().mean("head").by == "norm"


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_norms_are_pooled_in_the_stream_as_in_whole_maps(model: Model, norms: attncli.Run, pool: Any) -> None:
    pooled = model.run(ANIMAL, by="norm", resolution=5, pool=pool).attention()
    assert pooled.by == "norm"
    assert_allclose(pooled.stack(), zoomed(norms.attention(), Zoom(5, pool)).stack(), atol=1e-6)


def test_several_texts_have_their_own_norms(model: Model, norms: attncli.Run) -> None:
    both = model.run([LONG, ANIMAL], by="norm")
    assert_allclose(both.attention(text=1).stack(), norms.attention().stack(), atol=2e-5)


# --------------------------------------------------------------------------------------------- followed


def test_rollout_uses_shares_of_the_mean_norms(norms: attncli.Run) -> None:
    found = np.eye(len(norms.attention().keys))
    for layer in norms.attention().stack().astype(np.float64):
        found = one(one(layer.mean(0)) + np.eye(len(found))) @ found
    flow = norms.rollout().flow
    assert flow.by == "norm"
    assert_allclose(flow.values, found, atol=1e-6)
    assert_allclose(flow.position.sum(1), 1)


@pytest.mark.parametrize("method", ["rollout", "flow"])
@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_the_flow_of_the_stream_is_that_of_kept_maps(method: Any, aggregate: Any, tmp_path: Path) -> None:
    study = FlowStudy(FlowOptions(by="norm", method=method), aggregate)
    (direct,) = streamed("demo:encoder", ["one two three"], study)
    run = attncli.load("demo:encoder").run("one two three", by="norm")
    kept = getattr(run, method)(aggregate=aggregate).flow
    combined = attncli.load("demo:encoder").run("one two three", by="norm", aggregate=aggregate)
    assert direct.by == kept.by == "norm"
    assert_allclose(direct.values, kept.values, atol=1e-6)
    assert_allclose(getattr(combined, method)().flow.values, kept.values, atol=1e-6)


def test_rollout_of_norms_gives_less_to_cls(weights: attncli.Run, norms: attncli.Run) -> None:
    by_weight, by_norm = (run.rollout(focus="it").flow.values[0, 0] for run in (weights, norms))
    assert by_weight > 0.5
    assert by_norm < 0.1


def test_an_encoder_decoder_has_all_kinds() -> None:
    run = attncli.load("demo:seq2seq").run("one two", target="owt eno", by="norm")
    assert {attention.kind for attention in run.maps} == {"encoder", "decoder", "cross"}
    total = run.rollout("cross").flow.values.sum(1) + run.rollout("decoder").flow.values.sum(1)
    assert_allclose(total, 1)


# ---------------------------------------------------------------------------------- kept, never mistaken


def test_saved_norms_are_opened_as_norms(model: Model, tmp_path: Path) -> None:
    run = model.run(ANIMAL, by="norm", metrics=["entropy"])
    folder = run.save(tmp_path / "run")
    opened = attncli.open(folder)
    assert opened.attention().by == "norm"
    assert opened.stats("entropy").by == "norm"
    assert opened.info.resolved["by"] == "norm"
    assert_allclose(opened.attention().stack(), run.attention().stack())
    assert json.loads((folder / "manifest.json").read_text())["run"]["resolved"]["by"] == "norm"
    with pytest.raises(UsageError, match="value-weighted norms"):
        attncli.open(folder / "maps.safetensors")


def test_saved_weights_do_not_mention_norms(weights: attncli.Run, tmp_path: Path) -> None:
    folder = weights.save(tmp_path / "run")
    assert '"by"' not in (folder / "run.json").read_text()
    assert attncli.open(folder).attention().by == "weight"


@pytest.mark.parametrize(
    "look",
    [
        lambda run: run.patterns(),
        lambda run: run.segments(),
        lambda run: run.view(),
        lambda run: run.highlight("it"),
        lambda run: run.edges(top_k=2),
        lambda run: run.profile(),
        lambda run: attncli.compare(run, run),
        lambda run: run.heads(),
    ],
)
def test_analyses_of_weights_refuse_norms(norms: attncli.Run, look: Any) -> None:
    with pytest.raises(
        UsageError, match=r"these maps are value-weighted norms|of attention weights: leave out by='norm'|need weights"
    ):
        look(norms)


@pytest.mark.parametrize(
    "look",
    [
        lambda model: model.patterns(ANIMAL, by="norm"),
        lambda model: model.probe_repeated(by="norm"),
        lambda model: model.heads(ANIMAL, by="norm"),
    ],
)
def test_passes_for_such_analyses_refuse_norms(model: Model, look: Any) -> None:
    with pytest.raises(UsageError, match="of attention weights: leave out by='norm'"):
        look(model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "norms"}, "unknown --by 'norms': did you mean 'norm'?"),
        ({"top_k": 3}, "need weights"),
        ({"profile": True}, "need weights"),
        ({"neurons": True}, "need weights"),
        ({"capture": "eager"}, "use --capture auto"),
    ],
)
def test_invalid_calls_are_refused(model: Model, options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        model.run(ANIMAL, **{"by": "norm", **options})


def test_layers_without_norms_are_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    half = attncli.load("demo:encoder")
    plan = half.plan()
    sites = tuple(replace(site, projection=None) if site.layer == 0 else site for site in plan.sites)
    monkeypatch.setattr(Model, "plan", lambda model, capture: replace(plan, sites=sites))
    run = half.run("one two", by="norm")
    assert [maps.layer for maps in run.attention().layers] == [site.layer for site in plan.sites if site.layer]
    (note,) = run.info.notes
    assert note.startswith("encoder layers 0 are left out, as they have no norms: no output projection reads")
    assert half.run("one two").info.notes == ()
    with pytest.raises(ModelError, match=r"has no value-weighted norms here .*use --by weight"):
        half.run("one two", by="norm", layer=0)
