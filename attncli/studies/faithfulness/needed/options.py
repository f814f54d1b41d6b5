"""Options of the part `needed`: is this attention needed?"""

from dataclasses import dataclass

from attncli.options import option
from attncli.vocabulary import ADVERSARIAL_STEPS, EPSILON, PERMUTATIONS


@dataclass(frozen=True)
class NeededOptions:
    """How the weights of the chosen heads are changed to see whether the prediction needs them."""

    needed: bool = option(
        "Is attention needed",
        "change the weights of the heads of --layer and --head, all by default: permuted, uniform, and adversarial. "
        "Takes about 400 passes for each text; the options below imply it",
        default=False,
    )
    permutations: int = option(
        "Is attention needed", "random orders of the weights of each query", metavar="N", default=PERMUTATIONS
    )
    adversarial_steps: int = option(
        "Is attention needed",
        "steps by which weights as far as possible from those of the model are looked for; 0 leaves them out",
        metavar="N",
        default=ADVERSARIAL_STEPS,
    )
    epsilon: float = option(
        "Is attention needed",
        "largest total variation distance of an output that counts as nearly the same",
        metavar="NUMBER",
        default=EPSILON,
    )
    seed_models: str | None = option(
        "Is attention needed",
        "models of the same shape that were trained from other seeds, with commas: how much training varies is the "
        "yardstick",
        metavar="MODELS",
    )

    @property
    def wants_needed(self) -> bool:
        """Whether the part runs: by its flag, or by another of its options."""
        default = NeededOptions()
        return self.needed or any(getattr(self, name) != value for name, value in vars(default).items())

    @property
    def seed_names(self) -> tuple[str, ...]:
        """The names of the models of other seeds without repetition."""
        return tuple(dict.fromkeys(name.strip() for name in (self.seed_models or "").split(",") if name.strip()))
