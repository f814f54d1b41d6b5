"""Verdicts on attention between words of one text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncli.data import Array, Attention, Kind
from attncli.studies.check.bound import (
    BoundAttention,
    HeadKey,
    WordPositions,
    decisive_head,
    head_fields,
    reaches,
    rule_holds,
)
from attncli.studies.check.result import Verdict
from attncli.studies.check.rules.kinds import AttentionRule
from attncli.studies.check.rules.phrases import describe_heads
from attncli.studies.check.statistics import permutation_p
from attncli.studies.check.weights import DIGITS, Demand, MeanRows


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Maps of only the query positions that rules need, with these positions, by text and kind."""

    maps: Mapping[tuple[int, Kind], Attention]
    positions: Mapping[tuple[int, Kind], Array]

    def mean_rows(self, words: WordPositions, heads: Sequence[HeadKey]) -> MeanRows:
        """Return the mean weights of these heads from the query word to all keys."""
        attention = self.maps[words.text, words.kind]
        rows = np.searchsorted(self.positions[words.text, words.kind], words.query)
        layers = {maps.layer: maps for maps in attention.layers}
        weights, visible = [], []
        for _, layer, head in heads:
            maps = layers[layer]
            index = maps.heads.index(head)
            weights.append(maps.weights[index][rows])
            # one mask for all heads, or one for each
            mask = True if maps.visible is None else maps.visible[min(index, len(maps.visible) - 1)][rows]
            visible.append(np.broadcast_to(mask, weights[-1].shape))
        return MeanRows.of(np.stack(weights), np.stack(visible))


def attention_verdict(bound: BoundAttention, rows: ChosenRows, tolerance: float) -> Verdict:
    """Return whether any head (or every head) attends from one word to another as the rule demands."""
    rule, words = bound.rule, bound.data
    mean_rows = rows.mean_rows(words, bound.heads)
    weight = mean_rows.to(words.target)
    than = mean_rows.to(words.than) if words.than else None
    margins = Demand(rule.least, rule.most, rule.than is not None, tolerance).margins(weight, than)
    over = rule.heads.quantifier
    # a rule without limits has infinite margins: then the weights decide which head is shown
    head = decisive_head(np.where(np.isposinf(margins), weight, margins), over, tolerance)
    p = None if rule.above is None else permutation_p(mean_rows.rows, mean_rows.visible, words.target, over, tolerance)
    rank, keys = mean_rows.rank(head, words.target)
    values: dict[str, Any] = {
        **head_fields(bound.heads[head]),
        "heads": len(bound.heads),
        "met": int((margins >= 0).sum()),
        "found": float(weight[head]),
        "than": None if than is None else float(than[head]),
        "rank": rank,
        "keys": keys,
        "chance": mean_rows.chance(words.target),
        "p": None if p is None else round(p, DIGITS),
    }
    holds = rule_holds(margins, over) and reaches(p, rule.above)
    wanted, why = _attention_wanted(rule), _attention_why(rule, values)
    return Verdict(rule.name, "attention", holds, rule.part.position.line, wanted, why, text=words.text, **values)


def _attention_wanted(rule: AttentionRule) -> str:
    limits = [f"at least {rule.least:g}"] if rule.least is not None else []
    limits += [f"at most {rule.most:g}"] if rule.most is not None else []
    comparisons = [f"more than to '{rule.than}'"] if rule.than is not None else []
    comparisons += [f"more than in {rule.above:g} % of permutations"] if rule.above is not None else []
    amount = " and ".join(limits) + " of " if limits else ""
    return ", ".join([f"{describe_heads(rule.heads)} gives {amount}'{rule.from_}' to '{rule.to}'", *comparisons])


def _attention_why(rule: AttentionRule, values: Mapping[str, Any]) -> str:
    text = f"head {values['layer']}.{values['head']} gives {values['found']:.3f} to '{rule.to}'"
    if values["than"] is not None:
        text += f", {values['than']:.3f} to '{rule.than}'"
    text += f"; rank {values['rank']} of {values['keys']} keys, uniform attention gives {values['chance']:.3f}"
    return text if values["p"] is None else f"{text}; p {values['p']:.4f}"
