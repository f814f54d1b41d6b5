"""Option of infidelity and sensitivity."""

from dataclasses import dataclass

from attncli.options import option


@dataclass(frozen=True)
class RobustnessOptions:
    """Whether infidelity and sensitivity are measured."""

    robustness: bool = option(
        "Faithfulness",
        'also infidelity and maximal sensitivity by Captum; needs pip install "attncli[attribution]"',
        default=False,
    )
