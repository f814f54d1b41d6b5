"""Evidence that a softmax of a module is attention: what it is computed from, and what is multiplied by its weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from attncli.capturing.intercept import CallKey

Tensor = torch.Tensor


@dataclass(eq=False)
class Evidence:
    """The softmax calls of a pass whose scores are products, and those whose weights multiply other numbers.

    scored      calls right before which a product of as many numbers was computed
    multiplied  calls whose unchanged weights are the left factor of a product, as [..., query, key]
    """

    scored: set[CallKey] = field(default_factory=set)
    multiplied: set[CallKey] = field(default_factory=set)
    _scores: int = 0

    def note_softmax(self, key: CallKey, weights: Tensor) -> None:
        """Store whether the latest product may be the scores of a softmax."""
        if self._scores == weights.numel():
            self.scored.add(key)
        self._scores = 0

    def note_product(
        self, key: CallKey | None, operands: Sequence[object], same: Sequence[bool], product: Tensor
    ) -> None:
        """Store a product.

        key   the latest softmax
        same  for each operand, whether it is the weights of that softmax
        """
        if key is None or not any(same):
            self._scores = product.numel()
            return
        self._scores = 0
        equation = operands[0]
        factor = list(same).index(True)
        if _reads_rows(equation, factor - 1) if isinstance(equation, str) else factor == 0:
            self.multiplied.add(key)


def _reads_rows(equation: str, factor: int) -> bool:
    """Return whether an einsum of two factors sums over the last axis of one, and its last axis but one are rows.

    >>> _reads_rows("b h i j, b h j d -> b h i d", 0), _reads_rows("bhij,bhid->bhjd", 0), _reads_rows("bij,bjd", 0)
    (True, False, False)
    """
    given, arrow, result = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    if not arrow or len(terms) != 2:
        return False
    weights, other = terms[factor], terms[1 - factor]
    if len(weights) < 2:
        return False
    row, key = weights[-2], weights[-1]
    return key in other and key not in result and row in result and row not in other
