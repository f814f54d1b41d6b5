"""The whole job of `attncli compare`: two models, texts or runs to tables of differences and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attncli import store
from attncli.data import RunInfo, Selection, Text
from attncli.engine.collected import Collected
from attncli.engine.invocation import Invocation, Published, load_model
from attncli.engine.measuring import declarations
from attncli.engine.progress import Track
from attncli.studies.compare.compute import Pairs, Place, check_heads, text_pairs
from attncli.studies.compare.result import Comparison

SCHEMA = "attncli.compare/1"


@dataclass(frozen=True, eq=False)
class Other:
    """What A, which is the job itself, is compared with: the arguments of `load` or a run, and the texts of B."""

    source: Mapping[str, Any] | Collected
    texts: tuple[Text, ...] = ()

    @property
    def resolved(self) -> dict[str, Any]:
        """What of it changes the result, as plain values."""
        if isinstance(self.source, Collected):
            info = self.source.info
            return {"model": info.model, "inputs": info.input_sha256, "resolved": dict(info.resolved)}
        return {**self.source, "inputs": store.input_sha256(self.texts)}


def compare_runs(
    job: Invocation, other: Other, tables: Sequence[str], pictures: Sequence[str], track: Track
) -> tuple[Comparison, dict[str, Any], Published]:
    """Compare what a job asks for; returns what was found, the contents of compare.json, and what was written."""
    folder = job.folder  # refused before the long work
    pairs = Pairs(job.request.metrics)
    if isinstance(job.source, Collected) and isinstance(other.source, Collected):
        infos = _of_saved(job, job.source, other.source, pairs, track)
    else:
        infos = _of_models(job, other, pairs, track)
    found = pairs.result()
    info = replace(infos[0], given=dict(job.given), resolved=job.resolved, notes=found.notes)
    shown = {"heads": found.table(), "measures": found.measures_table()}
    declared = {
        name: {"unit": metric.unit, "question": metric.question}
        for name, metric in declarations(job.request.metrics).items()
        if not metric.per_key
    }
    more = {"other": store.run_document(infos[1], given=False), "metrics": declared}
    document = store.analysis_document(SCHEMA, info, more, shown)
    names = {"heads": "compare", "measures": "compare-measures"}
    store.write_analysis(folder, document, {names[name]: columns for name, columns in shown.items()}, tables)
    _draw(job, found, infos, pictures)
    return found, document, Published(folder.finish(info), info.notes)


def _of_saved(job: Invocation, one: Collected, other: Collected, pairs: Pairs, track: Track) -> tuple[RunInfo, RunInfo]:
    a, b = (run.reshaped(job.request, f"the run of {run.info.title}") for run in (one, other))
    with track("comparing", len(a.inputs), "texts") as compared:
        for mine, theirs in text_pairs(a, b, job.request.metrics):
            pairs.add(mine, theirs)
            compared(1)
    return one.info, other.info


def _of_models(job: Invocation, other: Other, pairs: Pairs, track: Track) -> tuple[RunInfo, RunInfo]:
    """Text by text, so that no more than the maps of one text are held, those of A and of B."""
    assert not isinstance(job.source, Collected)
    assert not isinstance(other.source, Collected)  # both are models, or both are runs
    a = job.load()
    b = a if dict(other.source) == dict(job.source) else load_model(other.source)
    if not job.request.combined:
        check_heads(_places(a.heads(job.request)), _places(b.heads(job.request)))
    with track("comparing", len(job.texts), "texts") as compared:
        for text, against in zip(job.texts, other.texts, strict=True):
            one, two = a.gather([text], job.request), b.gather([against], job.request)
            pairs.add(one, two)
            compared(1)
    infos = (one.info, store.input_sha256(job.texts)), (two.info, store.input_sha256(other.texts))
    first, second = (replace(info, input_sha256=sha256) for info, sha256 in infos)
    return first, second


def _places(heads: Selection) -> list[Place]:
    return [(kind, layer, head) for (kind, layer), numbers in heads.items() for head in numbers]


def _draw(job: Invocation, found: Comparison, infos: tuple[RunInfo, RunInfo], formats: Sequence[str]) -> None:
    from attncli.plotting.render import render
    from attncli.studies.compare import figures as comparison

    names = tuple(map(_name, infos)) if infos[0].title == infos[1].title else tuple(info.title for info in infos)
    figure = comparison.draw(found, names=(names[0], names[1]))
    if figure is None:
        return
    for format in formats:
        data = render(figure, format, description=f"{names[0]} {names[1]} compare")
        job.folder.write_bytes(f"compare.{format}", data)


def _name(info: RunInfo) -> str:
    """The model with what may tell it from itself."""
    return " ".join([info.title, *([info.revision] if info.revision else []), info.dtype])
