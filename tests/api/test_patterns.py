"""What heads do: constructed maps with classes in closed form, real models with heads that are known."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import naive_metrics as naive
import numpy as np
import pytest
import torch
from made_rows import Map
from stream.test_head_distance import naive_distance
from stream.test_position_baseline import naive_of_other_texts

import attncli
from attncli import Patterns, Text, Thresholds
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.repeated_inputs import RepeatedTokens
from attncli.inputs.shuffled_inputs import shuffle_batch
from attncli.studies.patterns import numbers
from attncli.studies.patterns.notes import pattern_notes
from attncli.studies.patterns.result import BASELINES, CLASSES, NUMBERS

ANIMAL = "The animal didn't cross the street because it was too tired."
LONGER = f"{ANIMAL} It sat down beside the road, looked at the cars that went by, and waited for the night to come."
N = 40
NAMES = [name for name in NUMBERS if name not in ("special_mass", "segment_mass")]


def opened(folder: Path, *heads: np.ndarray) -> attncli.Run:
    """A layer of these maps, as they come from elsewhere."""
    np.save(folder / "maps.npy", np.stack(heads)[None])
    return attncli.open(folder / "maps.npy")


def one_hot(offset: int) -> np.ndarray:
    """Every row looks at this offset alone; where there is none, at itself."""
    rows = np.arange(N)
    there = (rows + offset >= 0) & (rows + offset < N)
    return np.eye(N)[np.where(there, rows + offset, rows)]


def value(found: Patterns, name: str, head: int) -> float:
    return float(found.heads[name].values[head])


def test_constructed_heads_have_the_classes_and_numbers_that_one_can_work_out(tmp_path: Path) -> None:
    band = sum(np.eye(N, k=k) for k in (-2, -1, 1, 2))
    vertical = np.zeros((N, N))
    vertical[:, 7] = 1
    scattered = np.eye(N)[np.random.default_rng(0).permutation(N)]
    heads = [
        *(np.full((N, N), 1 / N), one_hot(-1), one_hot(0), one_hot(1), one_hot(-3)),
        *(band / band.sum(1, keepdims=True), vertical, scattered, 0.5 * np.full((N, N), 1 / N) + 0.5 * scattered),
    ]
    found = opened(tmp_path, *heads).patterns()
    assert [set(classes) for classes in found.classes] == [
        *({"uniform"}, {"diagonal"}, {"diagonal"}, {"diagonal"}, {"mixed"}),
        *({"local"}, {"vertical"}, {"sparse"}, {"mixed"}),
    ]
    assert found.heads["diagonal_offset"].values[1:5].tolist() == [-1, 0, 1, -3]
    assert found.heads["diagonal"].values[1:5].tolist() == [1, 1, 1, 1]
    assert found.heads["entropy_normalized"].values[:5] == pytest.approx([1, 0, 0, 0, 0])
    assert (value(found, "sink", 6), value(found, "sink_position", 6)) == (1, 7)
    assert value(found, "sink", 0) == pytest.approx(1 / N)
    assert value(found, "local_mass", 5) == pytest.approx(1)
    assert found.verdicts[1] == {"diagonal": 1.0}
    assert found.verdicts[6] == {"vertical": 1.0}


def test_uniform_heads_are_their_own_baseline_and_do_not_differ(tmp_path: Path) -> None:
    causal = np.tril(np.ones((N, N))) / np.arange(1, N + 1)[:, None]
    found = opened(tmp_path, causal, causal).patterns()
    for name in NAMES:
        assert found.baselines["uniform"][name].values == pytest.approx(found.heads[name].values, abs=1e-6)
    # the row sees i + 1 keys, and gives 1 / (i + 1) to each
    assert value(found, "sink", 0) == pytest.approx(sum(1 / (i + 1) for i in range(N)) / N, abs=1e-6)
    assert found.layers["differentiation"].values == pytest.approx([0], abs=1e-6)
    assert found.classes == (("uniform",), ("uniform",))
    # two texts explain each other, one cannot explain itself
    assert np.isnan(found.baselines["positional"]["diagonal"].values).all()
    np.save(tmp_path / "two.npy", np.full((2, 1, 1, N, N), 1 / N))
    everywhere = attncli.open(tmp_path / "two.npy", axes="batch,layer,head,query,key").patterns()
    for name in NAMES:
        assert everywhere.baselines["positional"][name].values == pytest.approx(everywhere.heads[name].values, abs=1e-6)


def test_heads_without_a_common_key_differ_as_much_as_can_be(tmp_path: Path) -> None:
    found = opened(tmp_path, one_hot(0), np.roll(np.eye(N), 1, axis=1)).patterns()
    assert found.layers["differentiation"].values == pytest.approx([math.sqrt(math.log(2))])
    assert found.distances["encoder", 0] == pytest.approx(math.sqrt(math.log(2)) * (1 - np.eye(2)))


def test_the_numbers_and_baselines_of_a_real_model_are_those_of_loops() -> None:
    text = Text(ANIMAL, pair="Where did it go? Nobody knows.")
    run = attncli.load("demo:encoder").run(text)
    found, maps = run.patterns(), run.attention()
    segments = run.inputs[0].source.segments
    assert found.classes
    for row, (_, layer, head) in enumerate(found.head_keys()):
        own = maps.sel(layer=layer, head=head).values.astype(float)
        visible = np.ones(own.shape, bool)
        even = visible / visible.sum(1, keepdims=True)
        for table, weights in (
            (found.heads, own),
            (found.baselines["uniform"], even),
        ):
            assert table["segment_mass"].values[row] == pytest.approx(within(weights, segments), abs=1e-5)
            for name in ("sink", "diagonal", "local_mass", "entropy_normalized"):
                value = naive_value(name, weights, visible)
                assert table[name].values[row] == pytest.approx(value, abs=1e-5), (name, layer, head)
    for at, layer in enumerate(found.layers["differentiation"].coords["layer"][1]):
        weights = maps.sel(layer=int(layer)).values.astype(float)
        pairs = [naive_distance(weights[a], weights[b], visible) for a in range(4) for b in range(a)]
        assert found.layers["differentiation"].values[at] == pytest.approx(np.mean(pairs), abs=1e-5)


def naive_value(name: str, weights: np.ndarray, visible: np.ndarray) -> float:
    value = naive.case(name).reference(weights.tolist(), visible.tolist(), [False] * len(weights))
    return float(naive.mean(value) if isinstance(value, list) else value)


def by_hand_map(weights: np.ndarray) -> Map:
    tensor = torch.from_numpy(np.array(weights))
    return Map(
        tensor, torch.ones(tensor.shape[1:], dtype=torch.bool).tril(), torch.zeros(tensor.shape[2], dtype=torch.bool)
    )


def test_the_positional_baseline_of_a_text_is_learned_from_the_other_ones() -> None:
    run = attncli.load("demo:decoder").run([ANIMAL, "One two three four five."])
    found = run.patterns()
    maps = [run.attention(text=text) for text in (0, 1)]
    made_up = [by_hand_map(attention.sel(layer=1).values) for attention in maps]
    for row, (_, layer, head) in enumerate(found.head_keys()):
        if layer == 1:
            by_position = [naive_of_other_texts(made_up, head, text) for text in (0, 1)]
            for name in ("diagonal", "local_mass", "entropy_normalized"):
                values = [
                    naive_value(name, rows, each.visible.numpy())
                    for rows, each in zip(by_position, made_up, strict=True)
                ]
                assert found.baselines["positional"][name].values[row] == pytest.approx(np.mean(values), abs=1e-5), name
    alone = attncli.load("demo:decoder").run(ANIMAL).patterns()
    assert all(np.isnan(scores.values).all() for scores in alone.baselines["positional"].values())
    assert np.isnan(alone.layers["differentiation_positional"].values).all()


def within(weights: np.ndarray, segments: tuple[str, ...]) -> float:
    found = []
    for i, own in enumerate(segments):
        if own:
            found.append(sum(weights[i, j] for j, other in enumerate(segments) if other == own))
    return float(np.mean(found))


@pytest.mark.parametrize("name", ["encoder", "decoder", "seq2seq"])
def test_a_pass_gives_what_kept_maps_give(name: str) -> None:
    model = attncli.load(f"demo:{name}")
    texts = [Text(ANIMAL[:20], target="ehT lamina" if name == "seq2seq" else None), Text("One two three four five.")]
    texts = texts[:1] if name == "seq2seq" else texts
    streamed, kept = model.patterns(texts, shuffles=0), model.run(texts).patterns()
    assert streamed.classes == kept.classes
    assert set(streamed.baselines) == {"uniform", "positional"}
    for table, other in (
        (streamed.heads, kept.heads),
        (streamed.std, kept.std),
        (streamed.layers, kept.layers),
        *((streamed.baselines[name], kept.baselines[name]) for name in streamed.baselines),
    ):
        assert list(table) == list(other)
        for metric in table:
            np.testing.assert_allclose(table[metric].values, other[metric].values, atol=1e-5, err_msg=metric)


def test_the_shuffled_baseline_is_the_model_on_shuffled_tokens() -> None:
    model = attncli.load("demo:encoder")
    found = model.patterns(ANIMAL, shuffles=2)
    assert tuple(found.baselines) == BASELINES
    ids = []
    for seed in range(2):
        prepared = model.prepare([Text(ANIMAL)], Request())
        ids.append(shuffle_batch(prepared.batches[0], seed).tensors)
    runs = [attncli.capture(model.loaded.model, each, model.loaded.tokenizer) for each in ids]
    values = [run.stats("sink")["sink"].values for run in runs]
    assert found.baselines["shuffled"]["sink"].values == pytest.approx(np.mean(values, axis=0), abs=1e-6)
    assert np.abs(found.baselines["shuffled"]["sink"].values - found.heads["sink"].values).max() > 0.01


def test_the_known_heads_of_the_demo_encoder_are_found() -> None:
    found = attncli.load("demo:encoder").patterns(LONGER)
    places = {place[1:]: row for row, place in enumerate(found.head_keys())}
    previous, next_, cls = places[0, 2], places[1, 0], places[0, 1]
    assert found.classes[previous][0] == found.classes[next_][0] == "diagonal"
    assert (value(found, "diagonal_offset", previous), value(found, "diagonal_offset", next_)) == (-1, 1)
    assert found.classes[cls][0] == "vertical"
    assert value(found, "sink_position", cls) == 0
    assert value(found, "sink", cls) > 0.9 > 10 * found.baselines["uniform"]["sink"].values[cls]


@pytest.fixture(scope="module")
def minilm_patterns(minilm: Path) -> Patterns:
    texts = [ANIMAL, LONGER, "The cat sat on the mat, because it was warm."]
    return attncli.load(str(minilm)).patterns(texts, shuffles=0)


def test_vertical_heads_name_their_key(minilm_patterns: Patterns) -> None:
    found = minilm_patterns
    table = found.to_frame()
    vertical = table[table["classes"].str.contains("vertical")]
    names = vertical["sink_key"].value_counts()
    assert names["[CLS]"] > 20
    assert set(names.index) <= {"[CLS]", "[SEP]", "full stop", "comma", "other"}
    assert (table.loc[table["sink_key"] == "[CLS]", "sink_position"] == 0).all()
    assert table["sink_key_share"].between(1 / 3, 1).all()
    assert (table["sink_rows"] == 1).all()
    note = next(note for note in pattern_notes(found) if note.startswith("special tokens"))
    assert re.search(r"take [456]\d% of the attention; --special drop --words leaves .* vertical \d\d to \d, ", note)


def test_keys_are_named_by_what_they_are() -> None:
    run = attncli.load("demo:encoder").run("It was, it is.")
    names = numbers._key_names(run.inputs[0].source)
    assert names == ["[CLS]", "other", "other", "comma", "other", "other", "full stop", "[SEP]"]
    assert numbers._key_names(run.inputs[0].source.take([1, 3]))[0] == "first token"


def test_texts_that_are_too_short_have_no_class() -> None:
    found = attncli.load("demo:encoder").patterns("it was", shuffles=0)
    assert set(found.classes) == {()}
    assert pattern_notes(found)[0].startswith("texts of fewer than 5 tokens are too short")
    found = attncli.load("demo:encoder").patterns("it was there.", shuffles=0)
    assert found.too_short == ("local", "sparse", "mixed")
    assert not {"local", "sparse", "mixed"} & {name for classes in found.classes for name in classes}
    assert "too short to tell local or sparse or mixed" in pattern_notes(found)[0]


def test_alignment_heads_are_not_vertical_and_content_heads_are_sparse() -> None:
    """Heads that find the source of each letter, and those that find what came after an earlier copy of the token."""
    model = attncli.load("demo:seq2seq")
    for text, target in (("The dog ran", "ehT god nar"), ("Stop the cat, don't run!", "potS eht tac, t'nod nur!")):
        found = model.patterns(Text(text, target=target), kind="cross", shuffles=0)
        assert not any("vertical" in classes for classes in found.classes[4:])
    assert {name for classes in found.classes[4:] for name in classes} <= {"sparse", "diagonal"}
    assert any("sparse" in classes for classes in found.classes[4:])
    again = attncli.load("demo:decoder").patterns(f"{ANIMAL} {ANIMAL}", special="drop", shuffles=0)
    sparse = {key[1:] for key, classes in zip(again.head_keys(), again.classes, strict=True) if "sparse" in classes}
    assert {(1, 2), (1, 3), (1, 5)} <= sparse <= {(1, head) for head in (1, 2, 3, 5, 7)}  # the induction heads


def test_the_known_heads_of_the_demo_decoder_keep_their_classes() -> None:
    found = attncli.load("demo:decoder").patterns([LONGER, f"{ANIMAL} {ANIMAL}"], shuffles=0)
    rows = {key[1:]: row for row, key in enumerate(found.head_keys())}
    assert found.classes[rows[0, 1]] == ("diagonal",)
    assert value(found, "diagonal_offset", rows[0, 1]) == -1
    for head in (1, 3, 5, 7):  # induction heads rest on the start token
        assert found.classes[rows[1, head]] == ("vertical",)
        assert found.sink_keys["decoder", 1, head] == ("<s>", 1.0)
    # the strongest key of a local head in a causal model is one of the last, which few rows see
    assert found.heads["sink_rows"].values[rows[2, 5]] < 0.3 < value(found, "sink", rows[2, 5])
    assert "vertical" not in found.classes[rows[2, 5]]


def test_minilm_is_classified(minilm_patterns: Patterns) -> None:
    found = minilm_patterns
    counts = Counter(name for classes in found.classes for name in classes)
    assert counts["vertical"] > 30 > counts["mixed"] > 5
    places = list(found.head_keys())
    assert next(places[row] for row, classes in enumerate(found.classes) if "diagonal" in classes) == ("encoder", 0, 2)
    assert found.verdicts[places.index(("encoder", 0, 2))]["diagonal"] > 0.9
    assert all(set(classes) <= set(CLASSES) for classes in found.classes)


@pytest.fixture(scope="module")
def decoder_probe() -> attncli.Repeated:
    return attncli.load("demo:decoder").probe_repeated()


@pytest.mark.parametrize("name", ["previous", "duplicate", "induction"])
def test_the_probe_finds_the_known_heads_of_the_demo_decoder(name: str, decoder_probe: attncli.Repeated) -> None:
    found = decoder_probe
    frame = found.to_frame().set_index(["layer", "head"])
    best = frame[name].nlargest(2)
    if name == "previous":
        assert best.index[0] == (0, 1)
        assert best.iloc[0] > 0.95
        assert frame["previous_shuffled"][0, 1] > 0.95
    elif name == "induction":
        assert (1, 3) in best.index
        assert best.iloc[1] > 0.9
        assert frame["induction_shuffled"].max() < 0.05
    else:
        assert best.iloc[0] < 0.05
    if name == "previous":  # the first copy has previous tokens too
        assert frame["previous_all_rows"][0, 1] > 0.95
    else:
        assert frame[f"{name}_all_rows"].to_numpy() == pytest.approx(frame[name].to_numpy() * 50 / 101)
    uniform = np.mean([1 / (i + 1) for i in range(51, 101)])
    assert frame[f"{name}_uniform"].to_numpy() == pytest.approx(uniform)


def test_the_probe_is_that_of_a_plain_pass() -> None:
    model = attncli.load("demo:decoder")
    found = model.probe_repeated(length=12, sequences=2)
    tokens = RepeatedTokens.of(model.loaded)
    (batch,) = tokens.batches(tokens.random(12, [0, 1]), 4096)
    run = attncli.capture(model.loaded.model, batch.tensors, model.loaded.tokenizer)
    for name, target in (("previous", -1), ("duplicate", -12), ("induction", -11)):
        rows = np.arange(13, 25)
        stacked = np.stack([run.attention(text=text).stack()[..., rows, rows + target].mean(-1) for text in (0, 1)])
        each = stacked.astype(float).reshape(2, -1)
        assert found.heads[name].values == pytest.approx(each.mean(0), abs=1e-6)
        assert found.std[name].values == pytest.approx(each.std(0), abs=1e-6)


def test_an_encoder_has_duplicate_token_heads_but_no_induction(minilm: Path) -> None:
    found = attncli.load(str(minilm)).probe_repeated()
    frame = found.to_frame().set_index(["layer", "head"])
    assert frame["previous"].idxmax() == (0, 2)
    assert frame["duplicate"].idxmax() == (2, 9)
    assert frame["duplicate"].max() > 0.4 > 10 * frame["duplicate_shuffled"][2, 9]
    assert frame["induction"].max() < 0.05


def test_thresholds_can_be_set() -> None:
    run = attncli.load("demo:encoder").run(LONGER)
    strict = run.patterns(Thresholds(vertical=1.0, diagonal=1.0, local=1.0, uniform=1.0, sparse=0.001))
    assert {name for classes in strict.classes for name in classes} == {"mixed"}
    with pytest.raises(UsageError, match="expected vertical to be above 0 and at most 1, got 2"):
        run.patterns(Thresholds(vertical=2))
    with pytest.raises(UsageError, match="expected reach from 0 to 8 tokens"):
        run.patterns(Thresholds(reach=9))


def test_what_cannot_be_classified_is_said() -> None:
    model = attncli.load("demo:encoder")
    with pytest.raises(UsageError, match="patterns are of single heads"):
        model.patterns(ANIMAL, aggregate="mean")
    with pytest.raises(UsageError, match="expected shuffles from 0 up, got -1"):
        model.patterns(ANIMAL, shuffles=-1)
    with pytest.raises(UsageError, match="expected sequences from 1 up, got 0"):
        model.probe_repeated(sequences=0)
    with pytest.raises(UsageError, match="expected length from 2 tokens up, got 1"):
        model.probe_repeated(length=1)


def test_a_text_of_one_token_has_numbers_where_there_are_any() -> None:
    found = attncli.load("demo:decoder").patterns("a", max_tokens=1)
    assert np.isnan(found.heads["entropy_normalized"].values).all()
    assert found.to_frame().shape[0] == 24


def test_words_and_chosen_heads() -> None:
    model = attncli.load("demo:encoder")
    found = model.patterns(LONGER, words=True, special="drop", layer=1, head="0,2")
    assert [place[1:] for place in found.head_keys()] == [(1, 0), (1, 2)]
    kept = model.run(LONGER, words=True, special="drop", layer=1, head="0,2").patterns()
    assert found.heads["sink"].values == pytest.approx(kept.heads["sink"].values, abs=1e-5)
    assert found.layers["differentiation"].values == pytest.approx(kept.layers["differentiation"].values, abs=1e-5)
