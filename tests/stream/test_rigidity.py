"""How much of a head position explains: against a dense least-squares fit over cells, and closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_rows import Map, block, by_hand, causal, mask, part, random_map
from naive_attention import Array

from attncli.data import Kind
from attncli.stream.rigidity import Rigidity, RigiditySink


def cells_of(text: Map, head: int) -> list[tuple[float, ...]]:
    """Return row, offset, weight and the five terms of each cell of the rows that see several keys."""
    weights, visible = text.weights[head].double().numpy(), text.visible.numpy()
    n, m = weights.shape
    cells = []
    for i in range(n):
        seen = int(visible[i].sum())
        for j in range(m if seen > 1 else 0):
            if visible[i, j]:
                ends = j == 0, j == m - 1, i == j == 0, j == m - 1 and i == n - 1
                cells.append((i, j - i, weights[i, j], 1 / seen, *map(float, ends)))
    return cells


def naive_rigidity(others: Sequence[Map], text: Map, head: int) -> float:
    """Return the share explained, by `numpy.linalg.lstsq` of a row per cell and a column per offset and term."""
    learned = [cell for other in others for cell in cells_of(other, head)]
    columns = {offset: column for column, offset in enumerate(sorted({cell[1] for cell in learned}))}

    def design(cells: Sequence[tuple[float, ...]]) -> Array:
        matrix = np.zeros((len(cells), len(columns) + 5))
        for row, cell in enumerate(cells):
            if cell[1] in columns:
                matrix[row, columns[cell[1]]] = 1
            matrix[row, len(columns) :] = cell[3:]
        return matrix

    matrix = design(learned)
    size = (matrix[:, len(columns) :] ** 2).sum(0)
    ridge = np.zeros((5, matrix.shape[1]))
    ridge[:, len(columns) :] = np.diag(np.sqrt(1e-3 * size))
    deviations = [cell[2] - cell[3] for cell in learned]
    fitted = np.linalg.lstsq(np.vstack([matrix, ridge]), [*deviations, *[0.0] * 5], rcond=None)[0]
    cells = cells_of(text, head)
    row, weight, uniform = (np.array([cell[column] for cell in cells]) for column in (0, 2, 3))
    residual = weight - uniform - design(cells) @ fitted
    means = np.array([weight[row == number].mean() for number in row])
    return float(np.clip(1 - (residual**2).sum() / ((weight - means) ** 2).sum(), 0, 1))


def of_maps(maps: Sequence[Map], kind: Kind = "decoder", first: int = 0, split: int | None = None) -> RigiditySink:
    """Return a sink that has seen the texts, in one block or in blocks of a few rows of one head."""
    sink = RigiditySink()
    whole = block(maps, kind, texts=range(first, first + len(maps)), padding=(2, 1) if split else (0, 0), left=True)
    blocks = [whole]
    if split:
        starts = range(0, whole.weights.shape[2], split)
        blocks = [part(whole, at, at + split, [head]) for head in reversed(range(len(whole.heads))) for at in starts]
    for rows in blocks:
        sink.add(rows)
    sink.end_layer(kind, 0)
    return sink


def partly_by_position(seed: int, n: int, m: int, rule: str, lost: float = 0.0) -> Map:
    """Return two heads whose rows are one fifth random, else by distance and on the first key."""
    text = random_map(seed, 2, n, m, rule, "float64", lost)
    i, j = torch.arange(n)[:, None], torch.arange(m)
    by_position = torch.where(text.visible, torch.exp(-(i - j).abs().double()) + 0.5 * (j == 0), 0.0)
    by_position = by_position / by_position.sum(-1, keepdim=True).clamp_min(1e-9) * (1 - lost)
    return replace(text, weights=0.2 * text.weights + 0.8 * by_position)


CASES = [
    ("encoder", "all", [(9, 9), (7, 7), (8, 8)], 0.0),
    ("decoder", "causal", [(9, 9), (6, 6), (12, 12)], 0.4),
    ("decoder", "sliding", [(9, 9), (6, 6)], 0.0),
    ("decoder", "blind", [(9, 9), (6, 6), (11, 11)], 0.0),
    ("cross", "all", [(5, 8), (7, 4), (3, 9)], 0.0),
]


@pytest.mark.parametrize(("kind", "rule", "sizes", "lost"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_rigidity_is_that_of_a_dense_fit_however_the_stream_is_split(
    kind: Kind, rule: str, sizes: list[tuple[int, int]], lost: float
) -> None:
    maps = [partly_by_position(seed, n, m, rule, lost) for seed, (n, m) in enumerate(sizes)]
    expected = np.array(
        [
            [naive_rigidity(maps[:text] + maps[text + 1 :], maps[text], head) for text in range(len(maps))]
            for head in range(2)
        ]
    )
    assert 0.05 < expected.min() < expected.max() < 0.95
    for split in (None, 4):
        found = of_maps(maps, kind, split=split).result()
        assert found.heads == ((kind, 0, 0), (kind, 0, 1))
        assert found.texts == tuple(range(len(maps)))
        assert found.values == pytest.approx(expected, abs=2e-5)
        assert found.mean() == pytest.approx(expected.mean(1), abs=2e-5)
        assert found.std() == pytest.approx(expected.std(1), abs=2e-5)


def test_blocks_without_padding_have_the_same_sums() -> None:
    """As models stream them: positions of rows and keys are known as slices."""
    maps = [partly_by_position(seed, 9, 9, "causal") for seed in range(3)]
    whole, sink = block(maps, "decoder"), RigiditySink()
    for at in (0, 4, 8):
        rows = part(whole, at, min(at + 4, 9))
        sink.add(replace(rows, visibility=replace(rows.visibility, slices=(slice(at, min(at + 4, 9)), slice(0, 9)))))
    sink.end_layer("decoder", 0)
    assert sink.result().values == pytest.approx(of_maps(maps).result().values, abs=1e-6)


def test_held_out_texts_are_explained_by_all_training_texts() -> None:
    training = [partly_by_position(seed, 8 + seed, 8 + seed, "causal") for seed in range(3)]
    held_out = [partly_by_position(9, 7, 7, "causal"), partly_by_position(10, 14, 14, "causal")]
    found = of_maps(held_out, first=5).result(of_maps(training))
    assert found.texts == (5, 6)
    expected = [[naive_rigidity(training, text, head) for text in held_out] for head in range(2)]
    assert found.values == pytest.approx(np.array(expected), abs=2e-5)


def always(n: int, key: Array, rule: str) -> Map:
    """Return a head whose row i attends to one key, or to itself where it cannot see that key."""
    visible = mask(rule, n, n).numpy()
    keys = [at if 0 <= at < n and visible[i, at] else i for i, at in enumerate(key.tolist())]
    return by_hand(np.eye(n)[keys].tolist(), visible.tolist())


@pytest.mark.parametrize("rule", ["causal", "all"])
@pytest.mark.parametrize(("start", "slope"), [(0, 0), (-1, 1), (0, 1)], ids=["first", "previous", "self"])
def test_a_head_that_attends_by_position_alone_has_1(rule: str, start: int, slope: int) -> None:
    maps = [always(n, start + slope * np.arange(n), rule) for n in (9, 12, 20)]
    assert of_maps(maps, "decoder" if rule == "causal" else "encoder").result().values == pytest.approx(1.0, abs=1e-3)


def test_a_head_that_attends_to_the_last_token_has_1() -> None:
    maps = [always(n, np.full(n, n - 1), "all") for n in (9, 12, 20)]
    assert of_maps(maps, "encoder").result().values == pytest.approx(1.0, abs=1e-3)


def test_random_heads_have_0_and_uniform_ones_none() -> None:
    random = [random_map(seed, 20, 40, 40, "causal") for seed in range(6)]
    found = of_maps(random).result()
    assert found.values.max() < 0.05
    assert found.mean().mean() < 0.01
    uniform = [by_hand([[1 / (i + 1)] * (i + 1) + [0] * (n - i - 1) for i in range(n)], causal(n)) for n in (5, 8, 6)]
    assert np.isnan(of_maps(uniform).result().values).all()


def test_one_text_and_texts_of_one_token_are_undefined() -> None:
    assert np.isnan(of_maps([random_map(0, 2, 6, 6, "causal")]).result().values).all()
    maps = [random_map(seed, 2, n, n, "causal") for seed, n in enumerate((1, 6, 7))]
    values = of_maps(maps).result().values
    assert np.isnan(values[:, 0]).all()
    assert not np.isnan(values[:, 1:]).any()
    assert of_maps(maps).result().mean() == pytest.approx(values[:, 1:].mean(1))


@pytest.mark.parametrize("first", ["all", "causal"])
def test_heads_with_different_masks_have_their_own_cells(first: str) -> None:
    """With `causal` the heads have the same mask in the first text, and different ones in the others."""
    maps = [random_map(seed, 2, 6 + seed, 6 + seed, "all" if seed else first) for seed in range(3)]
    sink = RigiditySink()
    for number, text in enumerate(maps):
        n = len(text.visible)
        visible = torch.stack([torch.ones(n, n, dtype=torch.bool).tril(), text.visible])[None]
        rows = block([replace(text, weights=text.weights * visible[0])], "decoder", texts=[number])
        sink.add(replace(rows, visibility=replace(rows.visibility, visible=visible)))
        sink.end_layer("decoder", 0)
    lower = [replace(text, weights=text.weights * text.visible.tril(), visible=text.visible.tril()) for text in maps]
    expected = [
        [naive_rigidity([*texts[:at], *texts[at + 1 :]], texts[at], head) for at in range(3)]
        for head, texts in enumerate((lower, maps))
    ]
    assert sink.result().values == pytest.approx(np.array(expected), abs=2e-5)


def test_means_leave_out_undefined_texts() -> None:
    found = Rigidity((("decoder", 0, 0),), (0, 1, 2), np.array([[0.2, np.nan, 0.4]]))
    assert found.mean() == pytest.approx([0.3])
    assert found.std() == pytest.approx([0.1])
