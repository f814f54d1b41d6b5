"""Blocked attention: equal to a loop that masks scores by hand, and known answers of the bundled models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attncli
from attncli.engine.text_units import TextUnit
from attncli.studies.knockout.compute import rank_correlation
from attncli.studies.knockout.units import random_keys, visible_units

REPEATED = "good lord look upon the fair city of Rome before good lord look upon the fair city of"
SENTENCE = "the cat sat on the [MASK] . the dog sat ."


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder", head="causal-lm")


@pytest.fixture(scope="module")
def encoder() -> attncli.Model:
    return attncli.load("demo:encoder", head="auto-head")


@pytest.fixture(scope="module")
def seq2seq() -> attncli.Model:
    return attncli.load("demo:seq2seq")


def probability(logits: np.ndarray[Any, Any], token: int) -> float:
    """Return the probability of a token by its row of logits."""
    return float(torch.tensor(logits).double().softmax(-1)[token])


def masked_by_hand(model: Any, ids: torch.Tensor, layers: set[int], key: int) -> torch.Tensor:
    """Return ln p [token] after the last token when a key is masked for it in some layers of an eager Llama."""

    def mask(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = kwargs["attention_mask"].clone()
        given[:, :, -1, key] = torch.finfo(given.dtype).min
        return args, {**kwargs, "attention_mask": given}

    hooks = [model.model.layers[layer].self_attn.register_forward_pre_hook(mask, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            return model(input_ids=ids).logits[0, -1].double().log_softmax(-1)
    finally:
        for hook in hooks:
            hook.remove()


def test_the_numbers_are_those_of_a_loop_that_masks_scores(decoder: attncli.Model) -> None:
    text = "good lord look upon good lord look"
    result = decoder.knockout(text, window_layers=2)
    model, ids = decoder.loaded.model, torch.tensor(decoder.loaded.tokenizer(text)["input_ids"])[None]
    before = masked_by_hand(model, ids, set(), 0)
    token = int(before.argmax())
    assert result.probability == pytest.approx(float(before[token].exp()), rel=1e-5)
    keys, layers = result.table(), result.layers_table()
    # key 0 alone can be blocked by hand: a row in which all keys are masked is not 0 in an eager model
    expected = [masked_by_hand(model, ids, {0, 1, 2}, key) for key in range(ids.shape[1])]
    np.testing.assert_allclose(keys["ln_change"], [float(row[token] - before[token]) for row in expected], atol=2e-4)
    names = [decoder.loaded.tokenizer.decode([int(row.argmax())]).strip() for row in expected]
    assert [name for name in keys["predicted"].tolist() if name.isalpha()] == [name for name in names if name.isalpha()]
    windows = dict(
        zip(layers["layer"].tolist(), zip(layers["first_layer"], layers["last_layer"], strict=True), strict=True)
    )
    assert windows == {0: (0, 0), 1: (0, 1), 2: (1, 2)}
    for row in range(0, len(layers["layer"]), 5):
        blocked = {int(layers["first_layer"][row]), int(layers["last_layer"][row])}
        by_hand = masked_by_hand(model, ids, blocked, int(layers["key"][row]))
        assert layers["probability"][row] == pytest.approx(float(by_hand[token].exp()), abs=1e-5)


def test_a_copied_word_needs_the_token_after_the_earlier_copy(decoder: attncli.Model) -> None:
    result = decoder.knockout(REPEATED)
    columns = result.table()
    assert (result.explained, result.prediction, result.unit) == ("next", "Rome", "token")
    assert result.probability > 0.99
    by_position = dict(zip(columns["key"].tolist(), columns["change"].tolist(), strict=True))
    target, itself = 10, 19
    assert columns["name"][target] == "Rome"
    assert by_position[target] < -0.99
    others = [change for key, change in by_position.items() if key not in (target, itself)]
    assert max(map(abs, others)) < 0.1
    layers, changes = result.grid("decoder")
    assert layers == [0, 1, 2]
    assert changes[:, target].argmin() == 1  # the layer of the induction heads
    assert result.most_in("decoder")[target] == (1, 1)


def test_the_attention_is_that_of_the_rows(decoder: attncli.Model) -> None:
    text = "good lord look upon good lord"
    weights = np.stack([decoder.run(text).attention("decoder").sel(layer=layer).values for layer in range(3)])
    result = decoder.knockout(text)
    np.testing.assert_allclose(result.table()["attention"], weights[:, :, -1].mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(result.grid("decoder", "attention")[1], weights[:, :, -1].mean(1), atol=1e-6)


def test_batches_do_not_change_the_numbers(decoder: attncli.Model) -> None:
    text = "good lord look upon"
    one, many = (decoder.knockout(text, batch_tokens=size).layers_table()["ln_change"] for size in (1, 4096))
    np.testing.assert_allclose(one, many, atol=1e-4)


def test_an_answer_is_predicted_token_by_token(decoder: attncli.Model) -> None:
    result = decoder.knockout(REPEATED, "answer:Rome before")
    logits = torch.tensor(decoder.logits(f"{REPEATED} Rome before")).double().log_softmax(-1)
    ids = decoder.loaded.tokenizer(f"{REPEATED} Rome before")["input_ids"]
    by_hand = logits[-3, ids[-2]] + logits[-2, ids[-1]]
    assert result.probability == pytest.approx(float(by_hand.exp()), rel=1e-4)
    assert result.query == {"decoder": (19, 20)}
    written = decoder.knockout(REPEATED, "generated", generate=2)
    assert (written.prediction, result.prediction) == ("Rome before", "Rome before")
    np.testing.assert_allclose(written.table()["change"], result.table()["change"], atol=1e-4)


def test_a_reversed_word_needs_the_aligned_letters(seq2seq: attncli.Model) -> None:
    for target, position in (("", 2), ("e", 1), ("eh", 0)):
        result = seq2seq.knockout("The cat sat", target=target) if target else seq2seq.knockout("The cat sat")
        change = result.of_kind("cross")["change"]
        assert change.argmin() == position
        assert change[position] < -0.9
        assert np.abs(np.delete(change, position)).max() < 0.05


@pytest.mark.parametrize(("kind", "key"), [("cross", 2), ("decoder", 1), ("encoder", 6)])
def test_a_block_is_that_of_the_edit(kind: str, key: int, seq2seq: attncli.Model, encoder: attncli.Model) -> None:
    model, text, target = (encoder, SENTENCE, None) if kind == "encoder" else (seq2seq, "The cat", "eh")
    result = model.knockout(text, target=target, kind=kind)
    (row,) = result.query[kind]
    with model.edited(attncli.block(row, key, kind=kind)) as edited:
        logits = edited.logits(text, target=target)[row]
    names = [model.loaded.target_tokenizer.decode([number]).strip() for number in np.argsort(-logits)[:1].tolist()]
    columns = result.of_kind(kind)
    at = columns["key"].tolist().index(key)
    assert columns["predicted"][at] in (*names, "▁")
    plain = int(model.logits(text, target=target)[row].argmax())
    assert columns["probability"][at] == pytest.approx(probability(logits, plain), abs=1e-5)


def test_a_block_from_all_tokens_also_closes_the_ways_through_others(decoder: attncli.Model) -> None:
    text = "good lord look upon good lord"
    result = decoder.knockout(text, query="all", layer="1-2", window_layers=1)
    count = len(result.keys["key"])
    assert result.query == {"decoder": tuple(range(count))}
    assert result.grid("decoder")[0] == [1, 2]
    token = int(decoder.logits(text)[-1].argmax())
    for key in (1, 3):
        with decoder.edited(attncli.block("all", key, layers="1-2")) as edited:
            expected = probability(edited.logits(text)[-1], token)
        assert result.keys["probability"][key] == pytest.approx(expected, abs=1e-5)


def test_edits_of_the_model_stay(decoder: attncli.Model) -> None:
    with decoder.edited(attncli.zero("1.0,1.2,1.3,1.5,1.6")) as edited:
        result = edited.knockout(REPEATED, "word:Rome")
        logits = edited.logits(REPEATED)[-1]
    rome = decoder.loaded.tokenizer(" Rome", add_special_tokens=False)["input_ids"][0]
    assert result.probability == pytest.approx(probability(logits, rome), rel=1e-3)
    assert result.probability < 0.5


def test_segments_stand_beside_as_many_random_tokens(decoder: attncli.Model) -> None:
    spans = {"first": ["good lord look upon the fair city of Rome"], "link": ["before"]}
    result = decoder.knockout(REPEATED, spans=spans)
    columns = result.table()
    assert result.unit == "segment"
    assert columns["name"].tolist() == ["first", "link", "rest", "special"]
    assert columns["tokens"].tolist() == [10, 1, 8, 1]
    assert columns["attention"].sum() == pytest.approx(1, abs=1e-5)
    assert columns["change"][0] < -0.99
    assert abs(columns["change"][1]) < 1e-3
    assert np.isfinite(columns["random_ln_change"]).all()
    words = decoder.knockout(REPEATED, words=True, special="drop").table()
    assert words["name"].tolist()[:2] == ["good", "lord"]


def test_random_keys_and_visible_units() -> None:
    visible, special = np.array([1, 1, 1, 1, 0], bool), np.array([1, 0, 0, 0, 0], bool)
    positions = {"a": (0,), "b": (1, 4), "c": (4,)}
    units = tuple(TextUnit(name, name, keys) for name, keys in positions.items())
    seen = visible_units(units, visible, special, False)
    assert [(unit.name, unit.positions) for unit in seen] == [("a", (0,)), ("b", (1,))]
    assert [unit.name for unit in visible_units(units, visible, special, drop=True)] == ["b"]
    drawn = random_keys([TextUnit("two", "two", (1, 2)), TextUnit("all", "all", (1, 2, 3))], visible, special, 4)
    assert [len(sets) for sets in drawn] == [4, 0]
    assert all(len(keys) == 2 and set(keys) <= {1, 2, 3} for keys in drawn[0])


def test_rank_correlation_needs_five_different_entries() -> None:
    assert rank_correlation(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.arange(4.0), np.arange(4.0)))
    assert np.isnan(rank_correlation(np.ones(6), np.arange(6.0)))
