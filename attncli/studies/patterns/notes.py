"""What a reader of `patterns` should know: texts that are too short, special tokens, baselines that are undefined."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from attncli.data import MIN_QUERIES
from attncli.studies.patterns.result import CLASSES, Patterns


def pattern_notes(result: Patterns) -> tuple[str, ...]:
    """Return the notes on the classes of the heads and on their baselines."""
    return tuple(_notes(result))


def _notes(result: Patterns) -> Iterator[str]:
    if result.too_short == CLASSES:
        yield f"texts of fewer than {MIN_QUERIES} tokens are too short to tell what a head does: it has no class"
    elif result.too_short:
        yield (
            f"the texts are too short to tell {' or '.join(result.too_short)}, which uniform weights nearly are: "
            "no head has these classes; give longer texts"
        )
    if result.without_special:
        yield _special_note(result)
    if np.isnan(result.baselines["positional"]["sink"].values).all():
        yield (
            "the positional baseline and rigidity are undefined: they are learned from the other texts, as a text "
            "explains itself; give several texts"
            if result.is_of_one_text
            else "the positional baseline is undefined: rows see keys with gaps between them"
        )


def _special_note(result: Patterns) -> str:
    """Return how much attention special tokens take, and which classes change if they are left out."""
    share = float(np.nanmean(result.heads["special_mass"].values))
    before, after = (_counts(classes) for classes in (result.classes, result.without_special))
    changes = [f"{name} {before[name]} to {after[name]}" for name in CLASSES if before[name] != after[name]]
    changed = sum(set(a) != set(b) for a, b in zip(result.classes, result.without_special, strict=True))
    heads = f"gives {changed} of {len(result.verdicts)} heads other classes" if changed else "changes no class"
    return (
        f"special tokens take {share:.0%} of the attention; --special drop --words leaves them out and {heads}"
        f"{': ' if changes else ''}{', '.join(changes)}"
    )


def _counts(classes: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(name for of_head in classes for name in of_head)
