"""The part `needed`: is the attention of chosen heads needed for the predictions?"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.progress import Advance
from attncli.engine.report import Drawing
from attncli.errors import UsageError
from attncli.studies.faithfulness.needed.compute import MeasuredText
from attncli.studies.faithfulness.needed.result import Needed
from attncli.studies.faithfulness.protocol import Part
from attncli.studies.faithfulness.text import StudiedText

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.engine.runner import Runner

_log = logging.getLogger("attncli")
_MANY_PASSES = 10_000


@dataclass(frozen=True)
class NeededPart(Part):
    """How predictions change with permuted, uniform and adversarial attention.

    seeds  models that were trained from other seeds
    """

    seeds: tuple[Runner, ...] = ()
    name = "needed"

    @property
    def is_wanted(self) -> bool:
        return self.options.wants_needed

    def check(self, request: Request) -> None:
        for name, least in (("permutations", 1), ("adversarial_steps", 0)):
            value = getattr(self.options, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"expected --{name.replace('_', '-')} as a number from {least} up, got {value!r:.60}")
        epsilon = self.options.epsilon
        if not isinstance(epsilon, int | float) or isinstance(epsilon, bool) or not 0 < epsilon < 1:
            raise UsageError(f"expected --epsilon as a number between 0 and 1, got {epsilon!r:.60}")
        if self.options.seed_models is not None and not self.options.seed_names:
            raise UsageError("--seed-models is empty: give the names of models, with commas")

    def begin(self, execution: Execution) -> Self:
        """Return the part with the models of other seeds; say what it costs if that is much."""
        options, texts = self.options, len(execution.texts)
        passes = texts * (options.permutations + 3 * options.adversarial_steps)
        if passes > _MANY_PASSES:
            _log.warning(
                "%s texts take about %s passes: fewer --permutations or --adversarial-steps take less time",
                *(f"{texts:,}", f"{passes:,}"),
            )
        if not options.seed_names:
            return self
        from attncli.studies.faithfulness.needed.seed_models import load_seed_models

        return replace(self, seeds=load_seed_models(execution, options.seed_names))

    def measure(self, text: StudiedText, advance: Advance) -> Mapping[str, Any]:
        return MeasuredText(text.predictions, self.options).values(self.seeds, advance)

    def result(self, measured: Sequence[Mapping[str, Any]]) -> Needed:
        from attncli.studies.faithfulness.needed.compute import needed_result

        return needed_result(measured, self.options)

    def drawings(self, result: Needed, captions: Mapping[str, Any]) -> Iterable[Drawing]:
        # imported here: matplotlib takes long to load
        from attncli.studies.faithfulness.needed import figures

        # points are single texts, no means as in other pictures
        model = captions["model"]
        yield Drawing("faithfulness-permuted", partial(figures.draw_permuted, result, model=model))
        yield Drawing("faithfulness-adversarial", partial(figures.draw_adversarial, result, model=model))

    def terminal(self, result: Needed) -> Iterable[RenderableType]:
        from attncli.studies.faithfulness.needed.terminal import needed_table

        yield needed_table(result)
