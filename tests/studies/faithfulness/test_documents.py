"""Documents: closed forms of the linear model, all subsets recomputed one by one, and which segments stay."""

from __future__ import annotations

import json
import math
from itertools import permutations, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from readme import REPO
from sklearn.linear_model import Lasso
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import attncli
from attncli.data import Input, Text, Tokens
from attncli.store.partial import PartialResults
from attncli.store.text import json_line
from attncli.studies.faithfulness.documents.figures import draw_documents
from attncli.studies.faithfulness.documents.result import Documents
from attncli.studies.faithfulness.documents.subsets import shapley_of_all, subsets
from attncli.studies.faithfulness.documents.surrogate import Surrogate, fit, logit_of
from attncli.studies.faithfulness.documents.units import chat_parts

TEXT = (REPO / "configs" / "copied-document.txt").read_text(encoding="utf-8")
*DOCUMENTS, QUESTION = TEXT.split("\n\n")
PAGE = REPO / "docs" / "how-to" / "faithfulness.md"
RANDOM = np.random.default_rng(0)


# ------------------------------------------------------------------------------------------------ closed forms


def test_the_weights_of_a_sum_are_its_terms() -> None:
    weights = np.array([3.0, 0.0, -1.0, 2.0])
    kept = subsets(4, 64, 0)
    surrogate = Surrogate.of(kept, kept @ weights + 0.5, 1, False, 0)
    np.testing.assert_allclose([*surrogate.weights, surrogate.intercept], [*weights, 0.5], atol=1e-9)
    assert (surrogate.r2, surrogate.r2_held_out, surrogate.lds) == pytest.approx((1, 1, 1))
    np.testing.assert_allclose(shapley_of_all(kept, kept @ weights + 0.5), weights, atol=1e-9)


def test_shapley_values_are_the_mean_change_over_all_orders() -> None:
    kept, responses = subsets(4, 64, 0), RANDOM.normal(size=16)
    of_subset = {tuple(row): value for row, value in zip(kept.tolist(), responses.tolist(), strict=True)}
    expected = np.zeros(4)
    for order in permutations(range(4)):
        inside = [False] * 4
        for segment in order:
            before = of_subset[tuple(inside)]
            inside[segment] = True
            expected[segment] += (of_subset[tuple(inside)] - before) / math.factorial(4)
    np.testing.assert_allclose(shapley_of_all(kept, responses), expected)


def test_many_segments_have_the_weights_of_lasso_after_scaling_each_column() -> None:
    kept, tokens = subsets(25, 64, 3), 4
    responses = 4 * kept[:, 3] - 2.0 * kept[:, 9] + RANDOM.normal(size=64) / 5
    pipeline = make_pipeline(StandardScaler(), Lasso(alpha=0.01)).fit(kept, responses / tokens)
    weights, intercept = fit(kept, responses, tokens, sparse=True)
    np.testing.assert_allclose(kept @ weights + intercept, tokens * pipeline.predict(kept), atol=1e-6)
    np.testing.assert_allclose(weights, tokens * pipeline[1].coef_ / pipeline[0].scale_, atol=1e-9)
    assert set(np.argsort(-np.abs(weights))[:2].tolist()) == {3, 9}


def test_noise_is_fitted_but_not_predicted() -> None:
    kept = subsets(20, 64, 0)
    surrogates = [Surrogate.of(kept, np.random.default_rng(seed).normal(size=64), 1, True, 0) for seed in range(8)]
    assert np.mean([of.r2 for of in surrogates]) > 0.2
    assert max(of.r2_held_out for of in surrogates) < 0.1
    assert abs(np.mean([of.lds for of in surrogates])) < 0.2


def test_what_cannot_be_known_is_not_a_number() -> None:
    kept = subsets(2, 64, 0)
    few, constant = Surrogate.of(kept, kept @ [1.0, 2.0], 1, False, 0), subsets(3, 64, 0)
    assert few.r2 == pytest.approx(1)
    assert np.isnan([few.r2_held_out, few.lds]).all()
    same = Surrogate.of(constant, np.ones(8), 1, False, 0)
    assert np.isnan([same.r2, same.r2_held_out, same.lds]).all()
    assert np.isfinite(logit_of(np.array([0.0, -1e-20, -800]))).all()


@pytest.mark.parametrize("segments", [7, 30])
def test_a_sample_is_seeded_and_each_segment_stays_in_about_half_of_it(segments: int) -> None:
    kept = subsets(segments, 64, 1)
    assert kept.shape == (64, segments)
    np.testing.assert_array_equal(kept, subsets(segments, 64, 1))
    assert not np.array_equal(kept, subsets(segments, 64, 2))
    assert len(np.unique(kept, axis=0)) == 64
    assert 0.3 < kept.mean(0).min() <= kept.mean(0).max() < 0.7


# ----------------------------------------------------------------------------------------- passes one by one


@pytest.fixture(scope="module")
def decoder() -> attncli.Model:
    return attncli.load("demo:decoder", head="auto-head")


@pytest.fixture(scope="module")
def documents(decoder: attncli.Model) -> Documents:
    """Three documents, and a beginning that one of them continues."""
    result = decoder.faithfulness(TEXT, "attention", "answer: Kelvin shall", divide="paragraph")
    return result.documents


def test_the_answer_depends_on_the_document_that_it_copies(documents: Documents) -> None:
    (text,) = documents.texts
    assert (text.segments, text.stay) == (("¶1", "¶2", "¶3"), ("¶4", "generated"))
    for removal in ("mask", "delete"):
        effects = text.of(removal)
        assert [int(np.argmax(effects[name])) for name in ("knockout", "left_out", "weight", "shapley")] == [1] * 4
        assert text.removals[removal].fit == "least-squares"
        assert text.removals[removal].lds > 0.8
    assert documents.sentences[1].startswith("Segments, delete: the logit of 'Kelvin shall' depends most on '¶2'")


def test_the_page_shows_its_numbers(documents: Documents) -> None:
    effects = documents.texts[0].of("delete")
    rows = [line.split("|")[2:-1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ¶")]
    for name, shown in zip(effects, np.array(rows, dtype=np.float64).T, strict=True):
        assert effects[name] == pytest.approx(shown, abs=0.006), name


def test_all_subsets_have_the_numbers_of_passes_one_by_one(decoder: attncli.Model, documents: Documents) -> None:
    model: Any = decoder.loaded.model
    tokenizer: Any = decoder.loaded.tokenizer
    ids: list[int] = tokenizer(TEXT)["input_ids"]
    offsets = tokenizer(TEXT, return_offsets_mapping=True)["offset_mapping"]
    answer: list[int] = tokenizer(f"{TEXT} Kelvin shall")["input_ids"][len(ids) :]
    ends = np.cumsum([len(document) + 2 for document in DOCUMENTS])
    owners = np.searchsorted(ends, [start for start, _ in offsets], side="right")
    owners[0] = -1  # <s>
    pad = torch.tensor(tokenizer.pad_token_id)
    embed = model.get_input_embeddings()

    @torch.no_grad()
    def logit(kept: tuple[bool, ...], removal: str) -> float:
        gone = np.array([owner in range(3) and not kept[owner] for owner in owners])
        given = torch.tensor(ids)
        given = given[~torch.tensor(gone)] if removal == "delete" else torch.where(torch.tensor(gone), pad, given)
        vectors = embed(torch.cat([given, torch.tensor(answer)]))[None]
        rows = model(inputs_embeds=vectors).logits[0, len(given) - 1 : -1].double().log_softmax(-1)
        ln_probability = float(rows[range(len(answer)), answer].sum())
        return ln_probability - math.log(-math.expm1(ln_probability))

    (text,) = documents.texts
    for removal in ("mask", "delete"):
        all_kept = list(product([False, True], repeat=3))
        responses = np.array([logit(kept, removal) for kept in all_kept])
        members, effects = np.array(all_kept), text.removals[removal]
        assert (text.full, effects.empty) == pytest.approx((responses[-1], responses[0]), abs=1e-4)
        left_out = [responses[-1] - logit(tuple(np.arange(3) != segment), removal) for segment in range(3)]
        assert effects.left_out == pytest.approx(left_out, abs=1e-4)
        # least squares over all subsets: the mean difference between subsets with and without the segment
        means = [responses[members[:, n]].mean() - responses[~members[:, n]].mean() for n in range(3)]
        assert effects.weights == pytest.approx(means, abs=1e-4)
        assert sum(effects.shapley) == pytest.approx(responses[-1] - responses[0], abs=1e-4)


def test_knockouts_and_attention_are_those_of_the_commands(decoder: attncli.Model, documents: Documents) -> None:
    (text,) = documents.texts
    table = decoder.knockout(TEXT, "answer: Kelvin shall", divide="paragraph").table()
    rows = [table["name"].tolist().index(name) for name in text.segments]
    assert text.attention == pytest.approx(table["attention"][rows].tolist(), abs=1e-5)
    blocked = logit_of(np.log(table["probability"][rows]))
    assert text.knockout == pytest.approx((text.full - blocked).tolist(), abs=1e-3)


def test_the_picture_has_a_panel_for_each_measure(documents: Documents) -> None:
    figure = draw_documents(documents, 0, model="demo:decoder")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["attention", "knock-out", "left out alone", "linear weight", "Shapley value"]
    assert [len(axes.patches) for axes in figure.axes] == [3, 3, 6, 6, 6]
    widths = [bar.get_width() for bar in figure.axes[3].patches]
    expected = [weight for removal in ("mask", "delete") for weight in documents.texts[0].removals[removal].weights]
    assert widths == pytest.approx(expected)


# --------------------------------------------------------------------------------------- other texts, bad input


def test_a_classifier_of_many_sentences_and_of_one_more_text(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(PartialResults, "keep", lambda _, entry: kept.append(json.loads(json_line(entry))))
    model = attncli.load("demo:classifier", head="auto-head")
    many = "I saw a chosen cat. It ran. We ate soup. He left. She came. They sang. Rain fell."
    result = model.faithfulness([many, "A dog slept. Men talk."], "attention", divide="sentence", removal="mask")
    first, second = result.documents.texts
    assert (len(first.segments), first.removals["mask"].fit, first.removals["mask"].subsets) == (7, "lasso", 64)
    assert np.isnan(first.of("mask")["shapley"]).all()
    assert first.segments[first.largest("mask", "weight")] == "sentence 1"
    assert first.removals["mask"].r2_held_out > 0.9
    assert (len(second.segments), second.removals["mask"].subsets) == (2, 4)
    tables = result.documents.tables()
    assert tables["faithfulness-documents"]["text"].tolist() == [0] * 7 + [1] * 2
    assert tables["faithfulness-documents-fit"]["fit"].tolist() == ["lasso", "least-squares"]
    assert result.documents.sentences[0].startswith("Segments, mask: in ")
    # what an interrupted command has kept gives the same result
    again = Documents.of([{**entry["parts"]["documents"], "text": entry["text"]} for entry in kept], ("mask",))
    for name, columns in again.tables().items():
        pd.testing.assert_frame_equal(pd.DataFrame(columns), pd.DataFrame(tables[name]))


def test_the_template_and_the_question_of_a_chat_stay() -> None:
    pieces = ["<s>", "user", "Anna", "eats", "user", "Who", "?", "assistant"]
    text, offsets = " ".join(pieces[1:]), []
    for piece in pieces[1:]:
        start = text.index(piece, offsets[-1][1] if offsets else 0)
        offsets.append((start, start + len(piece)))
    special = np.arange(8) == 0
    tokens = Tokens(tuple(pieces), np.arange(8), special, np.array([(-1, -1), *offsets]), np.arange(8), ("",) * 8, text)
    messages = ({"role": "user", "content": "Anna eats "}, {"role": "user", "content": "Who ?"})
    content, question = chat_parts(Input(0, Text("", messages=messages), tokens), tokens)
    assert content is not None
    assert [pieces[position] for position in np.flatnonzero(content)] == ["Anna", "eats", "Who", "?"]
    assert question == 6
    assert chat_parts(Input(0, Text("", messages=({"role": "user", "content": "Ann"}, *messages)), tokens), tokens) == (
        None,
        None,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spans": {"b": ["the brave of"]}}, "no segment can be left out: in b and rest a token predicts"),
        ({"divide": "line", "subsets": 15}, "expected --subsets from 16 up, got 15"),
        ({"divide": "line", "subsets": 10**6}, "expected --subsets to be at most 65536"),
        ({"spans": [{"b": ["the brave of"]}] * 2}, "there are segments for 2 texts and 1 texts"),
        ({"divide": "line"}, "the text has one segment"),
    ],
)
def test_what_cannot_be_left_out_is_one_line(decoder: attncli.Model, options: Any, message: str) -> None:
    with pytest.raises(attncli.UsageError, match=message):
        decoder.faithfulness(QUESTION, "attention", **options)


def test_texts_that_are_not_divided_have_no_documents() -> None:
    result = attncli.load("demo:classifier", head="auto-head").faithfulness("A dog.", "attention", removal="mask")
    with pytest.raises(attncli.UsageError, match="texts were not divided into segments"):
        _ = result.documents
