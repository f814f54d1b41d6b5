"""Statistics over texts, layers, special tokens and combined heads: against plain loops over the maps."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attncli
from attncli.data import Tokens
from attncli.data.results import Statistics
from attncli.errors import UsageError

TEXTS = ["The cat sat on the mat.", "A dog, a man: he ran.", "no stop"]
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def encoder() -> attncli.Model:
    return attncli.load("demo:encoder")


@pytest.fixture(scope="module")
def kept(encoder: attncli.Model) -> attncli.Run:
    return encoder.run(TEXTS, keep_maps=True)


@pytest.fixture(scope="module")
def translation() -> attncli.Run:
    return attncli.load("demo:seq2seq").run("one two three", keep_maps=True)


def naive_means(run: attncli.Run, name: str) -> Array:
    """Return [text, head] the mean over rows of the attention to the tokens of a name, NaN without such a token."""
    means = np.full((len(run.inputs), 16), np.nan)
    for text, one in enumerate(run.inputs):
        maps = run.attention("encoder", text).stack().astype(np.float64).reshape(16, len(one.source), -1)
        chosen = [
            j
            for j, (piece, special) in enumerate(zip(one.source.pieces, one.source.special, strict=True))
            if (
                piece == name
                if special
                else name == "punctuation" and unicodedata.category(piece.removeprefix("##")[0]) == "Po"
            )
        ]
        for head in range(16):
            if chosen:
                rows = [sum(maps[head, i, j] for j in chosen) for i in range(len(one.source))]
                means[text, head] = sum(rows) / len(rows)
    return means


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]", "punctuation"])
def test_attention_to_special_tokens_by_name_is_that_of_loops(
    name: str, encoder: attncli.Model, kept: attncli.Run
) -> None:
    naive = naive_means(kept, name)
    assert np.isnan(naive[2]).all() == (name == "punctuation")
    rows = np.array([len(one.source) for one in kept.inputs])
    weights = np.where(np.isnan(naive), 0, rows[:, None])
    weighted = (weights * np.nan_to_num(naive)).sum(0) / weights.sum(0)
    for run in (encoder.run(TEXTS), kept):  # streamed, and from kept maps
        found = run.stats(["entropy"], special_tokens=True)
        assert found.special == ("[CLS]_mass", "[SEP]_mass", "punctuation_mass")
        np.testing.assert_allclose(found[f"{name}_mass"].values, np.nanmean(naive, 0), atol=1e-6)
        np.testing.assert_allclose(found.std[f"{name}_mass"].values, np.nanstd(naive, 0), atol=1e-6)
        pooled = run.stats(["entropy"], special_tokens=True, pool_texts="tokens")
        np.testing.assert_allclose(pooled[f"{name}_mass"].values, weighted, atol=1e-6)
        assert pooled.counts[f"{name}_mass"].values.tolist() == weights.sum(0).tolist()


def test_special_tokens_together_are_special_mass(kept: attncli.Run) -> None:
    found = kept.stats(["special_mass"], special_tokens=True)
    total = found["[CLS]_mass"].values + found["[SEP]_mass"].values
    np.testing.assert_allclose(total, found["special_mass"].values, atol=1e-6)
    assert kept.stats(["special_mass"]).special is None


def test_a_kind_without_such_a_token_has_no_value(translation: attncli.Run) -> None:
    frame = translation.stats(["entropy"], special_tokens=True).to_frame()
    kinds = {
        name: {kind for kind in attncli.KINDS if frame[frame.kind == kind][name].notna().all()}
        for name in frame
        if name.endswith("_mass")
    }
    names = {
        kind: {f"{piece}_mass" for piece, special in zip(keys.pieces, keys.special, strict=True) if special}
        for kind in attncli.KINDS
        for keys in [translation.inputs[0].sides(kind)[1]]
    }
    assert names["encoder"] != names["decoder"]
    assert kinds == {name: {kind for kind in attncli.KINDS if name in names[kind]} for name in kinds}


def test_a_mean_over_tokens_is_that_over_all_rows(encoder: attncli.Model) -> None:
    metrics = ["entropy", "previous_mass", "sink"]
    run = encoder.run(TEXTS)
    rows = run.stats(metrics, per_query=True).tokens_frame()
    pooled, texts = run.stats(metrics, pool_texts="tokens"), run.stats(metrics)
    means = rows.groupby(["layer", "head"])[["entropy", "previous_mass"]].mean()
    counts = rows.groupby(["layer", "head"])[["entropy", "previous_mass"]].count()
    for name in ("entropy", "previous_mass"):
        np.testing.assert_allclose(pooled[name].values, means[name], atol=1e-9)
        assert pooled.counts[name].values.tolist() == counts[name].tolist()
        assert np.abs(pooled[name].values - texts[name].values).max() > 1e-4
    # the first token has no previous one
    assert set(pooled.counts["entropy"].values - pooled.counts["previous_mass"].values) == {len(TEXTS)}
    single = [encoder.run(text).stats(["sink"])["sink"].values for text in TEXTS]
    lengths = [len(one.source) for one in run.inputs]
    np.testing.assert_allclose(pooled["sink"].values, np.average(single, axis=0, weights=lengths), atol=1e-6)
    mean = np.average(single, axis=0, weights=lengths)
    variance = np.average((np.array(single) - mean) ** 2, axis=0, weights=lengths)
    np.testing.assert_allclose(pooled.std["sink"].values, np.sqrt(variance), atol=1e-6)
    columns = list(pooled.to_frame())
    assert columns[5:8] == ["entropy", "entropy_std", "entropy_count"]
    assert not texts.counts


def test_a_layer_has_mean_and_deviation_of_its_heads_and_the_most_frequent_position(kept: attncli.Run) -> None:
    statistics = encoder_statistics = attncli.load("demo:encoder").run(TEXTS[0]).stats(["entropy", "sink_position"])
    table = statistics.layers_frame()
    assert list(table) == [
        *("kind", "layer", "heads", "texts", "queries"),
        *("entropy", "entropy_std", "sink_position", "sink_position_share"),
    ]
    heads = encoder_statistics.to_frame()
    for _, row in table.iterrows():
        of_layer = heads[heads.layer == row.layer]
        assert row["heads"] == len(of_layer) == 4
        assert row["entropy"] == pytest.approx(of_layer.entropy.mean())
        assert row["entropy_std"] == pytest.approx(of_layer.entropy.std(ddof=0))
        counts = of_layer.sink_position.value_counts()
        assert row["sink_position"] == min(position for position, count in counts.items() if count == counts.max())
        assert row["sink_position_share"] == counts.max() / 4
    assert kept.stats(["next_mass"]).layers_frame().shape == (4, 7)
    assert Statistics({}).layers_table() == {}


def strongest(maps: Array, count: int) -> list[tuple[int, int, int, float]]:
    """Return (layer, query, key, weight) of the largest weights of each row of [layer, query, key]."""
    return [
        (layer, query, int(key), float(maps[layer, query, key]))
        for layer in range(len(maps))
        for query in range(maps.shape[1])
        for key in np.argsort(-maps[layer, query], kind="stable")[:count]
    ]


@pytest.mark.parametrize(
    ("options", "axes", "how"),
    [
        ({"aggregate": "mean"}, 1, np.mean),
        ({"aggregate": "max"}, 1, np.max),
        ({"aggregate": "mean", "aggregate_layers": "mean"}, (0, 1), np.mean),
    ],
)
def test_edges_of_combined_heads_are_those_of_the_combined_map(
    options: attncli.RunOptions, axes: Any, how: Any, encoder: attncli.Model
) -> None:
    full = encoder.run(TEXTS[0], keep_maps=True).attention().stack()
    combined = how(full, axis=axes, keepdims=True)[:, 0]
    expected = strongest(combined, 3)
    streamed, saved = encoder.run(TEXTS[0], **options), encoder.run(TEXTS[0], keep_maps=True, **options)
    for run in (streamed, saved):
        frame = run.edges(top_k=3).to_frame()
        assert set(frame["head"]) == {options["aggregate"]}
        layers = ["mean"] * len(expected) if "aggregate_layers" in options else [layer for layer, *_ in expected]
        assert frame["layer"].tolist() == layers
        assert frame[["query", "key"]].to_numpy().tolist() == [[query, key] for _, query, key, _ in expected]
        np.testing.assert_allclose(frame["weight"], [weight for *_, weight in expected], atol=1e-6)
        assert len(run.view().html) > 1000


def test_metrics_of_a_mean_over_heads_are_streamed(encoder: attncli.Model) -> None:
    """No map is kept: with room for none, a mean over heads is measured all the same."""
    found = encoder.run(TEXTS, aggregate="mean", max_memory=1000).stats(["entropy"])
    maps = encoder.run(TEXTS, aggregate="mean", keep_maps=True).stats(["entropy"])
    np.testing.assert_allclose(found["entropy"].values, maps["entropy"].values, atol=1e-6)
    assert found.to_frame()["head"].tolist() == ["mean"] * 4
    with pytest.raises(UsageError, match="would keep"):
        encoder.run(TEXTS, aggregate="mean", aggregate_layers="mean", max_memory=1000).stats(["entropy"])


def test_rows_are_named_by_the_token_that_they_predict(translation: attncli.Run) -> None:
    own = translation.stats(["entropy"], per_query=True).tokens_frame()
    frame = translation.stats(["entropy"], per_query=True, rows_as="predicted").tokens_frame()
    queries = translation.inputs[0].sides("cross")[0]
    for kind in ("decoder", "cross"):
        read, predicted = (one[(one.kind == kind) & (one.layer == 0) & (one["head"] == 0)] for one in (own, frame))
        assert predicted["query"].tolist() == list(range(1, len(queries)))
        assert predicted["piece"].tolist() == list(queries.pieces[1:])
        assert predicted["token"].tolist() == read["token"].tolist()[1:]
        assert predicted["entropy"].tolist() == read["entropy"].tolist()[:-1]
    assert frame[frame.kind == "encoder"].equals(own[own.kind == "encoder"])


def test_edges_are_named_by_the_token_that_their_row_predicts() -> None:
    model = attncli.load("demo:seq2seq")
    own, named = (
        model.run("one two three", kind="cross", top_k=1, rows_as=rows_as).edges() for rows_as in ("input", "predicted")
    )
    pieces = model.run("one two three").inputs[0].sides("cross")[0].pieces
    frame, read = named.to_frame(), own.to_frame()
    assert len(read) // len(pieces) == len(frame) // (len(pieces) - 1)
    kept = read[read["query"] < len(pieces) - 1]
    assert frame["query"].tolist() == (kept["query"] + 1).tolist()
    assert frame["query_piece"].astype(str).tolist() == [pieces[query + 1] for query in kept["query"]]
    assert frame["key"].tolist() == kept["key"].tolist()


def test_rows_before_dropped_tokens_predict_no_token_of_the_text() -> None:
    tokens = Tokens.plain(["a", "b", "c", "d"])
    assert tokens.predicted.tolist() == [1, 2, 3, -1]
    dropped = attncli.Tokens(**{**vars(tokens), "gaps": (True, False, True, False)})
    assert dropped.predicted.tolist() == [1, -1, 3, -1]
    assert Tokens.plain([]).predicted.tolist() == []


def test_rows_of_an_encoder_or_of_words_predict_nothing(encoder: attncli.Model, translation: attncli.Run) -> None:
    with pytest.raises(UsageError, match="needs a decoder"):
        encoder.run(TEXTS[0]).stats(["entropy"], per_query=True, rows_as="predicted")
    words = attncli.load("demo:seq2seq").run("one two three", words=True)
    with pytest.raises(UsageError, match="the row of a word is the mean over its pieces"):
        words.stats(["entropy"], per_query=True, rows_as="predicted")


def test_saved_statistics_keep_how_they_were_measured(encoder: attncli.Model, tmp_path: Path) -> None:
    options: attncli.RunOptions = {"metrics": ["entropy"], "special_tokens": True, "pool_texts": "tokens"}
    run = encoder.run(TEXTS, keep_maps=False, **options)
    run.save(tmp_path / "run")
    again, before = attncli.open(tmp_path / "run").stats(["entropy"]), run.stats(["entropy"])
    assert (again.special, again.pool_texts) == (before.special, before.pool_texts) == (again.special, "tokens")
    assert again.to_frame().equals(before.to_frame())
    assert "[SEP]_mass_count" in again.to_frame()
