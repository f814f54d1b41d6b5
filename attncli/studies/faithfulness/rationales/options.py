"""Options of the comparison with people's rationales."""

from dataclasses import dataclass

from attncli.options import option


@dataclass(frozen=True)
class RationaleOptions:
    """What people named as the reasons for predictions."""

    rationales: str | None = option(
        "Faithfulness",
        "JSON Lines file with the spans of each text that people named, as 'rationale': compare methods with them "
        "(see attncli explain rationales-file)",
        metavar="FILE",
    )
