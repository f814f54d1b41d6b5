"""A run keeps nothing until it is asked, streams what needs no maps, and never mixes two states of a model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attncli
from attncli import UsageError
from attncli.engine.passes import Pass
from attncli.models.loading import load

TEXTS = ["The cat sat on the mat.", "A dog ran because it was late, and the cat slept."]
PARTS = [{"first": [(0, 7)], "second": [(8, 15)]}] * 2


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load("demo:encoder")


@pytest.fixture(scope="module")
def kept(model: attncli.Model) -> attncli.Run:
    return model.run(TEXTS, keep_maps=True)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether maps were kept, for each pass that ran."""
    ran: list[bool] = []
    gather = Pass.gather

    def counted(prepared: Pass, *args: Any, **options: Any) -> Any:
        ran.append(prepared.request.keep_maps)
        return gather(prepared, *args, **options)

    monkeypatch.setattr(Pass, "gather", counted)
    return ran


def test_what_needs_no_maps_streams_and_equals_what_kept_maps_give(
    model: attncli.Model, kept: attncli.Run, passes: list[bool]
) -> None:
    run = model.run(TEXTS)
    assert passes == []
    streamed, expected = run.stats(per_query=True), kept.stats(per_query=True)
    for name in ("entropy", "sink", "distance"):
        np.testing.assert_allclose(streamed[name].values, expected[name].values, rtol=1e-5, atol=1e-7)
    tokens, by_maps = streamed.tokens["entropy"].values, expected.tokens["entropy"].values
    np.testing.assert_allclose(tokens, by_maps, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run.edges(top_k=2).weight, kept.edges(top_k=2).weight, rtol=1e-5)
    received = zip(run.profile(ends=2).received, kept.profile(ends=2).received, strict=True)
    for ours, theirs in received:
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=1e-7)
    assert run.patterns().classes == kept.patterns().classes
    mass, expected_mass = (asked.segments(spans=PARTS)["mass"].values for asked in (run, kept))
    np.testing.assert_allclose(mass, expected_mass, rtol=1e-5)
    assert passes == [False] * 5


def test_a_question_that_was_answered_costs_no_pass(model: attncli.Model, passes: list[bool]) -> None:
    run = model.run(TEXTS[0])
    assert run.stats("entropy") is not run.stats("entropy")
    run.stats(["entropy"])
    assert passes == [False]
    run.stats()
    run.stats(["sink", "entropy"])
    assert passes == [False] * 2
    first = run.attention()
    assert (run.attention() is first, passes) == (True, [False, False, True])
    for ask in (run.heatmap, run.view, run.rollout, lambda: run.highlight("cat"), run.profile, run.patterns):
        ask()
    assert len(passes) == 3


def test_options_that_ask_for_results_run_at_once(model: attncli.Model, passes: list[bool]) -> None:
    for options, keeps in (
        ({"metrics": "sink"}, False),
        ({"top_k": 2}, False),
        ({"profile": True}, False),
        ({"keep_maps": True}, True),
        ({"neurons": True}, True),
    ):
        passes.clear()
        run = model.run(TEXTS[0], **options)  # type: ignore[arg-type]
        assert passes == [keeps], options
    assert run.vectors
    run = model.run(TEXTS[0], metrics="sink", keep_maps=False)
    with pytest.raises(UsageError, match="no maps were kept"):
        run.attention()
    assert run.stats("entropy")["entropy"].values.shape == (16,)


def test_errors_of_texts_and_options_come_before_any_question(model: attncli.Model, passes: list[bool]) -> None:
    for text, options, message in (
        ("", {}, "is empty"),
        ("a " * 600, {}, "the model reads at most 512"),
        ("a cat", {"layer": 9}, "layer 9"),
        ("a cat", {"rows": "5-8000"}, "is outside"),
    ):
        with pytest.raises(UsageError, match=message):
            model.run(text, **options)  # type: ignore[arg-type]
    assert passes == []


def test_generated_tokens_belong_to_the_run_before_it_is_asked(passes: list[bool]) -> None:
    run = attncli.load("demo:decoder", head="auto-lm").run("The cat", generate=4)
    assert list(run.inputs[0].source.segments).count("generated") == 4
    assert passes == []
    assert len(run.attention().queries) == len(run.inputs[0].source)


def test_maps_that_would_not_fit_are_refused_before_the_pass_and_statistics_are_not(
    model: attncli.Model, passes: list[bool]
) -> None:
    run = model.run("a cat " * 100, max_memory="100kB")
    assert run.stats("entropy")["entropy"].values.shape == (16,)
    passes.clear()
    with pytest.raises(UsageError, match=r"would keep .*: .*keep less with"):
        run.attention()
    assert passes == []


def test_pooled_maps_do_not_stand_in_the_way_of_questions_about_the_whole_text(
    model: attncli.Model, kept: attncli.Run
) -> None:
    run = model.run(TEXTS, resolution=4)
    assert not run.attention(text=0).whole
    np.testing.assert_allclose(run.stats("sink")["sink"].values, kept.stats("sink")["sink"].values, rtol=1e-5)
    assert run.patterns().classes == kept.patterns().classes
    combined = model.run(TEXTS, aggregate="mean", resolution=4).stats("entropy")
    expected = model.run(TEXTS, aggregate="mean", keep_maps=True).stats("entropy")
    np.testing.assert_allclose(combined["entropy"].values, expected["entropy"].values, rtol=1e-5)
    with pytest.raises(UsageError, match="needs single heads"):
        model.run(TEXTS, aggregate="mean").profile()


def test_notes_of_a_pass_reach_the_run_that_is_saved(model: attncli.Model, tmp_path: Any) -> None:
    run = model.run(TEXTS[0], special="drop")
    again = attncli.open(run.save(tmp_path / "run"))
    assert any("special tokens took" in note for note in again.info.notes)
    assert again.info == run.info


def test_a_run_in_another_process_has_its_maps_and_no_model(model: attncli.Model) -> None:
    run = model.run(TEXTS[0])
    again = pickle.loads(pickle.dumps(run))
    assert again.reading is None
    np.testing.assert_array_equal(again.attention().stack(), run.attention().stack())


# ------------------------------------------------------------------------------------------- changed weights


def step(module: torch.nn.Module) -> None:
    """One step of training, as users make it."""
    optimizer = torch.optim.AdamW(module.parameters())
    module.train()
    module(input_ids=torch.tensor([[2, 5, 6, 3]])).last_hidden_state.sum().backward()
    optimizer.step()
    module.eval()


def replace_weights(module: torch.nn.Module) -> None:
    module.load_state_dict({name: value + 0.01 for name, value in module.state_dict().items()})


def replace_layer(module: torch.nn.Module) -> None:
    linear = module.get_submodule("encoder.layer.0.attention.self.query")
    linear.weight = torch.nn.Parameter(linear.weight * 2)


def move(module: torch.nn.Module) -> None:
    module.to(torch.float64)


@pytest.mark.parametrize("change", [step, replace_weights, replace_layer, move])
def test_a_run_is_not_of_two_states_of_a_model(change: Any) -> None:
    model = attncli.Model(load("demo:encoder"))
    asked, kept = model.run(TEXTS[0]), model.run(TEXTS[0], keep_maps=True)
    sinks, entropies = asked.stats("sink"), kept.stats("entropy")
    change(model.loaded.model)
    for question in (asked.attention, asked.stats, asked.patterns, lambda: asked.edges(top_k=1)):
        with pytest.raises(UsageError, match="the weights of the model have changed since this run began"):
            question()
    assert asked.stats("sink")["sink"].values.tolist() == sinks["sink"].values.tolist()
    assert kept.stats("entropy")["entropy"].values.tolist() == entropies["entropy"].values.tolist()
    assert model.run(TEXTS[0]).stats("sink")["sink"].values.tolist() != sinks["sink"].values.tolist() or change is move


def test_forward_passes_of_the_user_change_no_weights(model: attncli.Model) -> None:
    run = model.run(TEXTS[0])
    with torch.no_grad():
        model.loaded.model(input_ids=torch.tensor([[2, 5, 6, 3]]))
    model.loaded.model.train().eval()
    assert run.attention().stack().shape[:2] == (4, 4)


def test_all_statistics_asked_twice_cost_one_pass(model: attncli.Model, passes: list[bool]) -> None:
    run = model.run(TEXTS[0])
    first = run.stats()
    assert run.stats().to_frame().equals(first.to_frame())
    assert run.stats("all").to_frame().equals(first.to_frame())
    assert passes == [False]


def test_statistics_of_a_part_stay_when_the_model_is_gone(model: attncli.Model, tmp_path: Path) -> None:
    run = model.run(TEXTS[0], rows="0-2")
    expected = run.stats().to_frame()
    for again in (attncli.open(run.save(tmp_path / "run")), pickle.loads(pickle.dumps(run))):
        assert again.attention().window is not None
        np.testing.assert_allclose(again.stats().to_frame()["entropy"], expected["entropy"])
    whole = model.run(TEXTS[0])
    whole.stats("sink")
    assert "entropy" in attncli.open(whole.save(tmp_path / "whole")).stats().heads


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.stats(metric="entropy"), "stats got an unexpected keyword argument 'metric': its arguments"),
        (lambda run: run.attention("encoder", 0, 3), "attention too many positional arguments: its arguments are kind"),
        (lambda run: run.heads(attncli.HeadsOptions(clusters="x")), "expected clusters to be a whole number or None"),
        (lambda run: attncli.Text(3), "expected the text to be a text, got 3"),
        (lambda run: attncli.compare("demo:encoder", run), "expected run_a to be a Run, got 'demo:encoder'"),
    ],
)
def test_a_wrong_call_names_the_function_and_its_arguments(call: Any, message: str, kept: attncli.Run) -> None:
    with pytest.raises(UsageError, match=message):
        call(kept)


def test_passages_need_tokens_with_positions_in_the_text(model: attncli.Model) -> None:
    ids = {"input_ids": model.run("the cat sat").inputs[0].source.ids[None]}
    run = attncli.capture(model.loaded.model, ids, model.loaded.tokenizer)
    with pytest.raises(UsageError, match="the positions of these tokens in the text are unknown"):
        run.segments(spans={"a": ["cat"], "b": [(8, 11)]})
    assert run.segments(spans={"a": [{"tokens": (1, 2)}], "b": [{"tokens": (2, 3)}]})["mass"].values.size


def test_targets_are_as_many_as_texts() -> None:
    model = attncli.load("demo:seq2seq")
    ids = model.run("one two", target="owt eno").inputs[0]
    two = np.stack([ids.source.ids] * 2)
    with pytest.raises(UsageError, match="expected decoder_input_ids of 2 texts, as input_ids, got 1"):
        attncli.capture(model.loaded.model, {"input_ids": two, "decoder_input_ids": ids.target.ids[None]})
