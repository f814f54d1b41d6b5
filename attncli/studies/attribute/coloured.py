"""The text with a colour behind each token: how much it counts, a line for each method and prediction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from attncli.data.labels import escape_invisible, label
from attncli.plotting.axis import join_parts
from attncli.plotting.highlight_colours import colour_level, signed_level
from attncli.studies.attribute.result import AttributedOutput, Attribution, AttributionMethod, Side
from attncli.studies.highlight.coloured import ColouredText
from attncli.studies.highlight.passage import TextCell, TextLine, format_weight, strongest_tokens, text_cells

MOST_LINES = 48
_LONGEST_NAME = 60
_SHORTER = "choose fewer methods, or --format html"


def coloured_text(result: Attribution, *, model: str = "", note: str = "") -> ColouredText:
    """Return the lines of a result: methods below each other, for one prediction after another."""
    signed = any(method.signed for method in result.methods)
    top = float(np.nanmax(np.abs(np.nan_to_num(result.shared)), initial=0.0)) or 1.0
    pairs = [(method, output) for output in range(len(result.outputs)) for method in range(len(result.methods))]
    lines = [_line(result, method, output, signed, top) for method, output in pairs[:MOST_LINES]]
    cut = "" if len(pairs) <= MOST_LINES else f"the first {MOST_LINES} of {len(pairs)} lines"
    ends = (-top, -top / 2, 0.0, top / 2, top) if signed else tuple(top * part / 4 for part in range(5))
    raised = (
        "raises the number, below 0 lowers it" if result.score == "number" else "for the prediction, below 0 against it"
    )
    sign = f": above 0 {raised}" if signed else ""
    cells = [cell for line in lines for cell in (*line.cells, *line.other)]
    looks = [("focus", "predicts")] if any(cell.focus for cell in cells) else []
    looks += [("unseen", "not read, or left out")] if any(cell.state == "unseen" for cell in cells) else []
    return ColouredText(
        f"attribution of {title_of(result)}",
        [part for part in (model, join_parts(_about(result), note, cut)) if part],
        list(map(format_weight, ends)),
        f"share of a {result.unit} in all{sign}",
        looks,
        lines,
        signed,
        _SHORTER,
    )


def title_of(result: Attribution) -> str:
    """Return the name of the only prediction, or how many there are."""
    if len(result.outputs) > 1:
        return f"{len(result.outputs)} {'labels' if result.explain == 'labels' else 'generated tokens'}"
    return score_name(result, result.outputs[0])


def score_name(result: Attribution, output: AttributedOutput) -> str:
    """Return what is explained of a prediction, such as `ln p(Rome)`."""
    name = escape_invisible(label(output.name, width=_LONGEST_NAME))
    forms = {"ln-probability": "ln p({})", "probability": "p({})", "logit": "the logit of {}"}
    return forms.get(result.score, "{}").format(name)


def _about(result: Attribution) -> str:
    (first, *others) = result.outputs
    if others or np.isnan(first.probability):
        return "" if others else f"{first.score:.3f}"
    return f"p = {first.probability:.3f}"


def method_name(method: AttributionMethod, output: int) -> str:
    """Return the name of a method with its baseline and, if it integrates, its steps and error."""
    if not method.steps:
        return join_parts(method.name, f"baseline {method.baseline}" if method.baseline else "")
    change = abs(method.change[output]) or float("nan")
    error = f"error {abs(method.delta[output]) / change:.1%}" if change == change else ""
    return join_parts(method.name, f"baseline {method.baseline}", f"{method.steps[output]} steps", error)


def _line(result: Attribution, method: int, output: int, signed: bool, top: float) -> TextLine:
    """Return the line of one method and prediction; of an encoder-decoder the source is above the target."""
    shares, of_output = result.shared[method, output], result.outputs[output]
    cells = [list(_cells(result, side, shares, of_output, signed, top)) for side in result.tokens]
    several = score_name(result, of_output) if len(result.outputs) > 1 else ""
    caption = join_parts(several, method_name(result.methods[method], output))
    strongest = strongest_tokens([cell for of_side in cells for cell in of_side])
    return TextLine(caption, cells[-1], cells[0] if len(cells) > 1 else [], strongest)


def _cells(
    result: Attribution, side: Side, shares: np.ndarray, output: AttributedOutput, signed: bool, top: float
) -> Iterator[TextCell]:
    """Yield the cells of one side with their shares; tokens of no unit have no colour."""
    owners: dict[int, int] = {}
    predicts: set[int] = set()
    last_side = list(result.tokens)[-1]
    for number, unit in enumerate(result.units):
        if unit.side == side:
            owners |= dict.fromkeys(unit.shown, number)
            if side == last_side and result.unit != "segment":
                predicts |= set(unit.shown) if not set(output.rows).isdisjoint(unit.positions) else set()
    if result.unit == "segment" and side == last_side:
        predicts = set(output.rows)
    if len(output.rows) == len(result.tokens[side]):  # the mean over all tokens is compared: none stands out
        predicts = set()
    for cell in text_cells(result.tokens[side], result.unit == "word"):
        own = list(dict.fromkeys(owners[position] for position in cell.positions if position in owners))
        own = [number for number in own if np.isfinite(shares[number])]
        marked = not predicts.isdisjoint(cell.positions)
        if not cell.positions:
            yield cell
        elif not own:
            yield replace(cell, state="unseen", focus=marked)
        else:
            weight = float(shares[own].sum())
            level = signed_level(weight, top) if signed else colour_level(weight, top)
            yield replace(cell, state="drawn", weight=weight, level=level, focus=marked)
