"""The classes of heads: for each a rule, which says how clearly a head bears it.

Each takes a head's numbers by name and the thresholds, and gives None where the head does not bear the class, else how
far it is beyond the threshold, from 0 (just there) to 1 (as far as can be).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping

from attncli.studies.patterns.result import CLASSES, Thresholds

Numbers = Mapping[str, float]
Rule = Callable[[Numbers, Thresholds], float | None]
UNIFORM_SEGMENT = "segment_mass_uniform"


def vertical(of: Numbers, at: Thresholds) -> float | None:
    """Does every token look at the same key?

    Verdict   sink >= 0.3 (--vertical): the key that gets most has at least this share of every row
    Looks     a bright column: often [CLS], [SEP], the first token of a decoder, or punctuation
    Numbers   sink, and sink_position, the key (attncli explain sink)
    Caveat    Often a way to look at nothing. Uniform attention reaches it in texts of three tokens, in causal ones
              of nine: sink_uniform says what it has.
    Source    Kovaleva et al. 2019, "Revealing the Dark Secrets of BERT"; the threshold is that of Gu et al. 2024
    """
    return _above(of["sink"], at.vertical)


def diagonal(of: Numbers, at: Thresholds) -> float | None:
    """Does every token look at the same offset?

    Verdict   diagonal >= 0.3 (--diagonal) with diagonal_offset -1, 0 or +1 (--reach 1)
    Looks     a bright diagonal: the previous token (-1), itself (0) or the next one (+1)
    Numbers   diagonal and diagonal_offset (attncli explain diagonal)
    Caveat    Over several texts the offset is the mean of theirs; diagonal_offset_std says how they differ.
    Source    Kovaleva et al. 2019; Voita et al. 2019 call such heads positional
    """
    return _above(of["diagonal"], at.diagonal) if abs(of["diagonal_offset"]) <= at.reach + 0.5 else None


def local(of: Numbers, at: Thresholds) -> float | None:
    """Does every token look at its neighbourhood, without one place in it?

    Verdict   local_mass >= 0.5 (--local), the weight within two tokens, and diagonal < 0.3 (--diagonal) at any offset
    Looks     a broad band around the diagonal
    Numbers   local_mass and diagonal (attncli explain local_mass)
    Caveat    Uniform attention reaches it in texts of up to nine tokens: local_mass_uniform says what it has.
    Source    Clark et al. 2019, "What Does BERT Look At?"; Kovaleva et al. 2019
    """
    return None if of["diagonal"] >= at.diagonal else _above(of["local_mass"], at.local)


def block(of: Numbers, at: Thresholds) -> float | None:
    """Do tokens look at their own segment: text a or b of a pair, their role in a chat?

    Verdict   segment_mass - segment_mass_uniform >= 0.3 (--block): the mean weight within the segment of a token,
              beyond what uniform attention has there
    Looks     bright squares along the diagonal
    Numbers   segment_mass and segment_mass_uniform; undefined where a text has fewer than two segments
    Caveat    Special tokens belong to no segment, and all turns of a role to one. Local heads are block heads too
              where segments are long.
    Source    Kovaleva et al. 2019
    """
    return _above(of["segment_mass"] - of[UNIFORM_SEGMENT], at.block)


def sparse(of: Numbers, at: Thresholds) -> float | None:
    """Does each token look at few others, in no pattern that position explains?

    Verdict   entropy_normalized < 0.3 (--sparse), and neither vertical, diagonal nor local
    Looks     single bright cells: the place for heads that look for meaning or syntax
    Numbers   entropy_normalized (attncli explain entropy_normalized)
    Caveat    Also heads that look at one offset further away than --reach.
    Source    the heterogeneous heads of Kovaleva et al. 2019, those of them that are focused
    """
    if any(rule(of, at) is not None for rule in (vertical, diagonal, local)):
        return None
    gap = at.sparse - of["entropy_normalized"]
    return gap / at.sparse if gap > 0 else None


def uniform(of: Numbers, at: Thresholds) -> float | None:
    """Does each token look at everything alike?

    Verdict   entropy_normalized > 0.95 (--uniform)
    Looks     one even colour
    Numbers   entropy_normalized (attncli explain entropy_normalized)
    Caveat    The head averages over the text; it need not be useless.
    Source    the broad heads of Clark et al. 2019
    """
    gap = of["entropy_normalized"] - at.uniform
    return gap / (1 - at.uniform) if gap > 0 else None


def mixed(of: Numbers, at: Thresholds) -> float | None:
    """Does the head bear none of the other classes?

    Verdict   no other class, though its numbers are defined
    Looks     several patterns at once, or one that is faint
    Numbers   all of them: how far each is from its threshold
    Caveat    A class of what is left over: such heads need not be alike.
    Source    Kovaleva et al. 2019, whose mixed class is vertical and diagonal together: ours bears both names
    """
    if any(RULES[name](of, at) is not None for name in CLASSES if name != "mixed"):
        return None
    reached = [of["sink"] / at.vertical, of["diagonal"] / at.diagonal, of["local_mass"] / at.local]
    known = [share for share in reached if not math.isnan(share)]
    return max(0.0, 1 - max(known)) if known else None


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (vertical, diagonal, local, block, sparse, uniform, mixed)}


def questions() -> dict[str, str]:
    """What each class asks of a head."""
    return {name: page.splitlines()[0] for name, page in pages().items()}


def pages() -> dict[str, str]:
    """The reference page of each class."""
    return {name: inspect.getdoc(rule) or "" for name, rule in RULES.items()}


def verdicts(of: Numbers, at: Thresholds) -> dict[str, float]:
    """The classes that a head bears, the clearest first, and how clearly: 0 just there, 1 as far as can be."""
    found = {name: rule(of, at) for name, rule in RULES.items()}
    borne = {name: clearly for name, clearly in found.items() if clearly is not None}
    return dict(sorted(borne.items(), key=lambda item: -item[1]))


def _above(value: float, threshold: float) -> float | None:
    if not value >= threshold:
        return None
    return min(1.0, (value - threshold) / (1 - threshold)) if threshold < 1 else 1.0
