"""`attncli.load(model)`: all that a loaded model can do, with a model that the user holds and that stays unchanged."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import families
import numpy as np
import peft
import pytest
import torch
from families import FAMILIES
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, pipeline

import attncli
from attncli.capturing import capture as capturing
from attncli.capturing import plans

TEXT = "The cat sat on the mat because it was warm."


@pytest.fixture
def held(demo_dirs: dict[str, Path]) -> tuple[PreTrainedModel, Any]:
    """A decoder in training mode, as in the middle of training, with its tokenizer."""
    folder = demo_dirs["decoder"]
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    return model.train(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each pass that probed a model."""
    probed: list[object] = []
    record = capturing.record

    def counted(*args: Any) -> Any:
        probed.append(args[0])
        return record(*args)

    monkeypatch.setattr(capturing, "record", counted)
    return probed


def test_a_held_model_does_what_a_loaded_one_does(held: tuple[Any, Any], tmp_path: Path) -> None:
    module, tokenizer = held
    before = {name: value.clone() for name, value in module.state_dict().items()}
    ours = attncli.load(module, tokenizer=tokenizer)
    theirs = attncli.load("demo:decoder", head="causal-lm")
    for ask in (
        lambda model: model.run(TEXT).stats().to_frame().drop(columns=["kind"]),
        lambda model: model.run(TEXT, generate=5).attention().stack(),
        lambda model: model.patterns(TEXT).layers_frame().drop(columns=["kind"]),
        lambda model: model.heads(TEXT).layers_frame().drop(columns=["kind"]),
        lambda model: model.probe_repeated(5, 1).to_frame().drop(columns=["kind"]),
        lambda model: model.segments(TEXT, spans={"cat": ["The cat"], "mat": ["the mat"]})["mass"].values,
        lambda model: model.highlight(TEXT, "it").highlight.lines[0].weights,
    ):
        np.testing.assert_allclose(
            np.asarray(ask(ours), np.float64), np.asarray(ask(theirs), np.float64), rtol=1e-4, atol=1e-5
        )
    assert ours.run(TEXT, generate=5).inputs[0].source.pieces == theirs.run(TEXT, generate=5).inputs[0].source.pieces
    saved = attncli.open(ours.run(TEXT).save(tmp_path / "run"))
    assert saved.info.cls == type(module).__name__
    assert ours.describe()["attention"] == theirs.describe()["attention"]
    assert all(part.training for part in module.modules())
    assert module.config._attn_implementation == "sdpa"
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_generation_of_a_model_in_training_has_no_dropout(held: tuple[Any, Any]) -> None:
    module, tokenizer = held
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.9
        if hasattr(part, "attention_dropout"):
            part.attention_dropout = 0.9
    texts = {attncli.load(module, tokenizer=tokenizer).run(TEXT, generate=8).inputs[0].source.pieces for _ in range(3)}
    assert len(texts) == 1


def test_a_pipeline_brings_its_tokenizer(minilm: Path) -> None:
    model, tokenizer = AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm)
    run = attncli.load(pipeline("feature-extraction", model=model, tokenizer=tokenizer)).run("a cat")
    assert run.inputs[0].source.pieces == ("[CLS]", "a", "cat", "[SEP]")


# ------------------------------------------------------------------------------------------- kept plans


def build() -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    return families.build(FAMILIES["bert"]), families.inputs(FAMILIES["bert"])


def test_a_model_is_probed_once_however_it_is_captured_again(probes: list[object]) -> None:
    model, inputs = build()
    first = attncli.capture(model, inputs).attention().stack()
    again = attncli.capture(model, inputs).attention().stack()
    np.testing.assert_array_equal(first, again)
    attncli.capture(torch.nn.DataParallel(model), inputs)
    attncli.capture(model.train(), {name: tensor[:, :-1] for name, tensor in inputs.items()})
    assert len(probes) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.half(),
        lambda model: setattr(model.config, "attention_probs_dropout_prob", 0.5),
        lambda model: setattr(model.get_submodule("bert.encoder.layer.0.attention.self"), "scaling", 0.5),
        lambda model: model.set_submodule("bert.encoder.layer.1", model.get_submodule("bert.encoder.layer.0")),
        lambda model: peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"])),
    ],
    ids=["dtype", "configuration", "setting", "module", "adapter"],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_model_whose_structure_changed_is_probed_again(change: Any, probes: list[object]) -> None:
    model, inputs = build()
    attncli.capture(model, inputs)
    change(model)
    attncli.capture(model, inputs)
    assert len(probes) == 2


def test_other_inputs_have_a_plan_of_their_own(probes: list[object]) -> None:
    model, inputs = build()
    ids = inputs["input_ids"]
    attncli.capture(model, {"input_ids": ids})
    attncli.capture(model, {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)})
    attncli.capture(model, {"input_ids": ids[:, :1]})
    assert len(probes) == 3


def test_a_plan_of_earlier_inputs_that_fails_is_made_anew(probes: list[object]) -> None:
    """A model may work differently on other lengths, as BigBird does: the old plan then misses a layer."""
    model, inputs = build()
    attncli.capture(model, inputs)
    known = plans._plans[model][1]
    ((key, plan),) = known.items()
    known[key] = replace(plan, sites=(*plan.sites, replace(plan.sites[0], layer=7, key=("nowhere", 0))))
    assert attncli.capture(model, inputs).attention().stack().shape[0] == 2
    assert len(probes) == 2


def test_kept_plans_keep_no_model_alive() -> None:
    model, inputs = build()
    attncli.capture(model, inputs)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
