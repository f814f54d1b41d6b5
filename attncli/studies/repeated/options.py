"""Options of `attncli patterns --probe repeated`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import PROBE_LENGTH, PROBE_SEEDS, PROBES


@dataclass(frozen=True)
class RepeatedOptions:
    """The probe of repeated random tokens, BOS r r; the seeds 0, 1, … draw one r each."""

    probe: Annotated[
        str | None,
        Option("Probe", "--probe", choices=PROBES, help="random tokens r, read as BOS r r, instead of a text"),
    ] = None
    length: Annotated[
        int, Option("Probe", "--length", metavar="N", help=f"number of tokens of r (default: {PROBE_LENGTH})")
    ] = PROBE_LENGTH
    seeds: Annotated[
        int, Option("Probe", "--seeds", metavar="N", help=f"number of sequences r (default: {PROBE_SEEDS})")
    ] = PROBE_SEEDS
