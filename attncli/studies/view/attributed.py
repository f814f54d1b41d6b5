"""What the page of `view` shows of an attribution: shares of the tokens of its text, and the rows that predict."""

from __future__ import annotations

import numpy as np

from attncli.data import KINDS, Input
from attncli.engine.explained_rows import query_rows
from attncli.errors import UsageError
from attncli.page import PageAttribution, PageMethod, PageOutput
from attncli.studies.attribute.result import Attribution


def page_attribution(result: Attribution, text: Input) -> PageAttribution:
    """Return what the page shows of an attribution of a text; raise UsageError unless it is of the same tokens."""
    sides = {side: text.source if side == "source" else text.target for side in result.tokens}
    same = [of is not None and of.pieces == result.tokens[side].pieces for side, of in sides.items()]
    if result.unit != "token" or not all(same):
        raise UsageError("the page shows attributions of the tokens of its text: give one of the same text, by token")
    starts = np.cumsum([0, *(len(tokens) for tokens in result.tokens.values())])
    first = dict(zip(result.tokens, starts.tolist(), strict=False))
    columns = [first[unit.side] + unit.positions[0] for unit in result.units]
    shares = np.full((len(result.methods), len(result.outputs), starts[-1]), np.nan, np.float32)
    shares[:, :, columns] = result.shared
    kinds = [kind for kind in KINDS if text.target is not None or kind != "cross"]
    outputs = [
        PageOutput(
            output.name,
            output.score,
            None if np.isnan(output.probability) else output.probability,
            {kind: query_rows(output.rows, text, kind).tolist() for kind in kinds},
        )
        for output in result.outputs
    ]
    methods = [PageMethod(method.name, method.signed, method.baseline) for method in result.methods]
    named = {str(side): tokens for side, tokens in result.tokens.items()}
    return PageAttribution(text.index, result.explain, result.score, named, methods, outputs, shares)
