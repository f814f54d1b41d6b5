"""A prediction that is explained: what users can ask for, which rows predict it, and its probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

import attncli
from attncli.data import Text
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import Explained, prepare_explained
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.errors import ModelError, UsageError
from attncli.inputs.answers import answer_ids


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder", head="auto-head")


@pytest.fixture(scope="module")
def encoder() -> attncli.Model:
    return attncli.load("demo:encoder", head="auto-head")


def classifier(encoder: attncli.Model, cls: Any = BertForSequenceClassification, labels: int = 3) -> attncli.Model:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(encoder.loaded.tokenizer), **sizes, num_labels=labels)
    return attncli.load(cls(config).eval(), tokenizer=encoder.loaded.tokenizer)


@pytest.mark.parametrize(
    "wanted", ["", "nxt", "word", "word:", "next:x", "similarity: ", "mask:0", "mask:a", "generated:2", "label: "]
)
def test_what_cannot_be_explained_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match=r"next, word:W, answer:TEXT, generated|number of a mask"):
        ExplainRequest.parse(wanted)


def test_what_can_be_explained() -> None:
    assert ExplainRequest.parse("answer: a: b") == ExplainRequest("answer", " a: b")
    assert ExplainRequest.parse("mask:2") == ExplainRequest("mask", "2")


def test_the_probability_is_the_product_and_has_gradients() -> None:
    logits = torch.randn((2, 4, 5), generator=torch.Generator().manual_seed(0), requires_grad=True)
    explained = Explained("answer:x", "x", ids=(3, 1), rows=(1, 2))
    ln_probability = explained.ln_probability(logits)
    expected = logits.softmax(-1)[:, 1, 3] * logits.softmax(-1)[:, 2, 1]
    assert ln_probability.exp().tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    ln_probability.sum().backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum((0, 2)) > 0).tolist() == [False, True, True, False]


def test_an_answer_begins_as_a_new_word(decoder: attncli.Model, encoder: attncli.Model) -> None:
    tokenizer = decoder.loaded.tokenizer
    assert tokenizer.convert_ids_to_tokens(answer_ids(tokenizer, "Rome")) == ["ĠRome"]
    assert tokenizer.convert_ids_to_tokens(answer_ids(tokenizer, "Rome", after_space=True)) == ["R", "ome"]
    assert tokenizer.convert_ids_to_tokens(answer_ids(tokenizer, ",")) == [","]
    pieces = encoder.loaded.tokenizer.convert_ids_to_tokens(answer_ids(encoder.loaded.tokenizer, "city"))
    assert pieces == ["city"]


def test_a_masked_model_predicts_at_its_masks(encoder: attncli.Model) -> None:
    text = "the [MASK] of the [MASK] ."
    for number, position in ((1, 2), (2, 5)):
        result = encoder.knockout(text, f"mask:{number}")
        assert result.query == {"encoder": (position,)}
        logits = encoder.logits(text)[position]
        assert encoder.loaded.tokenizer.decode([int(logits.argmax())]) == result.prediction
    word = encoder.knockout(text, "word:city")
    city = encoder.loaded.tokenizer.convert_tokens_to_ids("city")
    by_hand = torch.tensor(encoder.logits(text)[2]).double().softmax(-1)[city]
    assert (word.prediction, word.probability) == ("city", pytest.approx(float(by_hand), rel=1e-4))


def test_a_classifier_predicts_labels(encoder: attncli.Model) -> None:
    model = classifier(encoder)
    logits = model.logits("the cat sat .")
    probabilities = torch.tensor(logits).double().softmax(-1)
    first = model.knockout("the cat sat .")
    assert first.prediction == f"LABEL_{int(np.argmax(logits))}"
    assert first.query == {"encoder": (0,)}
    for number in range(3):
        result = model.knockout("the cat sat .", f"label:LABEL_{number}")
        assert result.probability == pytest.approx(float(probabilities[number]), rel=1e-4)

    assert np.abs(first.table()["change"]).max() > 0


def test_a_number_has_no_probability(encoder: attncli.Model) -> None:
    model = classifier(encoder, labels=1)
    result, text = model.knockout("the cat sat ."), "the cat sat ."
    assert (result.score, result.probability) == ("number", pytest.approx(float(model.logits(text)[0]), rel=1e-5))
    table = result.table()
    assert not {"probability", "ln_change", "predicted"} & set(table)
    np.testing.assert_allclose(table["number"] - result.probability, table["change"])
    assert "ln_probability" not in result.about()


def test_a_label_of_a_word(encoder: attncli.Model) -> None:
    model = classifier(encoder, BertForTokenClassification)
    logits = torch.tensor(model.logits("the city sat .")).double().softmax(-1)
    result = model.knockout("the city sat .", "label:LABEL_1@city")
    (position,) = result.query["encoder"]
    assert model.run("the city sat .").inputs[0].source.pieces[position] == "city"
    assert (result.prediction, result.probability) == ("LABEL_1", pytest.approx(float(logits[position, 1]), rel=1e-4))
    best = model.attribute("the city sat .", "gradient-norm", "label:@city").outputs[0]
    assert best.name == f"LABEL_{int(logits[position].argmax())}"
    with pytest.raises(UsageError, match="zebra"):
        model.knockout("the city sat .", "label:LABEL_1@zebra")
    with pytest.raises(UsageError, match="there is no label 'GOOD'"):
        model.knockout("the city sat .", "label:GOOD@city")


def test_a_span_that_answers_a_question(encoder: attncli.Model) -> None:
    model = classifier(encoder, BertForQuestionAnswering, labels=2)
    question, context = "the cat ?", "the dog sat on the city ."
    ids = model.loaded.tokenizer(question, context, return_tensors="pt")
    with torch.no_grad():
        outputs = model.loaded.model(**ids)
    first, last = (of[0].double().log_softmax(-1) for of in (outputs.start_logits, outputs.end_logits))
    result = model.attribute(question, "gradient-norm", "answer:the city", pair=context)
    (output,) = result.outputs
    end = ids["input_ids"][0].tolist().index(model.loaded.tokenizer.convert_tokens_to_ids("city"))
    assert (output.name, output.rows) == ("the city", (end - 1, end))
    assert output.score == pytest.approx(float(first[end - 1] + last[end]), rel=1e-5)
    best = model.attribute(question, "gradient-norm", pair=context).outputs[0]
    inside = range(ids["token_type_ids"][0].tolist().index(1), ids["input_ids"].shape[1] - 1)
    most = max(float(first[a] + last[b]) for a in inside for b in inside if a <= b)
    assert best.score == pytest.approx(most, rel=1e-5)
    with pytest.raises(UsageError, match="the text does not have 'zebra'"):
        model.attribute(question, "gradient-norm", "answer:zebra", pair=context)
    with pytest.raises(UsageError, match="answers by a part of the text"):
        model.attribute(question, "gradient-norm", "word:cat", pair=context)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("label:x", "is no classifier of texts"),
        ("mask:1", "fills no mask"),
        ("word:supercalifragilistic", "is no token of the vocabulary .*answer:supercalifragilistic"),
        ("generated", "needs a text that the model wrote"),
    ],
)
def test_a_writing_model_refuses_the_rest(decoder: attncli.Model, wanted: str, message: str) -> None:
    with pytest.raises((UsageError, ModelError), match=message):
        decoder.knockout("good lord", wanted)


def test_models_without_the_head_are_refused(encoder: attncli.Model) -> None:
    with pytest.raises(UsageError, match="predicts words in the place of"):
        encoder.knockout("the cat sat .")
    with pytest.raises(UsageError, match="the text has 1 of them"):
        encoder.knockout("the [MASK] sat .", "mask:2")
    with pytest.raises(ModelError, match="so it has no answer"):
        encoder.knockout("the [MASK] sat .", "answer:cat")
    with pytest.raises(ModelError, match="predicts nothing"):
        attncli.load("demo:encoder").knockout("the [MASK] sat .")
    with pytest.raises(UsageError, match="labels each token: use --explain label:NAME@WORD"):
        classifier(encoder, BertForTokenClassification).knockout("the cat")
    with pytest.raises(UsageError, match=r"there is no label 'LABEL_9'.*LABEL_"):
        classifier(encoder).knockout("the cat", "label:LABEL_9")
    with pytest.raises(UsageError, match="predicts labels"):
        classifier(encoder).knockout("the cat", "word:cat")


def test_an_answer_takes_the_place_of_the_target(decoder: attncli.Model) -> None:
    with pytest.raises(UsageError, match="leave --target out"):
        attncli.load("demo:seq2seq").knockout(Text("The cat", target="eh"), "answer:ehT")
    with pytest.raises(UsageError, match="leave --generate out"):
        decoder.knockout("good lord", "answer:look", generate=2)


def test_a_chat_ends_where_the_assistant_answers(decoder: attncli.Model) -> None:
    question = {"role": "user", "content": "Who?"}

    def read(wanted: str, *messages: dict[str, str]) -> str:
        chat = Text("Who?", messages=(question, *messages))
        prepared = prepare_explained(Runner(decoder.loaded), chat, Request(), ExplainRequest.parse(wanted))
        return str(decoder.loaded.tokenizer.decode(prepared.batches[0].inputs[0].source.ids))

    assert read("next").endswith("user: Who?\nassistant:")
    assert read("next", {"role": "assistant", "content": "My good"}).endswith("assistant: My good")
    assert read("answer:lord").endswith("assistant:lord")
    assert read("answer:lord", {"role": "assistant", "content": "My good"}).endswith("assistant: My good lord")
