"""Options of `attncli knockout`."""

from dataclasses import dataclass

from attncli.explain_options import ExplainOptions
from attncli.options import option
from attncli.vocabulary import DIVISIONS, TOKEN_NAMES


@dataclass(frozen=True)
class KnockoutOptions(ExplainOptions):
    """Between which tokens attention is blocked, and in which layers."""

    query: str | None = option(
        "Knockout",
        f"tokens from which attention is blocked: {TOKEN_NAMES} (default: those that predict)",
        metavar="TOKENS",
    )
    window_layers: int | None = option(
        "Knockout",
        "layers that are blocked together (default: about a fifth of the layers, at least 1)",
        metavar="N",
    )
    divide: str | None = option(
        "Knockout",
        "block whole segments instead of single tokens: segment, paragraph, line or auto, as in attncli segments",
        choices=DIVISIONS,
    )
    segments: str | None = option(
        "Knockout", "JSON file of segments that are blocked (see attncli explain segments-file)", metavar="FILE"
    )
