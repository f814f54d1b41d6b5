"""The importance of a head in an edited model is what a further edit, which zeroes the head, costs that model."""

from __future__ import annotations

from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES

import attncli
from attncli import Edit
from attncli.api.model import Model
from attncli.capturing import bind, edited_outputs
from attncli.capturing.bound_edits import BoundEdits
from attncli.capturing.edited_heads import OutputEdit
from attncli.inputs.batches import batch_from_tensors

TEXT = "the animal did not cross street because it was too tired"
OTHER = TEXT.replace("animal", "dog")
EDITS: dict[str, Edit] = {
    "zero": attncli.zero("0.1"),
    "mean": attncli.mean("1.0", over=["a red house"]),
    "block": attncli.block("it", "animal"),
    "patch": attncli.patch("0.2", OTHER),
    "the same head": attncli.scale("1.2", 0.5),
}


def tiny(name: str) -> Model:
    family = FAMILIES[name]
    return attncli.load(families.build(family), tokenizer=families.tiny_tokenizer(family))


@pytest.fixture(scope="module")
def decoder() -> Model:
    return tiny("gpt2")


@pytest.fixture(scope="module")
def ids(decoder: Model) -> torch.Tensor:
    return torch.tensor(decoder.run(TEXT).inputs[0].source.ids.tolist())


def loss(model: Model, ids: torch.Tensor, *edits: Edit) -> float:
    """Nats per predicted token, by one pass of the whole model."""
    with model.edited(*edits) as edited:
        logits = torch.from_numpy(np.array(edited.logits(TEXT))).double().log_softmax(-1)
    return float(-logits[:-1].gather(-1, ids[1:, None]).mean())


def cells(result: attncli.Importance, column: str) -> dict[tuple[int, int], float]:
    columns = result.columns
    keys = zip(columns["layer"].tolist(), columns["head"].tolist(), strict=True)
    return dict(zip(keys, columns[column].tolist(), strict=True))


@pytest.mark.parametrize("name", EDITS)
def test_a_removal_costs_what_a_further_edit_costs(name: str, decoder: Model, ids: torch.Tensor) -> None:
    edit = EDITS[name]
    with decoder.edited(edit) as edited:
        result = edited.importance(TEXT)
    before, costs = loss(decoder, ids, edit), cells(result, "loss")
    assert result.loss == pytest.approx(before, abs=1e-5)
    for layer, head in ((0, 1), (1, 2)):
        expected = loss(decoder, ids, edit, attncli.zero(f"{layer}.{head}")) - before
        assert costs[layer, head] == pytest.approx(expected, abs=1e-5)


def test_models_that_call_softmax_themselves_and_both_sides_of_an_encoder_decoder() -> None:
    for name, edit in (("bloom", attncli.uniform("1")), ("t5", attncli.uniform("cross:0"))):
        model, options = tiny(name), {"target": "a red house"} if name == "t5" else {}
        with model.edited(edit) as edited:
            result = edited.importance(TEXT, **options)  # type: ignore[arg-type]
            text = edited.run(TEXT, **options).inputs[0]  # type: ignore[arg-type]
            tensors = {"input_ids": torch.tensor([text.source.ids.tolist()])}
            read = text.source.ids
            if text.target is not None:
                read = text.target.ids
                tensors["decoder_input_ids"] = torch.tensor([read.tolist()])
            losses = [_loss(model, tensors, read, edits) for edits in ((edit,), (edit, attncli.zero("decoder:1.2")))]
        columns = result.columns
        row = (columns["kind"] == "decoder") & (columns["layer"] == 1) & (columns["head"] == 2)
        assert float(columns["loss"][row][0]) == pytest.approx(losses[1] - losses[0], abs=1e-5)


def _loss(model: Model, tensors: Any, read: Any, edits: tuple[Edit, ...]) -> float:
    plan, batch = model.plan(), batch_from_tensors(model.loaded, tensors)
    logits = edited_outputs(model.loaded, plan, batch, bind(plan, batch.inputs, edits)).logits[0].double()
    ids = torch.tensor(read.tolist())[1:, None]
    return float(-logits.log_softmax(-1)[:-1].gather(-1, ids).mean())


def test_means_and_gradients_are_those_of_the_edited_model(decoder: Model, ids: torch.Tensor) -> None:
    edit, heads = attncli.uniform("0"), (1, 1)
    with decoder.edited(edit) as edited:
        by_mean, by_gradient = (edited.importance(TEXT, method=method) for method in ("mean", "gradient"))
    plan, batch = decoder.plan(), batch_from_tensors(decoder.loaded, ids[None])
    bound = bind(plan, batch.inputs, [edit])
    where = torch.zeros(1, 1, 4, 1, dtype=torch.bool)
    where[..., heads[1], :] = True
    factor = torch.ones(1, requires_grad=True)

    def edited_loss(output: OutputEdit) -> torch.Tensor:
        edits = BoundEdits(bound.weights, {("decoder", heads[0]): (output,)})
        logits = edited_outputs(decoder.loaded, plan, batch, edits, gradients=True).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits, ids[1:])

    unedited = edited_loss(OutputEdit(where, factor=factor))
    (gradient,) = torch.autograd.grad(unedited, factor)
    assert cells(by_gradient, "gradient")[heads] == pytest.approx(float(gradient.abs()), rel=1e-3)
    cost = float((edited_loss(OutputEdit(where)) - unedited).detach())  # the mean over the tokens of this text
    assert cells(by_mean, "loss")[heads] == pytest.approx(cost, abs=1e-5)
