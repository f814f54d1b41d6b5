"""Options of `attncli patterns --probe repeated`."""

from dataclasses import dataclass

from attncli.options import StudyOptions, option
from attncli.vocabulary import PROBE_LENGTH, PROBE_SEEDS, PROBES


@dataclass(frozen=True)
class RepeatedOptions(StudyOptions):
    """The probe of repeated random tokens, BOS r r; the seeds 0, 1, … draw one sequence r each."""

    probe: str | None = option("Probe", "random tokens r, read as BOS r r, instead of a text", choices=PROBES)
    length: int = option("Probe", "number of tokens of r", metavar="N", default=PROBE_LENGTH)
    sequences: int = option(
        "Probe",
        "number of sequences r, drawn with the seeds 0, 1, …",
        metavar="N",
        default=PROBE_SEEDS,
        former=("--seeds",),
    )

    @property
    def reads_texts(self) -> bool:
        return self.probe is None
