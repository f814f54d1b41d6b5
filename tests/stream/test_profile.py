"""Profiles: against loops over maps and closed forms, however the stream is split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from made_rows import Map, as_streamed, batches, block, by_hand, causal, feed, inputs, of_keys, part, random_map
from naive_attention import Array

import attncli
from attncli.data import Kind, Profile, Received, Rows
from attncli.errors import UsageError
from attncli.stream import MeasureProfile

ENDS = ("first", "near", "rest", "last")


def naive_bins(longest: int) -> list[tuple[int, int]]:
    bins = [(0, 0)]
    while bins[-1][1] < longest - 1:
        bins.append((bins[-1][1] + 1, 2 * bins[-1][1] + 1 if bins[-1][1] else 1))
    return bins


def naive_regions(weights: Array, visible: Array, longest: int, n: int, self_attention: bool) -> Array:
    """Return [region, mass or uniform] of one map by loops: bins, then the ends."""
    keys = weights.shape[1]
    bins = naive_bins(longest)
    sums = np.zeros((len(bins) + 4, 2))
    counts = np.zeros(len(bins) + 4)
    for i, row in enumerate(weights.astype(float)):
        seen = [j for j in range(keys) if visible[i, j]]
        if not seen:
            continue
        inside = [[j for j in seen if near <= abs(i - j) <= far] for near, far in bins]
        first = [j for j in seen if j < n]
        close = [j for j in seen if abs(i - j) < n]
        inside += [
            first,
            close,
            [j for j in seen if j not in first and j not in close],
            [j for j in seen if j >= keys - n],
        ]
        for region, members in enumerate(inside):
            if region < len(bins) or len(seen) > n:
                sums[region] += sum(row[j] for j in members), len(members) / len(seen)
                counts[region] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts[:, None]
    means[sums[:, 1] == 0] = np.nan
    if not self_attention:
        means[[*range(len(bins)), len(bins) + 1, len(bins) + 2]] = np.nan
    return means


def naive_received(weights: Array, visible: Array) -> tuple[Array, Array]:
    keys = weights.shape[1]
    given = np.array(
        [sum(float(row[k]) for row, sees in zip(weights, visible, strict=True) if sees[k]) for k in range(keys)]
    )
    seen = np.array([sum(bool(sees[k]) for sees in visible) for k in range(keys)])
    with np.errstate(invalid="ignore", divide="ignore"):
        return given / seen, seen


def profile(rows: Iterable[Rows], maps: Sequence[Map], ends: int = 3, min_rows: float | None = None) -> Profile:
    blocks = list(rows)
    sink = MeasureProfile(inputs(maps), ends=ends, min_rows=min_rows)
    feed(sink, blocks)
    return sink.result()


def regions(found: Profile, head: int, std: bool = False) -> Array:
    """Return [region, mass or uniform] of one head; cross-attention has no bins."""
    tables = (found.distance_std, found.ends_std) if std else (found.distance, found.ends)
    parts = [
        np.stack([table[name].values[head] for name in ("mass", "uniform_mass")], axis=-1)
        for table in tables
        if len(table["mass"].values)
    ]
    return np.concatenate(parts)


@given(batches(), st.integers(1, 15), st.integers(0, 3), st.integers(1, 13), st.booleans())
def test_profiles_are_those_of_loops_however_the_stream_is_split(
    made: tuple[Kind, list[Map]], ends: int, padding: int, cut: int, left: bool
) -> None:
    kind, maps = made
    rows = block(maps, kind, padding=(padding, padding), left=left)
    n = rows.weights.shape[2]
    found = profile([part(rows, first, min(first + cut, n)) for first in range(0, n, cut)][::-1], maps, ends)
    longest = max(max(one.weights.shape[1:]) for one in maps)
    for head in range(maps[0].weights.shape[0]):
        alone = np.stack(
            [
                naive_regions(one.weights[head].numpy(), one.visible.numpy(), longest, ends, kind != "cross")
                for one in maps
            ]
        )
        known = ~np.isnan(alone)
        count = known.sum(0)
        mean = np.where(count, np.where(known, alone, 0).sum(0) / np.maximum(count, 1), np.nan)
        squares = np.where(known, (alone - mean) ** 2, 0).sum(0)
        spread = np.where(count, np.sqrt(squares / np.maximum(count, 1)), np.nan)
        bins = 0 if kind != "cross" else len(naive_bins(longest))
        assert regions(found, head) == pytest.approx(mean[bins:], abs=1e-6, nan_ok=True)
        if len(maps) > 1:
            assert regions(found, head, std=True) == pytest.approx(spread[bins:], abs=1e-6, nan_ok=True)
        for one, received in zip(maps, found.received, strict=True):
            values, seen = naive_received(one.weights[head].numpy(), one.visible.numpy())
            assert received.values[head] == pytest.approx(values, abs=1e-6, nan_ok=True)
            assert received.seen[head].tolist() == seen.tolist()


@pytest.mark.parametrize("rule", ["all", "causal", "sliding", "chunked", "blind"])
@pytest.mark.parametrize(("ends", "cut"), [(1, 3), (3, 5), (7, 24), (30, 2)])
def test_profiles_of_consecutive_keys_are_those_of_loops(rule: str, ends: int, cut: int) -> None:
    one = random_map(5, 2, 24, 24, rule)
    whole = block([one], "decoder")
    cuts = [part(whole, first, min(first + cut, 24)) for first in range(0, 24, cut)]
    stops = [24 if rule == "all" else int(piece.query_positions[0, -1]) + 1 for piece in cuts]
    rows = [as_streamed(of_keys(piece, slice(0, stop))) for piece, stop in zip(cuts, stops, strict=True)]
    found = profile(rows, [one], ends)
    for head in range(2):
        expected = naive_regions(one.weights[head].numpy(), one.visible.numpy(), 24, ends, True)
        assert regions(found, head) == pytest.approx(expected, abs=1e-6, nan_ok=True)
        values, seen = naive_received(one.weights[head].numpy(), one.visible.numpy())
        assert found.received[0].values[head] == pytest.approx(values, abs=1e-6, nan_ok=True)
        assert found.received[0].seen[head].tolist() == seen.tolist()


def test_uniform_rows_equal_their_baseline() -> None:
    n = 40
    even = by_hand([[1 / (i + 1)] * (i + 1) + [0.0] * (n - i - 1) for i in range(n)], causal(n))
    found = profile([block([even], "decoder")], [even])
    for table in (found.distance, found.ends):
        assert table["mass"].values == pytest.approx(table["uniform_mass"].values, abs=1e-6)
    assert found.distance["mass"].values.sum() == pytest.approx(1, abs=1e-6)
    assert found.received[0].values[0] == pytest.approx(
        [np.mean([1 / i for i in range(k + 1, n + 1)]) for k in range(n)]
    )


def test_a_previous_token_head_attends_at_distance_one() -> None:
    n = 9
    previous = by_hand([[1.0] + [0.0] * (n - 1), *np.eye(n)[:-1].tolist()], causal(n))
    found = profile([block([previous], "decoder")], [previous], ends=2)
    assert list(zip(found.distance["mass"].coords["from"][1], found.distance["mass"].coords["to"][1], strict=True)) == [
        (0, 0),
        (1, 1),
        (2, 3),
        (4, 7),
        (8, 15),
    ]
    assert found.distance["mass"].values[0] == pytest.approx([1 / n, (n - 1) / n, 0, 0, 0])
    # rows 2 … 8 see more than two keys: all of it is near, row 2 looks at key 1
    assert found.ends["mass"].values[0] == pytest.approx([1 / 7, 1, 0, 1 / 7])


@pytest.mark.parametrize(("n", "reliable"), [(12, 8), (200, 191)])
def test_a_sink_is_a_key_that_enough_queries_see(n: int, reliable: int) -> None:
    rows = [[0.6, *[0.0] * (n - 1)] for _ in range(n)]
    for i, row in enumerate(rows):
        row[i] += 0.4
    one = by_hand(rows, causal(n))
    received = profile([block([one], "decoder")], [one]).received[0]
    # of 12 queries 4 see key 8, of 200 queries 9 see key 191: fewer than 5, and fewer than 5 %
    assert np.flatnonzero(received.reliable[0]).tolist() == list(range(reliable))
    assert received.values[0, n - 1] == pytest.approx(0.4)
    assert np.argwhere(received.sinks()).tolist() == [[0, 0]]
    # key k gets 0.4 from itself and n - k queries see it
    above = [k for k in range(1, reliable) if 0.4 / (n - k) >= 0.055]
    assert np.flatnonzero(received.sinks(0.055)[0]).tolist() == [0, *above]
    assert above == ([5, 6, 7] if n == 12 else [])
    assert not received.sinks(0.99).any()


@pytest.mark.parametrize(
    ("n", "least", "min_rows"),
    [(60, 0.05, 3), (61, 0.05, 4), (60, None, 5), (400, None, 20), (3, None, 3), (60, 7, 7), (6, 7, 6)],
)
def test_the_rows_that_must_see_a_key_are_a_number_or_a_share(n: int, least: float | None, min_rows: int) -> None:
    one = by_hand([[1.0, *[0.0] * (n - 1)] for _ in range(n)], causal(n))
    received = profile([block([one], "decoder")], [one], min_rows=least).received[0]
    assert received.min_rows.tolist() == [min_rows]
    assert received.reliable[0].sum() == n - min_rows + 1


def test_distances_beyond_a_sliding_window_are_undefined() -> None:
    one = random_map(1, 2, 12, 12, "sliding")
    found = profile([block([one], "decoder")], [one], ends=2)
    assert np.isnan(found.distance["mass"].values[0]).tolist() == [False, False, False, True, True]
    assert np.isnan(found.distance["uniform_mass"].values).tolist() == np.isnan(found.distance["mass"].values).tolist()


def test_blocks_with_some_keys_and_some_heads_are_joined() -> None:
    one = random_map(3, 3, 20, 20, "causal")
    blocks = []
    for first, heads in ((10, [2, 0]), (0, [1]), (10, [1]), (0, [0, 2])):
        blocks.append(of_keys(part(block([one], "decoder"), first, first + 10, heads), slice(0, first + 10)))
    cut, whole = profile(blocks, [one]), profile([block([one], "decoder")], [one])
    for head in range(3):
        assert regions(cut, head) == pytest.approx(regions(whole, head), abs=1e-6, nan_ok=True)
    assert cut.received[0].values == pytest.approx(whole.received[0].values, abs=1e-6)


def test_keys_after_a_gap_count_at_their_positions() -> None:
    one = random_map(5, 2, 16, 16, "all")
    kept = [0, 1, 2, 7, 8, 9, 10, 15]
    sees = one.visible.clone()
    sees[:, [key for key in range(16) if key not in kept]] = False
    weights = (one.weights * sees).div((one.weights * sees).sum(-1, keepdim=True))
    sparse = Map(weights, sees, one.special)
    short = of_keys(block([sparse]), kept)
    for head in range(2):
        expected = naive_regions(weights[head].numpy(), sees.numpy(), 16, 3, True)
        assert regions(profile([short], [sparse]), head) == pytest.approx(expected, abs=1e-6, nan_ok=True)


# ----------------------------------------------------------------------------------------- real models


@pytest.mark.parametrize("name", ["demo:encoder", "demo:decoder", "demo:seq2seq", "minilm"])
def test_the_profile_of_a_pass_is_that_of_loops_over_its_eager_maps(name: str, minilm: Path) -> None:
    model = attncli.load(str(minilm) if name == "minilm" else name)
    text = "one two three four five six seven eight nine ten"
    found = model.run(text, profile=True, ends=4, keep_maps=False).profile()
    eager = model.run(text, capture="eager")
    received = {one.kind: one for one in found.received}
    longest = max(len(side) for one in eager.inputs for kind in attncli.KINDS for side in one.sides(kind))
    for attention in eager.maps:
        one = received[attention.kind]
        shape = (len(attention.queries), len(attention.keys))
        visible = np.tri(*shape, dtype=bool) if attention.kind == "decoder" else np.ones(shape, bool)
        places = [
            (maps.layer, head, weights)
            for maps in attention.layers
            for head, weights in zip(maps.heads, maps.weights, strict=True)
        ]
        assert list(zip(one.layers.tolist(), one.heads.tolist(), strict=True)) == [place[:2] for place in places]
        tables = [found.ends] if attention.kind == "cross" else [found.distance, found.ends]
        mine = [{name: scores.sel(kind=attention.kind).values for name, scores in table.items()} for table in tables]
        for at, (_, _, weights) in enumerate(places):
            assert one.values[at] == pytest.approx(naive_received(weights, visible)[0], abs=1e-5)
            expected = naive_regions(weights, visible, longest, 4, attention.kind != "cross")
            got = np.concatenate([np.stack([table["mass"][at], table["uniform_mass"][at]], axis=-1) for table in mine])
            assert got == pytest.approx(expected[-len(got) :], abs=1e-5, nan_ok=True)


def test_kept_maps_give_the_profile_of_the_pass() -> None:
    run = attncli.load("demo:decoder").run(["one two three four", "one two"], profile=True, words=True, layer="1")
    again = attncli.load("demo:decoder").run(["one two three four", "one two"], words=True, layer="1").profile()
    for frame in ("received_frame", "sinks_frame", "distance_frame", "ends_frame"):
        one, other = getattr(run.profile(), frame)(), getattr(again, frame)()
        assert list(one) == list(other)
        numbers = one.select_dtypes("number").to_numpy()
        assert numbers == pytest.approx(other.select_dtypes("number").to_numpy(), abs=1e-6, nan_ok=True)
    assert run.profile(ends=2).ends["mass"].coords["tokens"][1].tolist() == [2] * 4


def test_tables_have_the_coordinates_of_each_number() -> None:
    found = attncli.load().run(["one two three", "one"], profile=True, keep_maps=False, ends=2).profile()
    names = ["text", "kind", "layer", "head", "key", "token", "piece", "received", "seen_by", "min_rows"]
    assert list(found.received_frame()) == names
    assert list(found.sinks_frame(0.2)) == list(found.received_frame())
    assert set(found.sinks_frame(0.2)["text"]) == {0, 1}
    assert list(found.distance_frame()) == [
        *("kind", "layer", "head", "from", "to", "mass", "mass_std", "uniform_mass", "uniform_mass_std"),
    ]
    assert list(found.ends_frame())[:5] == ["kind", "layer", "head", "end", "tokens"]
    assert tuple(found.ends_frame()["end"][:4]) == ENDS
    sums = found.received_frame().groupby(["text", "layer", "head"])["received"].sum()
    assert sums.to_numpy() == pytest.approx(1, abs=1e-6)


def test_a_text_not_longer_than_its_ends_gets_a_note() -> None:
    run = attncli.load().run("one two three", profile=True, keep_maps=False)
    (note,) = run.info.notes
    assert note.startswith("--ends 64 is all of a text of ")
    assert np.isnan(run.profile().ends["mass"].values).all()


@pytest.mark.parametrize("ends", [0, -1])
def test_ends_below_one_are_refused(ends: int) -> None:
    with pytest.raises(UsageError, match=f"expected --ends to be a number from 1 up, got {ends}"):
        attncli.load().run("one", profile=True, ends=ends)


def test_hostile_tokens_are_unchanged_in_the_tables() -> None:
    pieces = [*HOSTILE, "\udcff"]
    n = len(pieces)
    keys = attncli.Tokens.plain(pieces)
    numbers, values = np.zeros(1, int), np.full((1, n), 0.5)
    one = Received(0, "encoder", keys, numbers, numbers, values, np.full((1, n), n), np.array([n]))
    whole = Profile((one,), {}, {})
    assert whole.received_frame()["token"].tolist() == pieces
    assert whole.sinks_frame()["token"].tolist() == pieces
