"""Even attention: what a head would give if it looked at all visible keys alike."""

from __future__ import annotations

from dataclasses import replace

from attncli.data import Rows


def uniform_rows(rows: Rows) -> Rows:
    """The same rows with 1 / |S_i| on each visible key: of one head, where all see the same."""
    weights = rows.seen.double() / rows.visible_count.clamp_min(1)[..., None]
    nothing = {"scores": None, "scale": None, "largest": None, "parts": None, "norms": None, "sums": None}
    return replace(rows, raw=weights, heads=rows.heads[: weights.shape[1]], **nothing)  # type: ignore[arg-type]
