"""`attncli patterns`: what each head does."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from attncli.cli.console import CommandConsole, command_console
from attncli.cli.groups.patterns import PROBES, ProbeOptions, VerdictOptions
from attncli.cli.invocations import Groups, job_of
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from attncli.studies.patterns.job import Asked


def patterns(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    verdict: VerdictOptions,
    probed: ProbeOptions,
) -> None:
    """Say what each head does.

    The classes are vertical, diagonal, local, block, sparse, uniform and mixed; a head can bear several (see attncli
    explain vertical, and so on). Beside each number stands what uniform attention gives, what position alone gives,
    and what the head does with the same tokens shuffled. Writes patterns.json, patterns.csv, patterns-layers.csv (how
    much the heads of each layer differ), the pictures patterns.png and patterns-examples.png (the clearest head of each
    class), and with --layer KIND-L03-patterns.png (the heads of a layer side by side). In a pipe, prints patterns.csv;
    with --json patterns.json.

    With --probe repeated, no text is needed: which heads look at the previous token, at where the same token stood, or
    at what came after it (attncli explain induction) is told by random tokens that come twice. Writes repeated.json,
    repeated.csv and repeated.png.

    Example: attncli patterns --text "The cat sat on the mat because it was warm." --layer 1
    """
    with command_console(talk) as say:
        groups = (model, texts, selection, files, again)
        if probed.probe is None:
            if extra := typed(probed):
                raise UsageError(f"--{next(iter(extra))} says how --probe works, which is not given")
            _classify(say, groups, verdict)
        else:
            _probe(say, groups, verdict, probed)


def _classify(say: CommandConsole, groups: Groups, verdict: VerdictOptions) -> None:
    from attncli.store import json_text, table_csv
    from attncli.studies.patterns.job import classify
    from attncli.studies.patterns.result import Thresholds
    from attncli.studies.patterns.terminal import verdict_tables

    _, _, selection, files, again = groups
    more: dict[str, Any] = asdict(verdict)
    if again.from_ is not None:
        if "shuffle-seeds" in typed(verdict):
            raise UsageError("--shuffle-seeds runs the model on shuffled tokens, and --from has none: leave it out")
        more["shuffle_seeds"] = 0
    seeds = more["shuffle_seeds"]
    thresholds = Thresholds(**{name: value for name, value in more.items() if name != "shuffle_seeds"})
    asked = _asked(files, thresholds, seeds, selection.layer is not None)
    more |= {"format": (*asked.formats, *asked.pictures), "layered": asked.layered}
    job = job_of("patterns", groups, typed(verdict), more, {})
    found, document, done = classify(job, asked, say.track)
    say.notes(done.notes)
    say.result(
        lambda: json_text(document), lambda: table_csv(found.table()), lambda: verdict_tables(found), job.folder.written
    )


def _probe(say: CommandConsole, groups: Groups, verdict: VerdictOptions, probed: ProbeOptions) -> None:
    from attncli.store import json_text, table_csv
    from attncli.studies.patterns.job import probe
    from attncli.studies.patterns.terminal import probe_tables

    _, texts, _, files, again = groups
    if probed.probe not in PROBES:
        raise UsageError(f"unknown --probe '{probed.probe}': {did_you_mean(str(probed.probe), PROBES)}")
    if again.from_ is not None:
        raise UsageError("--probe runs a model on tokens of its own, and --from has none: leave one of them out")
    wrong = [name for name in typed(texts, verdict) if name != "batch-tokens"]
    wrong += ["save-maps"] if files.save_maps else []
    if wrong:
        raise UsageError(f"--probe reads tokens of its own and gives scores, not classes: leave out --{wrong[0]}")
    asked = _asked(files)
    more = asdict(probed) | {"format": (*asked.formats, *asked.pictures)}
    job = job_of("patterns", groups, typed(probed), more, {}, reads_text=False)
    found, document, done = probe(job, probed.length, probed.seeds, asked, say.track)
    say.notes(done.notes)
    say.result(
        lambda: json_text(document), lambda: table_csv(found.table()), lambda: probe_tables(found), job.folder.written
    )


def _asked(files: OutputOptions, *more: Any) -> Asked:
    from attncli.engine.invocation import PICTURES, TABLES, choose_formats
    from attncli.studies.patterns.job import Asked

    formats = choose_formats(files.format, (*TABLES, *PICTURES), ("json", "csv", "png"))
    tables, pictures = ([name for name in formats if name in among] for among in (TABLES, PICTURES))
    return Asked(tables, pictures, *more)
