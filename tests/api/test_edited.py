"""`model.edited`, `model.logits` and `model.generate`: what heads are for is known in the demo models."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import attncli
from attncli import Edit, ModelError, UsageError
from attncli.capturing import bind, edited_outputs
from attncli.inputs.batches import batch_from_tensors

TEXT = "the cat sat on the mat . the cat sat on the"
INDUCTION, OTHERS = "1.5,1.3,1.6,1.2,1.0", "2.0,2.1,2.2,2.3,2.4"
"""The five heads with the highest induction scores of the probe, and as many of the last layer."""
PREVIOUS = "0.1"


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder", head="causal-lm")


@pytest.fixture(scope="module")
def seq2seq() -> attncli.Model:
    return attncli.load("demo:seq2seq", head="seq2seq-lm")


def loss_of_second_repeat(model: attncli.Model, *edits: Edit) -> float:
    """Nats per token over the second half of repeated random tokens."""
    once = np.random.default_rng(0).integers(20, 1024, (2, 50))
    start = np.full((2, 1), model.loaded.tokenizer.bos_token_id)
    ids = torch.from_numpy(np.concatenate([start, once, once], 1))
    plan, batch = model.plan(), batch_from_tensors(model.loaded, ids)
    outputs = edited_outputs(model.loaded, plan, batch, bind(plan, batch.inputs, edits))
    logs = outputs.logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])
    return float(-logs[:, 51:].mean())


def test_without_its_induction_heads_a_model_cannot_copy(decoder: attncli.Model) -> None:
    assert loss_of_second_repeat(decoder) < 0.05
    assert loss_of_second_repeat(decoder, attncli.zero(INDUCTION)) > 1.5
    assert loss_of_second_repeat(decoder, attncli.zero(OTHERS)) < 0.1
    # the heads of layer 1 find the token after an earlier copy only because a head below them copied the token before
    assert loss_of_second_repeat(decoder, attncli.zero(PREVIOUS)) > 0.2


def test_logits_follow_edits_and_the_model_stays_as_it_is(decoder: attncli.Model) -> None:
    plain = np.array(decoder.logits(TEXT))
    assert plain.shape == (len(decoder.run(TEXT).inputs[0].source), 1024)
    with torch.inference_mode():
        ids = torch.tensor([decoder.run(TEXT).inputs[0].source.ids.tolist()])
        np.testing.assert_allclose(plain, decoder.loaded.model(ids).logits[0].numpy(), atol=1e-4)
    with decoder.edited(attncli.zero(INDUCTION)) as edited:
        changed = np.array(edited.logits(TEXT))
        np.testing.assert_allclose(decoder.logits(TEXT), plain, atol=1e-5)
    with pytest.raises(UsageError, match="does not occur"), decoder.edited(attncli.block("dog", "cat")) as edited:
        edited.logits(TEXT)
    assert np.abs(changed - plain).max() > 1
    np.testing.assert_allclose(decoder.logits(TEXT), plain, atol=1e-5)


def test_an_edited_model_generates_what_its_logits_say(decoder: attncli.Model) -> None:
    """Steps with a cache read only new tokens; reading the whole text again for each token gives the same."""
    plan = decoder.plan()
    with decoder.edited(attncli.block("all", "2-3"), attncli.window(6, "1"), attncli.zero("0.1")) as edited:
        read = edited.run(TEXT, generate=5).inputs[0].source.ids
        assert edited.generate(TEXT, 5) != decoder.generate(TEXT, 5)
        for end in range(len(read) - 5, len(read)):
            batch = batch_from_tensors(edited.loaded, torch.tensor([read[:end].tolist()]))
            logits = edited_outputs(edited.loaded, plan, batch).logits[0, -1]
            assert int(logits.argmax()) == read[end]


def test_another_thread_runs_the_model_unedited(decoder: attncli.Model) -> None:
    plain, seen = decoder.run(TEXT).attention("decoder").sel(layer=2, head=0).values, []

    def read() -> None:
        seen.extend(decoder.run(TEXT).attention("decoder").sel(layer=2, head=0).values for _ in range(3))

    thread = threading.Thread(target=read)
    with decoder.edited(attncli.uniform("0-1")) as edited:
        thread.start()
        changed = edited.run(TEXT).attention("decoder").sel(layer=2, head=0).values
        thread.join()
    assert all(np.allclose(weights, plain, atol=1e-6, equal_nan=True) for weights in seen)
    assert not np.allclose(changed, plain, atol=1e-2, equal_nan=True)


def test_means_and_patches_come_from_other_texts(decoder: attncli.Model) -> None:
    plain, other = decoder.logits(TEXT), TEXT.replace(" on ", " in ")
    with decoder.edited(attncli.patch("0-2", other)) as patched, decoder.edited(attncli.patch("0-2", TEXT)) as same:
        np.testing.assert_allclose(same.logits(TEXT), plain, atol=1e-3)
        # all heads write what they write on the other text: only embeddings differ
        assert not np.allclose(patched.logits(TEXT), plain, atol=1e-2)
    with decoder.edited(attncli.patch("1.3", TEXT, part="weights"), attncli.uniform("0")) as patched:
        weights, unedited = (of.run(TEXT).attention("decoder").sel(layer=1, head=3).values for of in (patched, decoder))
        np.testing.assert_allclose(weights, unedited, atol=1e-5)
    with decoder.edited(attncli.mean("2", over=[TEXT])) as edited, decoder.edited(attncli.mean("2")) as own:
        np.testing.assert_allclose(edited.logits(TEXT), own.logits(TEXT), atol=1e-4)
        with pytest.raises(UsageError, match="over"):
            own.generate(TEXT)


def test_cross_attention_that_aligns_is_what_reverses_words(seq2seq: attncli.Model) -> None:
    assert seq2seq.generate("The cat sat.", 12) == "ehT tac tas."
    with seq2seq.edited(attncli.uniform(kind="cross")) as edited:
        assert edited.generate("The cat sat.", 12) != "ehT tac tas."
        assert edited.run("The cat sat.", target="ehT").info.title == "demo:seq2seq (uniform cross:all)"
    with seq2seq.edited(attncli.temperature(1)) as edited:
        assert edited.generate("The cat sat.", 12) == "ehT tac tas."


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attncli.zero(3.1), "write it as text, '3.1'"),
        (lambda: attncli.zero("3.x"), "expected heads like"),
        (lambda: attncli.block("it", "cat", layers=1, heads="1.1"), "exclude each other"),
        (lambda: attncli.window(0), "from 1 up"),
        (lambda: attncli.temperature(-1), "positive number"),
        (lambda: attncli.permute("1", seed=-1), "from 0 up"),
        (lambda: attncli.replace("1.1", [1.0]), "expected weights of shape"),
        (lambda: attncli.uniform("1", kind="sideways"), "unknown kind"),
    ],
)
def test_wrong_edits_are_refused_when_they_are_made(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (attncli.zero("9.1"), "layer 9 does not exist"),
        (attncli.zero("1.9"), "head 9 does not exist"),
        (attncli.zero("cross:1"), "has no cross attention"),
        (attncli.block("dog", "cat"), "'dog' does not occur"),
        (attncli.patch("1.3", "the cat"), "give a text of this length"),
    ],
)
def test_edits_that_do_not_fit_are_refused(decoder: attncli.Model, edit: Edit, message: str) -> None:
    with pytest.raises(UsageError, match=message), decoder.edited(edit) as edited:
        edited.logits(TEXT)


def test_models_without_a_head_predict_nothing() -> None:
    with pytest.raises(ModelError, match="predicts nothing"):
        attncli.load("demo:decoder").logits(TEXT)
