"""The table of a terminal: how the output changes with other weights, the mean over texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attncli.studies.faithfulness.needed.result import MEANS, SEED_MEANS, Needed
from attncli.terminal import add_row, blank_table, three_digits

if TYPE_CHECKING:
    from rich.console import RenderableType


def needed_table(result: Needed) -> RenderableType:
    """Return a table of the means over texts, with intervals if there are texts enough."""
    from rich.text import Text

    means, names = result.means, MEANS | SEED_MEANS
    with_intervals = not np.isnan(means["low"]).all()
    columns = ["mean", "low", "high"] if with_intervals else ["mean"]
    table = blank_table(f"other weights of {result.chosen}", [""], columns)
    for row, name in enumerate(means["number"].tolist()):
        ends = [means[end][row] for end in ("low", "high")] if with_intervals else []
        add_row(table, [names[name], *(three_digits(float(number)) for number in (means["mean"][row], *ends))])
    interval = ". low, high: 95 % interval over texts" if with_intervals else ""
    table.caption = Text(
        f"Change of the output: total variation distance, 0 to 1. Divergence: Jensen-Shannon, 0 to 0.693 nat{interval}"
    )
    table.caption_justify = "left"
    return table
