"""The options of `patterns` alone: thresholds, baselines, and the probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from attncli.cli.options import option

PROBES = ("repeated",)


def _verdict(*names: str, **more: Any) -> Any:
    return option("Verdicts", *names, **more)


def _probe(*names: str, **more: Any) -> Any:
    return option("Probe", *names, **more)


@dataclass(frozen=True)
class VerdictOptions:
    """From where on a head bears a class, and what stands beside."""

    vertical: Annotated[float, _verdict("--vertical", metavar="SHARE", help="least sink (default: 0.3)")] = 0.3
    diagonal: Annotated[float, _verdict("--diagonal", metavar="SHARE", help="least diagonal (default: 0.3)")] = 0.3
    reach: Annotated[
        int, _verdict("--reach", metavar="N", help="how far off the diagonal it may be, in tokens (default: 1)")
    ] = 1
    local: Annotated[
        float, _verdict("--local", metavar="SHARE", help="least weight within two tokens (default: 0.5)")
    ] = 0.5
    sparse: Annotated[
        float, _verdict("--sparse", metavar="SHARE", help="below this entropy_normalized (default: 0.3)")
    ] = 0.3
    uniform: Annotated[
        float, _verdict("--uniform", metavar="SHARE", help="above this entropy_normalized (default: 0.95)")
    ] = 0.95
    block: Annotated[
        float,
        _verdict("--block", metavar="SHARE", help="least weight in the own segment beyond the uniform (default: 0.3)"),
    ] = 0.3
    shuffle_seeds: Annotated[
        int,
        _verdict("--shuffle-seeds", metavar="N", help="passes over shuffled tokens as a baseline (default: 1)"),
    ] = 1


@dataclass(frozen=True)
class ProbeOptions:
    """The test of repeated random tokens."""

    probe: Annotated[
        str | None,
        _probe("--probe", among=PROBES, help="instead of a text: random tokens r, read as BOS r r"),
    ] = None
    length: Annotated[int, _probe("--length", metavar="N", help="tokens of r (default: 50)")] = 50
    seeds: Annotated[int, _probe("--seeds", metavar="N", help="how many r are drawn (default: 3)")] = 3
