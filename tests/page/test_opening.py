"""The head that the page opens on: checked against loops, and on maps whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from page import Read

import attncli
from attncli.data import Attention, LayerMaps, Tokens
from attncli.page.opening import by_distance, contrasts, opening_head


def by_loops(weights: np.ndarray, visible: np.ndarray, same_text: bool) -> np.ndarray:
    """Contrast by the definition, pair by pair."""
    rows, columns = weights.shape
    counted = visible & ~np.isnan(weights)
    pairs = [(i, j) for i in range(rows) for j in range(columns) if counted[i, j]]
    found = np.zeros(weights.shape)
    for i, j in pairs:
        of_key = np.mean([weights[a, b] for a, b in pairs if b == j])
        of_distance = np.mean([weights[a, b] for a, b in pairs if b - a == j - i])
        if not (same_text and i == j):
            found[i, j] = weights[i, j] - (max(of_key, of_distance) if same_text else of_key)
    return found


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (5, 3), (3, 5), (6, 6)])
@pytest.mark.parametrize("same_text", [True, False])
def test_contrasts_are_those_of_the_definition(rows: int, columns: int, same_text: bool) -> None:
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.ones(columns), rows)
    visible = random.random((rows, columns)) < 0.7
    weights[rows // 2] = np.nan
    assert np.allclose(contrasts(weights, visible, same_text), by_loops(weights, visible, same_text))


def test_sums_by_distance() -> None:
    assert by_distance(np.array([[1.0, 2, 3], [4, 5, 6]])).tolist() == [[6, 8, 3], [4, 6, 8]]


def attention(*heads: np.ndarray, special: tuple[int, ...] = ()) -> Attention:
    """Return two layers of equal heads."""
    n = heads[0].shape[-1]
    plain = Tokens.plain([f"t{at}" for at in range(n)])
    tokens = Tokens(**{**vars(plain), "special": np.isin(np.arange(n), special)})
    layers = tuple(LayerMaps(layer, tuple(range(len(heads))), np.stack(heads)) for layer in (0, 3))
    return Attention("encoder", tokens, tokens, layers)


def shifted(by: int, n: int = 8) -> np.ndarray:
    return np.roll(np.eye(n), by, 1)


def column(key: int, n: int = 8) -> np.ndarray:
    return np.tile(np.eye(n)[key], (n, 1))


def pairs(n: int = 8) -> np.ndarray:
    """Return uniform weights, but three pairs of no common distance or key."""
    weights = np.full((n, n), 1 / n)
    for query, key in ((1, 6), (4, 2), (6, 3)):
        weights[query] = np.eye(n)[key]
    return weights


def test_diagonals_and_sinks_do_not_win() -> None:
    uniform = np.full((8, 8), 1 / 8)
    heads = [shifted(0), shifted(1), shifted(-2), column(0), column(5), uniform, pairs()]
    assert opening_head(attention(*heads)) == {"layer": 0, "head": 6}


def test_special_tokens_do_not_count() -> None:
    to_special = np.full((8, 8), 1 / 8)
    to_special[[2, 5]] = np.eye(8)[7]
    assert opening_head(attention(to_special, pairs(), special=(0, 7))) == {"layer": 0, "head": 1}


def test_equal_heads_open_the_first() -> None:
    assert opening_head(attention(pairs(), pairs())) == {"layer": 0, "head": 0}
    assert opening_head(attention(np.ones((1, 1)))) == {"layer": 0, "head": 0}
    assert opening_head(attention(np.full((8, 8), np.nan))) == {"layer": 0, "head": 0}


def test_the_document_names_the_head() -> None:
    maps = attncli.load("demo:decoder").run("The cat sat on the mat.", aggregate="mean")
    document = Read(maps.view().html).document
    assert document["start"] == {**opening_head(maps.attention()), "head": None}
