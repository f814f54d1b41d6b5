"""The classes of heads: the rules that `patterns` and `check` share.

Each class has a rule. It takes the numbers of a head by name and the thresholds. It returns None if the head does not
belong to the class, else its strength: from 0, just beyond the limit, to 1, the largest possible value.
"""

import inspect
import math
from collections.abc import Callable, Mapping

from attncli.data import MIN_QUERIES
from attncli.studies.patterns.options import Thresholds
from attncli.studies.patterns.result import CLASS_NUMBERS, CLASSES
from attncli.vocabulary import HIGHEST_LIMIT

HeadNumbers = Mapping[str, float]
"""The numbers of a head by name; those of uniform attention end in `_uniform`.

`tokens` is the number of query tokens of a text, `diagonal_offset_share` the share of texts with this offset.
"""
Rule = Callable[[HeadNumbers, Thresholds], float | None]
BEYOND_UNIFORM = ("vertical", "diagonal", "local")
"""Classes of which a head must have more than uniform attention, by --margin."""
UNIFORM_NUMBERS = tuple(CLASS_NUMBERS[name] for name in (*BEYOND_UNIFORM, "block"))
"""The numbers of uniform attention that the rules need."""
LEAST_SHARE = 0.5
"""Least share of the rows that see the key of a vertical head, and of the texts with the offset of a diagonal one."""


def vertical(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does every token attend to the same key?

    Rule      sink >= 0.3 (--vertical) and >= sink_uniform + 0.2 (--margin): the strongest key receives at least this
              share of the rows, clearly more than under uniform attention; and at least half of the rows see it
              (sink_rows >= 0.5)
    Picture   a bright column
    Numbers   sink, sink_uniform, sink_rows, and sink_key: which key it is, [CLS], [SEP], <s> and other special tokens
              by name, else first token, full stop, comma or other (of several texts the most frequent)
    Too short fewer than 5 tokens, or sink_uniform above 0.6: causal texts of three tokens
    Caveat    Often a way to attend to nothing: special tokens have no meaning of their own. --special drop leaves
              them out.
    Source    Kovaleva et al. 2019, "Revealing the Dark Secrets of BERT"; the threshold is that of Gu et al. 2024
    """
    if not numbers["sink_rows"] >= LEAST_SHARE:
        return None
    return _above(numbers["sink"], least_value("vertical", numbers, thresholds))


def diagonal(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does every token attend to the same offset?

    Rule      diagonal >= 0.3 (--diagonal) and >= diagonal_uniform + 0.2 (--margin), with diagonal_offset -1, 0 or +1
              (--reach 1); of several texts at least half have this offset
    Picture   a bright diagonal: the previous token (-1), itself (0) or the next one (+1)
    Numbers   diagonal, diagonal_uniform, diagonal_offset (attncli explain diagonal), and of several texts
              diagonal_offset_share
    Too short fewer than 5 tokens, or diagonal_uniform above 0.6
    Caveat    Over several texts the offset is the most frequent one; it is never a mean. Equal offsets: see attncli
              explain diagonal_offset.
    Source    Kovaleva et al. 2019; Voita et al. 2019 call such heads positional
    """
    is_near = abs(numbers["diagonal_offset"]) <= thresholds.reach
    if not is_near or numbers.get("diagonal_offset_share", 1.0) < LEAST_SHARE:
        return None
    return _above(numbers["diagonal"], least_value("diagonal", numbers, thresholds))


def local(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does every token attend to its neighbours, without one dominant offset?

    Rule      local_mass >= 0.5 (--local) and >= local_mass_uniform + 0.2 (--margin), the weight within two tokens, and
              diagonal < 0.3 (--diagonal) at any offset
    Picture   a broad band around the diagonal
    Numbers   local_mass, local_mass_uniform and diagonal (attncli explain local_mass)
    Too short fewer than 5 tokens, or local_mass_uniform above 0.6: texts of up to 6 tokens, causal ones of up to 10
    Caveat    In a text of 9 tokens uniform attention alone has 0.48, which is why the margin counts.
    Source    Clark et al. 2019, "What Does BERT Look At?"; Kovaleva et al. 2019
    """
    if numbers["diagonal"] >= thresholds.diagonal:
        return None
    return _above(numbers["local_mass"], least_value("local", numbers, thresholds))


def block(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Do tokens attend to their own segment: text a or b of a pair, their role in a chat?

    Rule      segment_mass - segment_mass_uniform >= 0.3 (--block): mean weight within the segment of a token,
              beyond that of uniform weights
    Picture   bright squares along the diagonal
    Numbers   segment_mass and segment_mass_uniform; undefined if a text has fewer than two segments
    Too short fewer than 5 tokens
    Caveat    Special tokens belong to no segment, and all turns of a role to one. Local heads are block heads too
              if segments are long.
    Source    Kovaleva et al. 2019
    """
    return _above(numbers["segment_mass"] - numbers["segment_mass_uniform"], thresholds.block)


def sparse(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does each token attend to few others, in a pattern that position does not explain?

    Rule      entropy_normalized < 0.5 (--sparse), diagonal < 0.3 (--diagonal) at any offset, and neither vertical nor
              local
    Picture   single bright cells: here are heads that depend on meaning or syntax
    Numbers   entropy_normalized (attncli explain entropy_normalized)
    Too short where the text is too short to tell whether the head is vertical, diagonal or local
    Caveat    Many heads that attend by content rest on a special token elsewhere, and are vertical: --special drop
              shows them. The threshold is that of known heads: the alignment heads of demo:seq2seq have 0.20 to 0.29,
              the induction heads of demo:decoder 0.25 to 0.38 on a repeated text with --special drop. A head that finds
              its key in single rows only, as head 3.1 of all-MiniLM-L6-v2 for pronouns, is not sparse.
    Source    the focused ones of the heterogeneous heads of Kovaleva et al. 2019
    """
    is_positional = numbers["diagonal"] >= thresholds.diagonal
    if is_positional or any(rule(numbers, thresholds) is not None for rule in (vertical, local)):
        return None
    gap = thresholds.sparse - numbers["entropy_normalized"]
    return gap / thresholds.sparse if gap > 0 else None


def uniform(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does each token attend to all keys equally?

    Rule      entropy_normalized > 0.95 (--uniform)
    Picture   one colour
    Numbers   entropy_normalized (attncli explain entropy_normalized)
    Too short fewer than 5 tokens
    Caveat    Such a head averages over the text; it need not be useless.
    Source    the broad heads of Clark et al. 2019
    """
    gap = numbers["entropy_normalized"] - thresholds.uniform
    return gap / (1 - thresholds.uniform) if gap > 0 else None


def mixed(numbers: HeadNumbers, thresholds: Thresholds) -> float | None:
    """Does the head belong to no other class?

    Rule      no other class, though its numbers are defined
    Picture   several patterns at once, or a faint one
    Numbers   all of them
    Too short where the text is too short to tell whether the head is vertical, diagonal or local
    Caveat    This class contains all other heads: they can be very different.
    Source    Kovaleva et al. 2019, whose mixed heads are vertical and diagonal: here they have both classes
    """
    if any(RULES[name](numbers, thresholds) is not None for name in CLASSES if name != "mixed"):
        return None
    limits = {"sink": thresholds.vertical, "diagonal": thresholds.diagonal, "local_mass": thresholds.local}
    reached = [numbers[name] / limit for name, limit in limits.items() if not math.isnan(numbers[name])]
    return max(0.0, 1 - max(reached)) if reached else None


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (vertical, diagonal, local, block, sparse, uniform, mixed)}


def questions() -> dict[str, str]:
    """Return the question that each class answers."""
    return {name: page.splitlines()[0] for name, page in pages().items()}


def pages() -> dict[str, str]:
    """Return the reference page of each class."""
    return {name: inspect.getdoc(rule) or "" for name, rule in RULES.items()}


def verdicts(numbers: HeadNumbers, thresholds: Thresholds) -> dict[str, float]:
    """Return the classes of a head with their strength from 0 to 1, strongest first."""
    untold = too_short(numbers, thresholds)
    strengths = {name: rule(numbers, thresholds) for name, rule in RULES.items() if name not in untold}
    classes = {name: strength for name, strength in strengths.items() if strength is not None}
    return dict(sorted(classes.items(), key=lambda item: -item[1]))


def too_short(numbers: HeadNumbers, thresholds: Thresholds) -> tuple[str, ...]:
    """Return the classes that the texts are too short to tell, because uniform attention comes too close to them."""
    if numbers["tokens"] < MIN_QUERIES:
        return CLASSES
    names = [
        name for name in BEYOND_UNIFORM if numbers[f"{CLASS_NUMBERS[name]}_uniform"] + thresholds.margin > HIGHEST_LIMIT
    ]
    return (*names, "sparse", "mixed") if names else ()


def least_value(name: str, numbers: HeadNumbers, thresholds: Thresholds) -> float:
    """Return the least value that the number of a class of `BEYOND_UNIFORM` needs.

    It is the threshold of the class, or that of uniform attention plus the margin if this is more.
    """
    threshold: float = getattr(thresholds, name)
    beyond_uniform = numbers[f"{CLASS_NUMBERS[name]}_uniform"] + thresholds.margin
    return threshold if math.isnan(beyond_uniform) else max(threshold, beyond_uniform)


def _above(value: float, limit: float) -> float | None:
    if not value >= limit:
        return None
    return min(1.0, (value - limit) / (1 - limit)) if limit < 1 else 1.0
