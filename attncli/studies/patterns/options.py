"""Options of `attncli patterns`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import PROBES


@dataclass(frozen=True)
class PatternsOptions:
    """From where on a head bears a class, and what stands beside."""

    vertical: Annotated[float, Option("Classes", "--vertical", metavar="SHARE", help="least sink (default: 0.3)")] = 0.3
    diagonal: Annotated[
        float, Option("Classes", "--diagonal", metavar="SHARE", help="least diagonal (default: 0.3)")
    ] = 0.3
    reach: Annotated[
        int,
        Option("Classes", "--reach", metavar="N", help="how far off the diagonal it may be, in tokens (default: 1)"),
    ] = 1
    local: Annotated[
        float, Option("Classes", "--local", metavar="SHARE", help="least weight within two tokens (default: 0.5)")
    ] = 0.5
    sparse: Annotated[
        float, Option("Classes", "--sparse", metavar="SHARE", help="below this entropy_normalized (default: 0.3)")
    ] = 0.3
    uniform: Annotated[
        float, Option("Classes", "--uniform", metavar="SHARE", help="above this entropy_normalized (default: 0.95)")
    ] = 0.95
    block: Annotated[
        float,
        Option(
            "Classes",
            "--block",
            metavar="SHARE",
            help="least weight in the own segment beyond the uniform (default: 0.3)",
        ),
    ] = 0.3
    shuffle_seeds: Annotated[
        int,
        Option(
            "Classes", "--shuffle-seeds", metavar="N", help="passes over shuffled tokens as a baseline (default: 1)"
        ),
    ] = 1


@dataclass(frozen=True)
class ProbeOptions:
    """The test of repeated random tokens."""

    probe: Annotated[
        str | None,
        Option("Probe", "--probe", choices=PROBES, help="instead of a text: random tokens r, read as BOS r r"),
    ] = None
    length: Annotated[int, Option("Probe", "--length", metavar="N", help="tokens of r (default: 50)")] = 50
    seeds: Annotated[int, Option("Probe", "--seeds", metavar="N", help="how many r are drawn (default: 3)")] = 3
