"""Options of `attncli patterns --probe repeated`."""

from dataclasses import dataclass

from attncli.options import StudyOptions, option
from attncli.vocabulary import PROBE_LENGTH, PROBE_SEEDS, PROBES


@dataclass(frozen=True)
class RepeatedOptions(StudyOptions):
    """The probe of repeated tokens, BOS r r; the seeds 0, 1, … draw one sequence r each, or r is a passage."""

    probe: str | None = option("Probe", "tokens r, read as BOS r r, instead of a text", choices=PROBES)
    length: int = option("Probe", "number of random tokens of r", metavar="N", default=PROBE_LENGTH)
    sequences: int = option(
        "Probe",
        "number of sequences r, drawn with the seeds 0, 1, …",
        metavar="N",
        default=PROBE_SEEDS,
        former=("--seeds",),
    )
    probe_text: list[str] | None = option(
        "Probe", "a passage of yours as r, or @FILE for one in a file; may be repeated", metavar="TEXT"
    )

    @property
    def reads_texts(self) -> bool:
        return self.probe is None

    @property
    def predicts_tokens(self) -> bool:
        return self.probe is not None
