"""Options of `attncli knockout`."""

from dataclasses import dataclass

from attncli.explain_options import ExplainPartsOptions
from attncli.options import option
from attncli.vocabulary import TOKEN_NAMES


@dataclass(frozen=True)
class KnockoutOptions(ExplainPartsOptions):
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
