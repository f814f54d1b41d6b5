"""The size of a page, and how much fits into a number of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.page import MapSize, PageFit, fit_page, full_page_bytes, smallest_page_bytes

BUDGET = 32_000_000


def test_twelve_by_twelve_heads_of_256_tokens_fit_with_every_weight() -> None:
    assert full_page_bytes([MapSize(144, 256, 256)]) < 13_000_000


def test_five_thousand_tokens_of_six_by_twelve_heads_have_sixteen_edges_a_row() -> None:
    assert fit_page([MapSize(72, 5000, 5000)], BUDGET) == PageFit(16, 256)


@given(
    maps=st.integers(1, 500),
    queries=st.integers(1, 9000),
    keys=st.integers(1, 90_000),
    budget=st.integers(1000, 10**9),
)
def test_as_much_as_possible_fits(maps: int, queries: int, keys: int, budget: int) -> None:
    size = MapSize(maps, queries, keys)
    fit = fit_page([size], budget)
    if fit is None:
        assert smallest_page_bytes([size]) > budget
    else:
        assert size.strongest(fit.edges, fit.side) <= budget
        assert 4 <= fit.edges <= 64
        assert fit.edges == 64 or size.strongest(fit.edges + 1, fit.side) > budget


@pytest.mark.parametrize(("budget", "found"), [(68_000, None), (100_000_000, PageFit(64, 256))])
def test_by_hand(budget: int, found: PageFit | None) -> None:
    # 3 maps of 1,000 rows: 4 bytes a row and 3 an edge, at least 4 edges; 4/3 of it in base64
    assert smallest_page_bytes([MapSize(3, 1000, 1000)]) == pytest.approx((3 * 1000 * 16 + 3 * 32 * (4 + 32)) * 4 / 3)
    assert fit_page([MapSize(3, 1000, 1000)], budget) == found


def test_combined_heads_are_counted_where_maps_are_pooled() -> None:
    beside, alone, more = (
        MapSize(*count, combined=n) for count, n in (((3, 900, 900), 2), ((3, 900, 900), 0), ((5, 900, 900), 0))
    )
    assert beside.whole == alone.whole
    assert beside.strongest(4, 32) == more.strongest(4, 32)
    assert beside.pooled(32) == more.pooled(32)


def test_short_texts_keep_every_weight_next_to_a_long_one() -> None:
    short = MapSize(4, 20, 20)
    assert short.strongest(4, 32) == short.whole == 4 * 20 * 24 * 4 / 3
