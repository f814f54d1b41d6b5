"""What an analysis of a long text costs, in forward passes of the same model; said before the pass begins."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a saved run needs no torch
    from attncli.engine.passes import Pass

NOTE = (logging.INFO + logging.WARNING) // 2
"""Level of notes, between INFO, which needs --verbose, and WARNING."""
LEAST = 1.6
"""Fewest forward passes that are worth a note."""
LONG = 1000
"""Texts of fewer tokens take so little time that no cost is said."""
_log = logging.getLogger("attncli")


def note_cost(name: str, prepared: Pass, passes: float, most: float | None = None) -> None:
    """Log about how many forward passes an analysis takes: of a long text on a CPU, where it was measured.

    most  the largest number that was measured, if it varies; `passes` is then the smallest
    """
    times = f"{passes:.1f}" if most is None else f"{passes:.0f} to {most:.0f}"
    if passes >= LEAST and longest(prepared) > LONG and prepared.loaded.device.type == "cpu":
        _log.log(
            NOTE,
            "%s takes about %s times as long as a forward pass on a text of this length, besides its files",
            name,
            times,
        )


def longest(prepared: Pass) -> int:
    """Return the number of tokens of the longest text."""
    return max(max(len(text.source), len(text.target or ())) for text in prepared.inputs)


def layer_work(prepared: Pass, tokens: int) -> float:
    """Return about how many operations one layer takes for a text of this length."""
    from torch.nn import Embedding

    sites, modules = prepared.plan.sites, prepared.loaded.model.modules()
    owners = [module for module in modules if not isinstance(module, Embedding)]
    parameters = sum(part.numel() for module in owners for part in module.parameters(recurse=False))
    width = max(site.heads * (site.dim or 0) for site in sites)
    # each parameter is multiplied and added for each token, queries are multiplied with half of the keys and values
    return 2 * tokens * (parameters / len(sites) + tokens * width)
