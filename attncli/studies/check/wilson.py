"""Wilson confidence interval of a proportion."""

from __future__ import annotations

import math

NORMAL_95 = 1.959963984540054


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the ends of the 95 % confidence interval of a proportion.

    Formula   (k + z²/2 ± z sqrt(k (n - k) / n + z²/4)) / (n + z²), z = 1.96
    Unit      1, from 0 to 1; (0, 1) for no trials
    Caveat    Cases of one template are not independent of each other: then the true interval is wider.
    Source    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if trials == 0:
        return 0.0, 1.0
    z = NORMAL_95
    center = successes + z * z / 2
    half_width = z * math.sqrt(successes * (trials - successes) / trials + z * z / 4)
    low, high = (center - half_width) / (trials + z * z), (center + half_width) / (trials + z * z)
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
