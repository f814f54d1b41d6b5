"""Options of the agreement between methods."""

from dataclasses import dataclass

from attncli.options import option


@dataclass(frozen=True)
class AgreementOptions:
    """How many of the first units are compared."""

    top: int | None = option(
        "Faithfulness", "first units of two methods whose overlap is counted (default: 10 % of them)", metavar="N"
    )
