"""Two models on a corpus, and one model on two corpora: against naive loops over runs of single texts."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from matplotlib.text import Text

import attncli
from attncli.data.corpus_counts import CorpusCounts
from attncli.engine.corpus import ShardMemory, in_this_process, run_corpus
from attncli.engine.execution import Execution
from attncli.engine.measuring import declarations
from attncli.engine.request import Request
from attncli.engine.shards import ShardTask
from attncli.engine.text_measures import TextValues
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.corpus_pair import CorpusPair, corpus_from_arguments
from attncli.studies.compare import corpus_parts
from attncli.studies.compare.corpus_results import distances_of_heads
from attncli.studies.compare.examples import FEWEST_ALIKE, described_texts, farthest
from attncli.studies.compare.figures import draw
from attncli.studies.compare.lengths import length_group
from attncli.studies.compare.map_distance import js_distance
from attncli.studies.compare.options import CompareOptions
from attncli.studies.compare.result import Comparison
from attncli.studies.compare.study import CompareStudy

Array = np.ndarray
METRICS = ("entropy", "entropy_normalized", "sink_position")
WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "two", "dogs", "ran", "over", "three", "hills", ",")
HEADS = [(layer, head) for layer in (0, 1) for head in range(4)]
CHOICE: Any = {"layer": "0,1", "metrics": METRICS}


@pytest.fixture(scope="module")
def lines() -> list[str]:
    chance = random.Random(11)
    return [" ".join(chance.choices(WORDS, k=chance.choice((3, 5)))) for _ in range(19)]


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return attncli.load("demo:encoder", device="cpu")


@pytest.fixture(scope="module")
def edited(model: attncli.Model) -> attncli.Model:
    return model.with_edits([attncli.zero("0.1")])


@pytest.fixture(scope="module")
def singles(model: attncli.Model, edited: attncli.Model, lines: list[str]) -> list[list[attncli.Run]]:
    """The runs of A and of B, one text each."""
    return [[side.run(line, keep_maps=True, **CHOICE) for line in lines] for side in (model, edited)]


def files(folder: Path, *parts: Sequence[str]) -> list[Corpus]:
    """Return a corpus of each list of texts."""
    corpora = []
    for name, part in zip("ab", parts, strict=False):
        path = folder / f"{name}.txt"
        path.write_text("\n".join(part) + "\n")
        corpora.append(Corpus.of_files(path))
    return corpora


def compared(
    a: attncli.Model, b: attncli.Model, corpus: Corpus, size: int, **options: Any
) -> tuple[Comparison, CorpusCounts]:
    """Return the comparison of a corpus that is read in shards of this size, and how much was read."""
    study = CompareStudy(CompareOptions(metric=list(METRICS), **options), b, two_corpora=bool(corpus.sides))
    request = Request.of({"layer": "0,1", **study.run_options()})
    task, memory = ShardTask(study, request, {}, corpus, size), ShardMemory()
    run, (result, _) = run_corpus(task, memory, Execution(request, load=lambda: a), in_this_process(lambda: a))
    assert run.corpus is not None
    return result, run.corpus


def values(runs: Sequence[attncli.Run], metric: str) -> Array:
    """Return the numbers of a metric of single texts: [text, head]."""
    return np.array([run.stats(metric).heads[metric].values for run in runs])


def row(table: dict[str, Array], **where: object) -> dict[str, Any]:
    """Return the one row of a table with these values."""
    masks = [np.array([entry == value for entry in table[name]]) for name, value in where.items()]
    (place,) = np.flatnonzero(np.logical_and.reduce(masks))
    return {name: column[place] for name, column in table.items()}


def maps(run: attncli.Run) -> list[Array]:
    return [layer.weights[head] for layer in run.maps[0].layers for head in range(4)]


def test_two_models_on_a_corpus(
    singles: list[list[attncli.Run]],
    model: attncli.Model,
    edited: attncli.Model,
    lines: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corpus_parts, "MOST_BYTES", 5000)  # one or two texts in a batch
    result, counts = compared(model, edited, *files(tmp_path, lines), size=7)
    a, b = singles
    distances = np.array(
        [[js_distance(p, q) for p, q in zip(maps(x), maps(y), strict=True)] for x, y in zip(a, b, strict=True)]
    )
    assert counts.texts == 19
    for number, (layer, head) in enumerate(HEADS):
        found = row(result.table(), layer=layer, head=head)
        mean = distances[:, number].mean()
        assert found["js_distance"] == pytest.approx(mean, abs=1e-6)
        half = scipy.stats.t.ppf(0.975, 18) * scipy.stats.sem(distances[:, number])
        assert found["js_low"] == pytest.approx(max(mean - half, 0), abs=1e-6)
        assert found["js_high"] == pytest.approx(mean + half, abs=1e-6)
        others = [
            np.mean([js_distance(maps(run)[number], maps(run)[layer * 4 + other]) for run in (a[0], a[8], a[16])])
            for other in range(4)
            if other != head
        ]
        assert found["nearest_distance"] == pytest.approx(min(others), abs=1e-6)
        assert found["texts"] == 19
        for metric in ("entropy", "entropy_normalized"):
            x, y = values(a, metric)[:, number], values(b, metric)[:, number]
            found = row(result.measures_table(), layer=layer, head=head, metric=metric)
            assert (found["a"], found["b"]) == pytest.approx((x.mean(), y.mean()), abs=1e-6)
            assert found["change"] == pytest.approx((y - x).mean(), abs=1e-6)
            if layer:
                expected = scipy.stats.ttest_rel(y, x)
                assert found["p"] == pytest.approx(expected.pvalue, rel=1e-3)
                interval = expected.confidence_interval(0.95)
                assert (found["change_low"], found["change_high"]) == pytest.approx(tuple(interval), abs=1e-6)
                spread = np.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
                assert found["text_effect"] == pytest.approx((y - x).mean() / spread, abs=1e-5)
        x, y = values(a, "sink_position")[:, number], values(b, "sink_position")[:, number]
        found = row(result.measures_table(), layer=layer, head=head, metric="sink_position")
        assert found["changed"] == pytest.approx((x != y).mean())
        assert np.isnan([found["change"], found["effect"], found["text_effect"]]).all()
        assert found["a"] == min(set(x), key=lambda value: (-(x == value).sum(), abs(value)))
    effects = np.abs(result.measures_table()["text_effect"])
    assert (np.diff(effects[~np.isnan(effects)]) <= 0).all()
    order = np.argsort(-distances.mean(1), kind="stable")
    assert result.examples["text"].tolist() == [lines[text] for text in order]
    assert result.examples["place"][0] == f"{tmp_path / 'a.txt'}, line {order[0] + 1}"
    assert result.examples["js_distance"][0] == pytest.approx(distances[order[0]].mean(), abs=1e-6)
    strongest = distances[order[0]].argmax()
    assert (result.examples["layer"][0], result.examples["head"][0]) == HEADS[strongest]
    assert result.examples["head_js_distance"][0] == pytest.approx(distances[order[0], strongest], abs=1e-6)
    assert "view_a" not in result.examples  # models of Python have no command


def test_one_model_on_two_corpora(
    singles: list[list[attncli.Run]], model: attncli.Model, lines: list[str], tmp_path: Path
) -> None:
    runs = singles[0][:11], singles[0][11:]
    pair = CorpusPair.of(*files(tmp_path, lines[:11], lines[11:]))
    result, counts = compared(model, model, pair, size=5)
    assert counts.against is not None
    assert (counts.texts, counts.against.texts) == (11, 8)
    lengths = [np.array([len(run.inputs[0].source) for run in side]) for side in runs]
    assert result.lengths["b"]["mean_tokens"] == pytest.approx(lengths[1].mean())
    for number, (layer, head) in enumerate(HEADS):
        for metric in ("entropy", "entropy_normalized"):
            a, b = (values(side, metric)[:, number] for side in runs)
            found = row(result.measures_table(), layer=layer, head=head, metric=metric)
            expected = scipy.stats.ttest_ind(b, a, equal_var=False)
            assert (found["texts_a"], found["texts_b"]) == (11, 8)
            assert (found["a"], found["b"]) == pytest.approx((a.mean(), b.mean()), abs=1e-6)
            assert found["p"] == pytest.approx(expected.pvalue, rel=1e-3)
            interval = expected.confidence_interval(0.95)
            assert (found["change_low"], found["change_high"]) == pytest.approx(tuple(interval), abs=1e-5)
            spread = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
            assert found["text_effect"] == pytest.approx((b.mean() - a.mean()) / spread, abs=1e-5)
            alike = [(a[lengths[0] == count], b[lengths[1] == count]) for count in set(lengths[0])]
            alike = [(x, y) for x, y in alike if min(len(x), len(y)) > 1]
            weights = [len(x) * len(y) / (len(x) + len(y)) for x, y in alike]
            assert len(alike) > 2
            mean = np.average([y.mean() - x.mean() for x, y in alike], weights=weights)
            assert found["change_alike"] == pytest.approx(mean, abs=1e-6)
    rows_of_metric = [row(result.measures_table(), layer=0, head=head, metric="entropy") for head in range(4)]
    p = [found["p"] for found in rows_of_metric] + [
        row(result.measures_table(), layer=1, head=head, metric="entropy")["p"] for head in range(4)
    ]
    adjusted = scipy.stats.false_discovery_control(p)
    assert [found["p_adjusted"] for found in rows_of_metric] == pytest.approx(adjusted[:4])
    sides = [values(side, "entropy_normalized") for side in runs]
    for side, name in enumerate("AB"):
        other = sides[1 - side]
        z = np.abs((sides[side] - other.mean(0)) / other.std(0, ddof=1))
        scores = np.sqrt((z**2).mean(1))
        first = int(scores.argmax())
        found = row(dict(result.examples), side=name, rank=1)
        assert found["text"] == lines[first + 11 * side]
        assert (found["layer"], found["head"]) == HEADS[z[first].argmax()]
        assert found["distance"] == pytest.approx(scores[first], rel=1e-4)
        assert found["head_distance"] == pytest.approx(z[first].max(), rel=1e-4)
    figure = draw(result)
    assert figure is not None
    assert "change from A to B · means over 11 and 8 texts" in [text.get_text() for text in figure.findobj(Text)]
    first = result.table()
    assert first["text_effect"][0] == result.measures_table()["text_effect"][0]
    assert first["metric"][0] == result.measures_table()["metric"][0]


def test_the_same_corpus_twice_and_few_texts_are_named(
    model: attncli.Model, edited: attncli.Model, lines: list[str], tmp_path: Path
) -> None:
    corpus, few = files(tmp_path, lines[:7], [*lines[:3], "the cat " * 30])
    result = model.compare(corpus, against=corpus, **CHOICE)
    assert result.notes == ("A and B are the same texts",)
    assert set(result["change"].values[~np.isnan(result["change"].values)]) == {0.0}
    assert (result["p"].values[:8] == 1).all()
    found = model.compare(corpus, edited, against=corpus, **CHOICE)
    assert np.abs(found["change"].sel(layer=1, metric="entropy").values).min() > 0  # B reads with its own model
    notes = model.compare(corpus, against=few, **CHOICE).notes
    assert notes[0] == "B: 4 texts are too few for intervals and p-values: give at least 6"
    assert notes[1].startswith("the texts of A have ")
    with pytest.raises(UsageError, match="there is nothing to compare with: give another model"):
        model.compare(corpus)
    with pytest.raises(UsageError, match="against goes with a corpus"):
        model.compare("a text", against=corpus)


def test_models_with_other_heads_or_tokens_are_refused(
    model: attncli.Model, minilm: Path, lines: list[str], tmp_path: Path
) -> None:
    corpus = files(tmp_path, lines[:7])[0]
    with pytest.raises(UsageError, match="A has 4 encoder layers x 4 heads, B has 3 decoder layers x 8 heads"):
        model.compare(corpus, attncli.load("demo:decoder"))
    theirs, choice = attncli.load(str(minilm)), {"layer": "0", "head": "0-3", "metrics": "entropy"}
    tired = files(tmp_path, ["The tired cat unbelievably"] * 2)[0]
    with pytest.raises(UsageError, match=r"a\.txt, line 1: text 0, encoder: A and B have different tokens, 13 and 10"):
        model.compare(tired, theirs, **choice)  # type: ignore[arg-type]
    words = model.compare(tired, theirs, words=True, **choice)  # type: ignore[arg-type]
    runs = [side.run("The tired cat unbelievably", words=True, keep_maps=True, **choice) for side in (model, theirs)]  # type: ignore[arg-type]
    assert words["js_distance"].values[2] == pytest.approx(js_distance(*(maps(run)[2] for run in runs)), abs=1e-6)
    as_texts = model.compare(["The tired cat unbelievably"], theirs, words=True, **choice)  # type: ignore[arg-type]
    np.testing.assert_allclose(as_texts["js_distance"].values, words["js_distance"].values, atol=1e-6)


def test_any_process_reads_a_pair_from_plain_values(lines: list[str], tmp_path: Path) -> None:
    pair = CorpusPair.of(*files(tmp_path, lines[:11], lines[11:]))
    other = corpus_from_arguments(json.loads(json.dumps(pair.arguments())))
    assert other.survey(5) == pair.survey(5)
    shards = pair.survey(5).shards
    assert [(shard.index, shard.first, shard.texts, shard.side) for shard in shards] == [
        *((0, 0, 5, 0), (1, 5, 5, 0), (2, 10, 1, 0), (3, 11, 5, 1), (4, 16, 3, 1)),
    ]
    assert [record.text for shard in shards for record in other.read(shard)] == lines
    study = pickle.loads(pickle.dumps(CompareStudy(other={"name": "demo:encoder"}, two_corpora=True)))
    assert study.other_models() == ("demo:encoder",)
    joined = CorpusPair.of(*files(tmp_path, lines[:4], lines[4:])).survey(4).joined
    assert [shard.side for shard in joined.shards] == [0, 1, 1, 1, 1]  # the first two would be joined in one corpus


def test_texts_are_alike_in_length_up_to_nine_percent() -> None:
    groups = [length_group(np.array([count]))[0] for count in range(1, 2000)]
    for group in set(groups):
        counts = [count for count, of_count in enumerate(groups, 1) if of_count == group]
        assert len(counts) == 1 or (counts[0] >= 32 and counts[-1] < 1.0906 * counts[0])


def test_a_text_counts_if_both_models_have_a_value() -> None:
    values = [np.array([[[1.0]], [[2.0]], [[6.0]]]), np.array([[[3.0]], [[np.nan]], [[7.0]]])]
    sides = [TextValues((0, 1, 2), (("encoder", 0, 0),), side) for side in values]
    sums = corpus_parts.sums_of_both(list(declarations(["entropy"]).values()), *sides)
    assert [float(sums[name]["mean"][0, 0]) for name in ("a", "b", "change")] == [3.5, 5.0, 1.5]


def test_an_interval_of_distances_ends_at_0() -> None:
    moments = corpus_parts.moments_of(np.array([0.0] * 6 + [0.1])[:, None])
    heads = {"kind": np.array(["encoder"]), "layer": np.array([0]), "head": np.array([0])}
    found = distances_of_heads(heads, 7, {"js": moments}, [])
    assert found["js_low"].values[0] == 0
    assert found["js_high"].values[0] > found["js_distance"].values[0] > 0


def test_texts_are_far_from_those_of_their_length() -> None:
    """Short texts, in which measures vary more, are not farther than others for that reason."""
    random = np.random.default_rng(0)
    lengths = np.repeat([4, 20, 30], [30, 30, FEWEST_ALIKE - 1])
    spread = np.where(lengths == 4, 5.0, 0.1)
    values = np.stack([random.normal(0, spread) for _ in range(2)])
    values[0, 40], values[0, -1] = 2.0, 1000.0
    states, groups = [], {}
    for side in (0, 1):
        of_side = values[side][:, None, None]
        texts = [f"text {number}" for number in range(len(lengths))]
        described = described_texts(texts, texts, lengths.tolist(), 0)
        states.append({"side": side, "values": of_side, "described": described})
        for length in np.unique(lengths).tolist():
            groups[side, length] = corpus_parts.moments_of(of_side[lengths == length])
    totals = [corpus_parts.moments_of(state["values"]) for state in states]
    (name, found), _ = farthest(states, groups, totals, [0])
    other = values[1][lengths == 20]
    assert (name, found.numbers[0]) == ("A", 40)
    np.testing.assert_allclose(found.scores[0], abs(2.0 - other.mean()) / other.std(ddof=1))
    assert len(lengths) - 1 not in found.numbers  # the other side has too few texts of its length
    (_, found), _ = farthest(states, {}, totals, [0])
    assert found.numbers[0] == len(lengths) - 1  # without texts of similar length, all are the measure
