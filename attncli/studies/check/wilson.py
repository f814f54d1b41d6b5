"""How sure a share of few cases is."""

from __future__ import annotations

import math

NORMAL_95 = 1.959963984540054


def wilson(held: int, of: int) -> tuple[float, float]:
    """Between which rates is the true one, if `held` of so many independent cases held?

    Formula   (k + z²/2 ± z sqrt(k (n - k) / n + z²/4)) / (n + z²), z = 1.96: the 95 % interval of Wilson
    Unit      1, from 0 to 1; (0, 1) of no case
    Caveat    Cases of one template are not independent of each other: then the truth is less sure than this.
    Source    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if of == 0:
        return 0.0, 1.0
    z = NORMAL_95
    middle = held + z * z / 2
    reach = z * math.sqrt(held * (of - held) / of + z * z / 4)
    low, high = (middle - reach) / (of + z * z), (middle + reach) / (of + z * z)
    return (0.0 if held == 0 else low), (1.0 if held == of else high)
