"""Where results come from: the model, the versions, the options and the input of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attncli.data.described import Described, counted
from attncli.data.grouped_heads import GroupedHeads
from attncli.data.kinds import KindNames
from attncli.paths import model_title
from attncli.wording import spelled

FORMAT = 1


@dataclass(frozen=True, repr=False)
class RunInfo(Described):
    """The model, versions, options and input of a run, and its layers of grouped heads; written into every output."""

    model: str
    revision: str | None = None
    cls: str = ""
    architecture: str = ""
    dtype: str = "float32"
    device: str = "cpu"
    capture: str = ""
    tokenizer: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int | None = None
    input_sha256: str = ""
    format: int = FORMAT
    grouped_heads: Sequence[Mapping[str, Any]] = ()

    @property
    def kinds(self) -> KindNames:
        """What titles call the kinds of attention; maps of other tools claim none, unless the user named it."""
        return KindNames(self.cls != "file" or _names_kind(self.resolved), GroupedHeads.of(self.grouped_heads))

    def captions(self, note: str = "") -> dict[str, Any]:
        """Return the arguments `model`, `note` and `kinds` of the functions that draw pictures."""
        return {"model": self.title, "note": note, "kinds": self.kinds}

    @property
    def title(self) -> str:
        """The model name for figures, with the edits of its attention; of a path only the last part.

        >>> RunInfo("google-bert/bert-base-uncased").title, RunInfo("/home/me/runs/bert/model").title
        ('google-bert/bert-base-uncased', 'model')
        """
        name = model_title(self.model)
        return f"{name} ({', '.join(self.edits)})" if self.edits else name

    @property
    def edits(self) -> tuple[str, ...]:
        """The edits of its attention, a line for each, such as `zero 3.1`."""
        options: Any = self.resolved
        while isinstance(options.get("from"), Mapping):  # a saved run
            options = options["from"]
        return tuple(options.get("edits", ()))

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(map(spelled, self.notes)))
        object.__setattr__(self, "grouped_heads", tuple(self.grouped_heads))

    def _lines(self) -> Iterable[str]:
        parts = [self.cls, f"{self.dtype} on {self.device}", self.capture and f"capture {self.capture}"]
        yield f"RunInfo of {self.title}: {', '.join(filter(None, parts))}"
        if self.notes:
            yield f"{counted(len(self.notes), 'note')}: {self.notes[0]}"


def _names_kind(resolved: Mapping[str, Any]) -> bool:
    """Return whether the options of a run, or of the run that it was read from, name a kind of attention."""
    origin = resolved.get("from")
    return bool(resolved.get("kind") or resolved.get("kinds") or (isinstance(origin, Mapping) and _names_kind(origin)))
