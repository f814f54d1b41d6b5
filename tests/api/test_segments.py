"""Attention between segments of real models: the sums over their whole maps, however it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from naive_segments import naive_mass

import attncli
from attncli.data import RowsAs
from attncli.engine.execution import Execution
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.partitions import partitions
from attncli.studies.segments.study import SegmentsStudy

QUESTION, PASSAGE = "Who sat on the mat?", "The cat sat on the mat. The dog slept in the garden."
CHAT = attncli.Text(
    "", messages=({"role": "system", "content": "Be short."}, {"role": "user", "content": "Where did the cat sit?"})
)


def check(
    run: attncli.Run, by: str = "auto", predicted: tuple[str, ...] = (), rows_as: RowsAs | None = None, **more: Any
) -> None:
    """Every number of every head against sums over its map; `predicted` are segments read where they are predicted."""
    found = run.segments(by, rows_as=rows_as, **more).table()
    got = {tuple(row[:5]): row[6:8] for row in zip(*(each.tolist() for each in found.values()), strict=True)}
    count = 0
    for attention in run.maps:
        one = run.inputs[attention.text]
        names = [[side.names[at] for at in side.numbers] for side in partitions(one, attention.kind, by, **more)]
        for maps in attention.layers:
            for at, head in enumerate(maps.heads):
                visible = np.ones(maps.weights.shape[1:], bool) if maps.visible is None else maps.visible[0]
                shifted = () if attention.kind == "encoder" else predicted
                expected = naive_mass(maps.weights[at].tolist(), visible.tolist(), *names, shifted)
                for pair, values in expected.items():
                    place = (attention.kind, maps.layer, head, *pair)
                    np.testing.assert_allclose(got[place], values, rtol=1e-5, atol=1e-7)
                    count += 1
    assert count == len(got)


def test_a_pair_in_minilm(minilm: Path) -> None:
    run = attncli.load(str(minilm)).run(QUESTION, pair=PASSAGE)
    check(run)
    mean = run.segments().mean_frame().set_index(["from", "to"])
    assert list(mean.index.levels[0]) == ["a", "b", "special"]
    assert mean.loc["a"]["mass"].sum() == pytest.approx(1, abs=1e-5)
    assert mean.loc["a", "special"]["ratio"] > 3
    assert (mean.loc["b", "b"]["mass"] > mean.loc["a", "b"]["mass"]).all()


@pytest.fixture(scope="module")
def answered() -> attncli.Run:
    """A chat with the answer of the model."""
    return attncli.load("demo:decoder", head="auto-lm").run([CHAT], generate=5)


def test_a_chat_and_its_answer(answered: attncli.Run) -> None:
    run = answered
    check(run, predicted=("generated", "assistant"))
    check(run, rows_as="input")
    check(run, predicted=("generated", "assistant", "user", "system", "special"), rows_as="predicted")
    frame = run.segments().tokens_frame()
    written = [at for at, name in enumerate(run.inputs[0].source.segments) if name == "generated"]
    assert sorted(set(frame["query"])) == written
    layer = run.attention().layers[1].weights[:, written[2] - 1].mean(0)
    user = [name == "user" for name in run.inputs[0].source.segments]
    row = frame[(frame["layer"] == 1) & (frame["query"] == written[2])].set_index("to")
    assert row.loc["user", "mass"] == pytest.approx(layer[user].sum(), rel=1e-5)
    assert row.loc["user", "uniform_mass"] == pytest.approx(sum(user) / written[2])
    assert row["mass"].sum() == pytest.approx(1, abs=1e-5)


def test_selected_segments_begin_with_the_heads_that_read_them_most(answered: attncli.Run) -> None:
    everything, table = answered.segments().to_frame(), answered.segments(query="generated", key="user").to_frame()
    chosen = everything[(everything["from"] == "generated") & (everything["to"] == "user")]
    excess = chosen["mass"] - np.maximum(chosen["uniform_mass"], chosen["positional_mass"])
    np.testing.assert_allclose(chosen["excess"], excess, atol=1e-12)
    order = excess.sort_values(ascending=False, kind="stable").index
    pd.testing.assert_frame_equal(table, chosen.loc[order].reset_index(drop=True))
    from_user = answered.segments(query="user")
    assert set(from_user.to_frame()["from"]) == {"user"}
    assert not from_user.tokens
    assert set(answered.segments(key="user").tokens_frame()["to"]) == {"user"}
    with pytest.raises(UsageError, match="key: there is no segment 'usr': did you mean 'user'"):
        answered.segments(key="usr")
    with pytest.raises(UsageError, match="query: there is no segment 'answer': did you mean 'user'"):
        answered.segments(query="answer")


def test_the_retrieval_score_is_that_of_the_rows_that_predict_the_answer() -> None:
    answered = attncli.load("demo:decoder", head="auto-lm").run("abc abc abc abc abc abc", generate=8)
    table, tokens = answered.segments().to_frame(), answered.inputs[0].source
    names = np.where(tokens.special, "special", tokens.segments)
    written = np.flatnonzero(names == "generated")
    count = 0
    for maps in answered.attention().layers:
        for head, weights in zip(maps.heads, maps.weights, strict=True):
            tops = weights[written - 1].argmax(1)
            copied = np.array(tokens.pieces)[tops] == np.array(tokens.pieces)[written]
            of_head = table[(table["layer"] == maps.layer) & (table["head"] == head) & (table["from"] == "generated")]
            for row in of_head.itertuples():
                assert row.retrieval == pytest.approx(np.mean(copied & (names[tops] == row.to)))
                assert row.written == len(written)
                assert 0 <= row.retrieval_uniform <= row.retrieval_most <= 1
            count += int(copied.sum())
    assert count > 0
    assert table[table["from"] == "prompt"]["retrieval"].isna().all()
    assert "retrieval" not in answered.segments(rows_as="input").heads
    assert "retrieval" not in attncli.load("demo:encoder").run(QUESTION, pair=PASSAGE, layer=0).segments().heads


def test_the_strongest_heads_are_those_of_the_answer(answered: attncli.Run) -> None:
    strongest = answered.segments().strongest("decoder")
    assert set(strongest["from"]) == {"generated"}
    assert not {"special", "generated"} & set(strongest["to"])
    assert (strongest["excess"] > 0).all()
    assert (np.diff(strongest["excess"]) <= 0).all()
    pair = attncli.load("demo:encoder").run(QUESTION, pair=PASSAGE).segments().strongest("encoder")
    assert {*zip(pair["from"], pair["to"], strict=True)} == {("a", "b"), ("b", "a")}


def test_cross_attention_goes_between_two_texts() -> None:
    run = attncli.load("demo:seq2seq").run("one two\nthree", target="owt eno")
    check(run, "line")


@pytest.mark.parametrize("options", [{"words": True}, {"special": "drop"}, {"layer": 1, "head": "0,2"}])
def test_other_readings_are_divided_alike(options: dict[str, Any]) -> None:
    run = attncli.load("demo:encoder").run(QUESTION, pair=PASSAGE, **options)
    check(run)
    named = set(run.segments().to_frame()["from"])
    assert named == ({"a", "b"} if "special" in options else {"a", "b", "special"})


@pytest.mark.parametrize(
    "options", [{}, {"words": True, "special": "drop"}, {"aggregate": "mean"}, {"aggregate_layers": "mean"}]
)
def test_the_stream_gives_what_kept_maps_give(options: dict[str, Any]) -> None:
    model = attncli.load("demo:encoder")
    texts = [attncli.Text(QUESTION, PASSAGE), attncli.Text(PASSAGE, QUESTION), attncli.Text("A cat.", "A dog ran.")]
    request = Request.of(options)
    whole = attncli.Run(**vars(model.gather(texts, request))).segments()
    execution = Execution(Request.of({**options, "batch_tokens": 1}), texts, load=lambda: model)
    streamed, _ = SegmentsStudy().run(execution)[1]
    for name in ("mass", "uniform_mass", "ratio"):
        np.testing.assert_allclose(streamed[name].values, whole[name].values, rtol=1e-5, atol=1e-7)
    if not options.keys() & {"aggregate", "aggregate_layers"}:  # the position of a mean is not the mean of positions
        position = (each["positional_mass"].values for each in (streamed, whole))
        np.testing.assert_allclose(*position, rtol=1e-4, atol=1e-6)
    assert streamed["mass"].coords["texts"][1].tolist() == whole["mass"].coords["texts"][1].tolist()
    if options.get("aggregate_layers") is None:
        np.testing.assert_allclose(streamed.std["mass"].values, whole.std["mass"].values, rtol=1e-4, atol=1e-6)


def test_position_alone_is_the_mean_weight_at_each_offset() -> None:
    run = attncli.load("demo:decoder").run("The cat sat.\nIt was warm in the sun.")
    found, maps = run.segments("line").to_frame(), run.attention()
    names = np.array(
        [
            "special",
            *(
                "line 1" if at <= run.inputs[0].source.text.index("\n") else "line 2"
                for at in maps.queries.offsets[1:, 0]
            ),
        ]
    )
    count = len(names)
    for layer, head in ((0, 0), (1, 5), (2, 3)):
        weights = maps.sel(layer=layer, head=head).values.astype(np.float64)
        mean = {o: np.mean([weights[i, i - o] for i in range(o, count)]) for o in range(count)}
        rows = [[mean[i - j] if j <= i else 0.0 for j in range(count)] for i in range(count)]
        position = np.array([np.divide(row, sum(row)) for row in rows])
        of_head = found[(found["layer"] == layer) & (found["head"] == head)]
        for _, row in of_head.iterrows():
            expected = position[names == row["from"]][:, names == row["to"]].sum(1).mean()
            assert row["positional_mass"] == pytest.approx(expected, abs=1e-6)
        assert len(of_head) == 9


def test_position_says_nothing_of_cross_attention() -> None:
    run = attncli.load("demo:seq2seq").run("one two.\nthree", target="owt eno.\neerht")
    found = run.segments("line").to_frame()
    assert found.groupby("kind")["positional_mass"].apply(lambda values: values.isna().all()).to_dict() == {
        "encoder": False, "decoder": False, "cross": True
    }  # fmt: skip


def test_spans_in_python() -> None:
    run = attncli.load("demo:encoder").run("The cat sat. It ran.")
    frame = run.segments(spans={"cat": ["The cat"], "end": [(13, 20)]}).mean_frame()
    assert list(dict.fromkeys(frame["from"])) == ["cat", "end", "rest", "special"]
    with pytest.raises(UsageError, match="there are segments for 2 texts and 1 texts"):
        run.segments(spans=[{"cat": ["The cat"]}, {"cat": ["The cat"]}])


def test_what_cannot_be_divided(tmp_path: Path) -> None:
    model = attncli.load("demo:encoder")
    with pytest.raises(
        UsageError, match=r"the text has one segment \(text\), so there is no attention between segments"
    ):
        model.run("The cat sat.").segments()
    with pytest.raises(UsageError, match="expected aggregate to be none or mean, got max"):
        model.run("A\nb", aggregate="max").segments("line")
    part = attncli.open(model.run("A\nb", rows="0-2").save(tmp_path / "part"))
    with pytest.raises(UsageError, match="these are pooled or show a part of the text"):
        part.segments("line")
    with pytest.raises(UsageError, match="a text has 151 segments, expected at most 128"):
        model.run("\n".join(["a"] * 150), layer=0, head=0).segments("line")
