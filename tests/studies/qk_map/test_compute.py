"""The map of queries and keys: what is sampled, that attention is unchanged, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import attncli
from attncli import ModelError, UsageError
from attncli.data.surfaces import token_texts
from attncli.engine.progress import untracked
from attncli.engine.request import Request
from attncli.inputs.texts import parse_texts
from attncli.studies.qk_map.compute import SampleVectors
from attncli.studies.qk_map.head_maps import NEAREST, TYPES
from attncli.studies.qk_map.maps import map_heads
from attncli.studies.qk_map.options import QueryKeyMapOptions
from attncli.studies.qk_map.projection import unit_vectors
from attncli.studies.qk_map.result import QueryKeyMap

TEXTS = ["The cat sat on the mat because it was warm.", "A dog ran home.", "My king went to the old city, but not you."]


@pytest.fixture(scope="module")
def models() -> dict[str, attncli.Model]:
    return {name: attncli.load(f"demo:{name}") for name in ("encoder", "decoder", "seq2seq")}


@pytest.fixture(scope="module")
def runs(models: dict[str, attncli.Model]) -> dict[str, attncli.Run]:
    """Maps and vectors of the same texts from other sinks."""
    runs = {name: models[name].run(TEXTS, neurons=True) for name in ("encoder", "decoder")}
    return {**runs, "seq2seq": models["seq2seq"].run("abcd efg", target="gfe", neurons=True)}


@pytest.fixture(scope="module")
def results(models: dict[str, attncli.Model]) -> dict[str, QueryKeyMap]:
    """All tokens of these texts as queries and keys."""
    maps = {name: models[name].qk_map(TEXTS) for name in ("encoder", "decoder")}
    return {**maps, "seq2seq": models["seq2seq"].qk_map("abcd efg", target="gfe", kind=["encoder", "cross"])}


def softmax(scores: np.ndarray) -> np.ndarray:
    exponents = np.exp(scores - scores.max())
    return exponents / exponents.sum()


@pytest.mark.parametrize(
    ("name", "kind"), [("encoder", "encoder"), ("decoder", "decoder"), ("seq2seq", "encoder"), ("seq2seq", "cross")]
)
def test_moved_and_scaled_vectors_give_the_same_attention(
    name: str, kind: str, runs: dict[str, attncli.Run], results: dict[str, QueryKeyMap]
) -> None:
    group = results[name].groups[kind]
    tokens, count = group.tokens, group.tokens.queries
    for row, (layer, head) in enumerate(zip(group.layers, group.heads, strict=True)):
        queries, keys = group.vectors[row][:count], group.vectors[row][count:]
        assert queries.mean(0) == pytest.approx(keys.mean(0), abs=1e-5)
        for query in range(0, count, 5):
            text, position = tokens.text[query], tokens.position[query]
            own = np.flatnonzero(tokens.text[count:] == text)
            maps = runs[name].attention(kind, int(text)).sel(layer=int(layer), head=int(head))
            assert tokens.position[count:][own].tolist() == list(range(len(own)))  # all tokens are sampled
            seen = own[: position + 1] if kind == "decoder" else own
            expected = maps.values[position]
            weights = softmax(keys[seen].astype(float) @ queries[query].astype(float))
            assert weights == pytest.approx(expected[: len(seen)], abs=2e-5)
            best = sorted(range(len(seen)), key=lambda key: -expected[key])[:8]
            strongest, weight = group.strongest[row, query], group.weights[row, query]
            assert weight[: len(best)] == pytest.approx(expected[best], abs=2e-5)
            assert expected[strongest[: len(best)]] == pytest.approx(expected[best], abs=2e-5)
            assert strongest[len(best) :].tolist() == [-1] * (8 - len(best))


def test_norms_are_those_of_the_vectors_of_the_model(
    runs: dict[str, attncli.Run], results: dict[str, QueryKeyMap]
) -> None:
    for name, kind in (("decoder", "decoder"), ("seq2seq", "cross")):
        group = results[name].groups[kind]
        tokens, count = group.tokens, group.tokens.queries
        for vectors in runs[name].vectors:
            if vectors.kind != kind:
                continue
            for head, key_head in zip(vectors.heads, vectors.key_heads, strict=True):
                row = np.flatnonzero((group.layers == vectors.layer) & (group.heads == head))[0]
                for side, array in (
                    (slice(0, count), vectors.query[head]),
                    (slice(count, None), vectors.key[key_head]),
                ):
                    norms = group.norms[row, side][tokens.text[side] == vectors.text]
                    assert norms == pytest.approx(np.sqrt(np.square(array.astype(float)).sum(1)), rel=1e-5)


def test_a_sample_depends_on_texts_and_seed_and_not_on_batches(models: dict[str, attncli.Model]) -> None:
    model = models["encoder"]
    texts = [*TEXTS, *TEXTS]
    whole, cut, other = (
        model.qk_map(texts, vectors=41, layer=0, head=0, **more) for more in ({}, {"batch_tokens": 1}, {"seed": 1})
    )
    first, second, third = (result.groups["encoder"] for result in (whole, cut, other))
    assert (first.tokens.queries, len(first.tokens)) == (21, 41)
    for name in ("text", "position", "type"):
        assert getattr(first.tokens, name).tolist() == getattr(second.tokens, name).tolist()
    assert first.points == pytest.approx(second.points, abs=1e-5)
    assert first.tokens.position.tolist() != third.tokens.position.tolist()
    places = list(zip(first.tokens.text[:21].tolist(), first.tokens.position[:21].tolist(), strict=True))
    assert sorted(set(places)) == places  # none twice, in order


def test_texts_are_drawn_in_turns_so_that_queries_have_the_keys_of_their_text(models: dict[str, attncli.Model]) -> None:
    short = [f"The {word} sat." for word in ("cat", "dog", "mat", "king") * 10]
    run = models["encoder"].run(short, metrics="entropy")
    tokens = models["encoder"].qk_map(short, vectors=60, layer=0, head=0).groups["encoder"].tokens
    drawn = [np.bincount(side, minlength=40) for side in (tokens.text[:30], tokens.text[30:])]
    whole = np.array([len(text.source) for text in run.inputs])
    for counts in drawn:
        assert counts.sum() == 30
        assert (counts[counts > 0] != whole[counts > 0]).sum() <= 1  # only a part of the last text
    assert np.array_equal(*drawn)
    long = ["cat " * 200, "dog " * 200, "mat"]
    tokens = models["encoder"].qk_map(long, vectors=600, layer=0, head=0).groups["encoder"].tokens
    counts = np.bincount(tokens.text[: tokens.queries], minlength=3)
    assert counts.sum() == 300
    assert counts[2] == len(models["encoder"].run("mat", metrics="entropy").inputs[0].source)
    assert min(counts[:2]) == 128  # the other one had a second turn


def test_dropped_special_tokens_are_no_points_and_rows_are_renormalised(models: dict[str, attncli.Model]) -> None:
    model = models["encoder"]
    result = model.qk_map(TEXTS[0], layer=1, special="drop")
    group = result.groups["encoder"]
    run = model.run(TEXTS[0], layer=1, special="drop", keep_maps=True)
    assert TYPES.index("special") not in group.tokens.type
    assert group.tokens.token[: group.tokens.queries] == tuple(token_texts(run.inputs[0].source))
    assert group.tokens.position.tolist() == [*range(group.tokens.queries)] * 2
    for row, head in enumerate(group.heads):
        expected = run.attention("encoder").sel(layer=1, head=int(head)).values
        for query, (keys, weights) in enumerate(zip(group.strongest[row], group.weights[row], strict=True)):
            assert weights == pytest.approx(np.sort(expected[query])[::-1][:8], abs=1e-5)
            assert expected[query][keys] == pytest.approx(weights, abs=1e-5)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_numbers_of_a_head_are_those_of_its_own_points_and_weights(
    name: str, runs: dict[str, attncli.Run], results: dict[str, QueryKeyMap]
) -> None:
    group = results[name].groups[name]
    tokens, count, row = group.tokens, group.tokens.queries, len(group.heads) - 1
    spaces = {"": group.points[row].astype(float), "_all_dimensions": unit_vectors(group.vectors[row].astype(float))}
    for space, points in spaces.items():
        weights, distances, hits, chances = [], [], [], []
        for query in range(count):
            maps = runs[name].attention(name, int(tokens.text[query]))
            attention = maps.sel(layer=int(group.layers[row]), head=int(group.heads[row])).values
            position = tokens.position[query]
            seen = [
                key
                for key in np.flatnonzero(tokens.text[count:] == tokens.text[query])
                if name == "encoder" or tokens.position[count + key] <= position
            ]
            of_query = [attention[position, tokens.position[count + key]] for key in seen]
            far = [float(np.linalg.norm(points[query] - points[count + key])) for key in seen]
            weights += of_query
            distances += far
            if len(seen) > NEAREST:
                hits.append(far[int(np.argmax(of_query))] <= sorted(far)[NEAREST - 1])
                chances.append(NEAREST / len(seen))
        expected = stats.spearmanr(weights, np.negative(distances)).statistic
        assert group.quality[f"correlation{space}"][row] == pytest.approx(expected, abs=2e-3)  # both runs are float32
        assert group.quality[f"top_near{space}"][row] == pytest.approx(np.mean(hits))
    assert group.quality["top_near_random"][row] == pytest.approx(np.mean(chances))


def test_types_of_tokens(results: dict[str, QueryKeyMap]) -> None:
    tokens = results["encoder"].groups["encoder"].tokens
    of_text = tokens.text[: tokens.queries] == 0
    types = [TYPES[number] for number in tokens.type[: tokens.queries][of_text]]
    names = np.array(tokens.token[: tokens.queries])[of_text].tolist()
    shown = dict(zip(names, types, strict=True))
    assert (types[0], types[-1]) == ("special", "special")
    assert [shown[name] for name in ("sat", "ca", "t", ".")] == ["word", "word", "piece", "punctuation"]


# ------------------------------------------------------------------------------------------- what is refused


def test_vectors_that_are_not_finite_are_refused(models: dict[str, attncli.Model]) -> None:
    prepared = models["encoder"].prepare(parse_texts(TEXTS), Request.of({"metrics": "entropy", "layer": 0}))
    sink = SampleVectors(prepared.inputs, prepared.heads, 60, 0, False)
    run = prepared.gather(more=[sink])
    samples, layers = sink.result()
    layers["encoder", 0].keys[2, 3, 1] = np.nan
    with pytest.raises(ModelError, match=r"encoder head 0\.2 is refused: its query and key vectors are not finite"):
        map_heads(run, samples, layers, QueryKeyMapOptions(), untracked)


def test_a_model_without_vectors_is_refused(models: dict[str, attncli.Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = models["encoder"]
    plan = model.plan()
    eager = replace(plan, sites=tuple(replace(site, route="eager") for site in plan.sites))
    monkeypatch.setattr(type(model), "plan", lambda *_: eager)
    with pytest.raises(ModelError, match="gives no query and key vectors: its attention weights are the model's own"):
        model.qk_map("a cat sat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectors": 2}, "expected --vectors to be a number from 3 up, got 2"),
        ({"vectors": 11, "method": "tsne"}, "from 12 up"),
        ({"method": "tsn"}, "unknown method 'tsn': did you mean 'tsne'"),
        ({"method": "tsne", "max_tokens": 3}, "give 6: give more or longer texts, or --method pca"),
        ({"words": True}, "leave out --aggregate, --aggregate-layers and --words"),
        ({"by": "norm"}, "leave out by='norm'"),
        ({"capture": "eager"}, "use --capture auto"),
        ({"max_memory": "10kB"}, "--vectors 2000 of all these heads take"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(
    options: dict[str, object], message: str, models: dict[str, attncli.Model]
) -> None:
    with pytest.raises(UsageError) as error:
        models["encoder"].qk_map("a cat sat", **options)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)
