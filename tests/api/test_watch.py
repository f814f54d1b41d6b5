"""`attncli.watch`: calls of the user's own code are measured, and the module returns what it returns anyway."""

from __future__ import annotations

import copy
import io
import threading
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from torch import Tensor, nn

import attncli
from attncli.errors import ModelError, UsageError

NAMES = ["age", "income", "height", "weight"]


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return torch.randn(2, 4, 8)


def state(module: nn.Module) -> list[Any]:
    return [sorted(vars(part)) for part in module.modules()]


def test_calls_are_texts_of_one_run(encoder: nn.Module, batch: Tensor) -> None:
    before = state(encoder)
    with attncli.watch(encoder, names=NAMES) as watched:
        first = encoder(batch)
        second = encoder(batch[:1] * 2)
    assert state(encoder) == before
    assert torch.equal(first, encoder(batch))
    assert torch.equal(second, encoder(batch[:1] * 2))
    run = watched.run
    assert [encoded.index for encoded in run.inputs] == [0, 1, 2]
    assert run.inputs[2].text.text == "call 1, input 0: age income height weight"
    for text, inputs in ((1, batch[1:]), (2, batch[:1] * 2)):
        expected = attncli.capture(encoder, inputs).attention().stack()
        np.testing.assert_allclose(run.attention(text=text).stack(), expected, atol=1e-6)
    assert len(run.stats("entropy").to_frame()) == 2
    assert len(watched.runs) == 2


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_the_fast_path_and_its_zeros_at_padding_stay(encoder: nn.Module, batch: Tensor) -> None:
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    with torch.no_grad():
        plain = encoder(batch, src_key_padding_mask=padding)
        with attncli.watch(encoder) as watched:
            output = encoder(batch, src_key_padding_mask=padding)
    assert torch.equal(output, plain)
    assert not output[1, 2:].any()
    assert watched.run.attention(text=1).stack().shape == (1, 2, 2, 2)


class Counting(nn.Module):
    """A module with dropout, a random number and a buffer that counts its calls; it changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.mha, self.drop = nn.MultiheadAttention(8, 2, batch_first=True), nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor, fails: bool = False) -> Tensor:
        self.calls += 1
        x += 1
        if fails:
            raise KeyError("mine")
        torch.rand(1)  # unlike dropout, this is drawn in a capture too
        return self.drop(self.mha(x, x, x, need_weights=False)[0])


def test_training_goes_on_as_without_a_watch(batch: Tensor) -> None:
    module = Counting()
    outputs = []
    for watching in (False, True):
        torch.manual_seed(3)
        x = batch.clone().requires_grad_().clone()
        with attncli.watch(module) if watching else torch.enable_grad() as watched:
            outputs += [module(x), module(x)]
    assert torch.equal(torch.stack(outputs[:2]), torch.stack(outputs[2:]))
    assert outputs[2].requires_grad
    assert module.calls == 4
    expected = attncli.capture(module, batch).attention().stack()
    np.testing.assert_allclose(watched.runs[0].attention().stack(), expected, atol=1e-6)
    assert module.calls == 4


def test_an_error_of_the_module_leaves_it_as_it_was(batch: Tensor) -> None:
    module = Counting()
    before = state(module)
    with pytest.raises(KeyError, match="mine"), attncli.watch(module) as watched:
        module(batch, fails=True)
    assert state(module) == before
    with pytest.raises(
        UsageError, match="Counting did not run to its end inside the with block: watch the module that you call"
    ):
        _ = watched.run


def test_copies_and_files_of_a_watched_module_have_its_own_forward(encoder: nn.Module, batch: Tensor) -> None:
    stored = io.BytesIO()
    with attncli.watch(encoder) as watched:
        copied = copy.deepcopy(encoder)
        torch.save(encoder, stored)
        for parameter in copied.parameters():
            nn.init.zeros_(parameter)
        assert not copied(batch).any()
        assert watched.runs == ()
    stored.seek(0)
    loaded = torch.load(stored, weights_only=False)
    assert not copied(batch).any()
    assert torch.equal(loaded(batch), encoder(batch))


def test_what_cannot_be_measured_is_said_when_the_run_is_read(batch: Tensor) -> None:
    module = nn.Linear(8, 8)
    with attncli.watch(module) as watched:
        assert torch.equal(module(batch), nn.functional.linear(batch, module.weight, module.bias))
    with pytest.raises(ModelError, match="Linear has no softmax attention"):
        _ = watched.run


def test_a_module_is_watched_once_and_others_beside_it(encoder: nn.Module, batch: Tensor) -> None:
    layer = encoder.get_submodule("layers.0")
    with attncli.watch(encoder) as outer, attncli.watch(layer) as inner:
        with pytest.raises(UsageError, match="this TransformerEncoder is watched already"), attncli.watch(encoder):
            pass
        encoder(batch)
    np.testing.assert_array_equal(outer.run.attention().stack(), inner.run.attention().stack())
    with attncli.watch(encoder) as again:
        encoder(batch)
    assert len(again.runs) == 1


def test_calls_of_other_threads_are_not_measured(encoder: nn.Module, batch: Tensor) -> None:
    outputs: list[Tensor] = []
    with attncli.watch(encoder) as watched:
        thread = threading.Thread(target=lambda: outputs.append(encoder(batch)))
        thread.start()
        thread.join()
    assert torch.equal(outputs[0], encoder(batch))
    assert watched.runs == ()


def test_calls_with_other_layers_are_read_one_by_one(batch: Tensor) -> None:
    class Early(nn.Module):
        """A module that ends early for small numbers."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x, x, x)[0]
                if x.abs().max() < 0.01:
                    break
            return x

    module = Early()
    with attncli.watch(module) as watched:
        module(batch * 50)
        module(batch / 1000)
    with pytest.raises(
        UsageError, match=r"the calls of Early have other layers or heads: read them one by one from .ru"
    ):
        _ = watched.run
    assert [len(run.maps[0].layers) for run in watched.runs] == [2, 1]


def test_a_transformers_model_can_be_watched() -> None:
    model, inputs = families.build(FAMILIES["bert"]), families.inputs(FAMILIES["bert"])
    with attncli.watch(model) as watched:
        model(inputs["input_ids"], output_hidden_states=True)
    expected = attncli.capture(model, inputs["input_ids"]).attention().stack()
    np.testing.assert_allclose(watched.run.attention().stack(), expected, atol=1e-6)


def test_a_compiled_module_can_be_watched(encoder: nn.Module, batch: Tensor) -> None:
    compiled = torch.compile(encoder, backend="eager")
    with attncli.watch(compiled) as watched:
        compiled(batch)
    expected = attncli.capture(encoder, batch).attention(text=1).stack()
    np.testing.assert_allclose(watched.run.attention(text=1).stack(), expected, atol=1e-6)


def test_only_modules_can_be_watched() -> None:
    with pytest.raises(UsageError, match=r"expected a torch.nn.Module to watch, got list"):
        attncli.watch([1, 2])
    with pytest.raises(UsageError, match="unknown option 'metric': did you mean 'metrics'"):
        attncli.watch(nn.Linear(2, 2), metric="all")
