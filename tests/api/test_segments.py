"""Attention between segments of real models: the sums over their whole maps, however it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_segments import naive_mass

import attncli
from attncli.engine.execution import Execution
from attncli.engine.request import Request
from attncli.errors import UsageError
from attncli.inputs.partitions import partitions
from attncli.studies.segments.study import SegmentsStudy

QUESTION, PASSAGE = "Who sat on the mat?", "The cat sat on the mat. The dog slept in the garden."
CHAT = attncli.Text(
    "", messages=({"role": "system", "content": "Be short."}, {"role": "user", "content": "Where did the cat sit?"})
)


def check(run: attncli.Run, by: str = "auto", **more: Any) -> None:
    """Every number of every head against sums over its map."""
    found = run.segments(by, **more).table()
    got = {tuple(row[:5]): row[6:8] for row in zip(*(each.tolist() for each in found.values()), strict=True)}
    count = 0
    for attention in run.maps:
        one = run.inputs[attention.text]
        names = [[side.names[at] for at in side.numbers] for side in partitions(one, attention.kind, by, **more)]
        for maps in attention.layers:
            for at, head in enumerate(maps.heads):
                visible = np.ones(maps.weights.shape[1:], bool) if maps.visible is None else maps.visible[0]
                expected = naive_mass(maps.weights[at].tolist(), visible.tolist(), *names)
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


def test_a_chat_and_its_answer() -> None:
    run = attncli.load("demo:decoder", head="auto-lm").run([CHAT], generate=5)
    check(run)
    frame = run.segments().tokens_frame()
    written = [at for at, name in enumerate(run.inputs[0].source.segments) if name == "generated"]
    assert sorted(set(frame["query"])) == written
    layer = run.attention().layers[1].weights[:, written[2]].mean(0)
    user = [name == "user" for name in run.inputs[0].source.segments]
    row = frame[(frame["layer"] == 1) & (frame["query"] == written[2])].set_index("to")
    assert row.loc["user", "mass"] == pytest.approx(layer[user].sum(), rel=1e-5)
    assert row.loc["user", "uniform_mass"] == pytest.approx(sum(user) / (written[2] + 1))
    assert row["mass"].sum() == pytest.approx(1, abs=1e-5)


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
