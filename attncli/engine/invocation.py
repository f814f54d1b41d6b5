"""One command with all its options, and the execution of its study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from attncli import store
from attncli.corpus_options import CorpusOptions
from attncli.data import Text
from attncli.data.cached import cached_property
from attncli.engine.collected import Collected
from attncli.engine.corpus import check_in_parts, execute_corpus
from attncli.engine.execution import Execution
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.engine.shards import ShardTask
from attncli.engine.study import ResultT, Study
from attncli.inputs.corpus import Corpus
from attncli.options import OutputOptions
from attncli.store import OutputFolder

if TYPE_CHECKING:  # a saved run needs no torch
    from attncli.engine.runner import Runner, SharedPass


@dataclass(frozen=True, eq=False)
class Invocation:
    """One command with all its options.

    source    arguments of `attncli.models.load`, or a saved run
    options   options of only this command that change its result
    typed     options as they were typed
    shared    model and forward pass that are shared with other steps on the same texts
    corpus    a corpus in the place of `texts`
    on_load   called with the model once it is loaded, and raises an error if it cannot be used
    """

    command: str
    source: Mapping[str, Any] | Collected
    request: Request
    texts: tuple[Text, ...] = ()
    output: OutputOptions = field(default_factory=OutputOptions)
    options: Mapping[str, Any] = field(default_factory=dict)
    typed: Mapping[str, Any] = field(default_factory=dict)
    shared: SharedPass | None = None
    corpus: Corpus | None = None
    corpus_options: CorpusOptions = field(default_factory=CorpusOptions)
    on_load: Callable[[Runner], object] | None = None

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """All options that change the result; they enter the digest."""
        output = self.output
        saved: dict[str, Any] = {"save_maps": output.save_maps}
        if output.save_maps:
            saved |= {"maps_format": output.maps_format, "layout": output.layout}
        if output.csv_safe:
            saved["csv_safe"] = True
        if isinstance(self.source, Collected):
            labels = store.input_sha256(text.text for text in self.source.inputs)
            origin = {"from": dict(self.source.info.resolved), "labels": labels}
        else:
            origin = plain_arguments(self.source)
        return {**origin, **self.request.resolved(), **self.options, **saved}

    @cached_property
    def folder(self) -> OutputFolder:
        """The output folder; OutputError if it cannot be written or belongs to another run."""
        if isinstance(self.source, Collected):
            info = self.source.info
            model, revision, inputs = info.model, info.revision, info.input_sha256
        else:
            model, revision = self.source["name"], self.source.get("revision")
            inputs = store.input_sha256(self.texts) if self.corpus is None else self.corpus.survey().digest
        digest = store.digest(model, revision, inputs, self.resolved)
        path = self.output.out or store.default_folder(self.command, model, digest)
        return OutputFolder(path, self.command, digest, self.output.force, csv_safe=self.output.csv_safe)

    def execution(self, track: Track = untracked) -> Execution:
        """Return the execution that gives a study its attention."""
        settings: dict[str, Any] = {"existing": self.source}
        if not isinstance(self.source, Collected):
            # shared maps are weights, from which no norms can be computed
            existing = self.shared.run if self.shared is not None and self.request.by != "norm" else None
            settings = {"existing": existing, "load": self.load, "arguments": self.source}
        return Execution(
            request=self.request,
            texts=self.texts,
            track=track,
            save_maps=self.output.save_maps,
            draws=True,
            finish=self.complete,
            edges_file=lambda: store.edges_file(self.folder),
            partial=store.PartialFile(self.folder),
            **settings,
        )

    def load(self) -> Runner:
        """Load the model, or return the shared one."""
        if self.shared is not None:
            return self.shared.runner
        # imported here: a saved run needs neither torch nor transformers
        from attncli.engine.runner import load_runner

        assert not isinstance(self.source, Collected)  # a saved run has no model
        runner = load_runner(self.source)
        if self.on_load is not None:
            self.on_load(runner)
        return runner

    def complete(self, run: Collected) -> Collected:
        """Return a run with the options of the command, and save its maps if `--save-maps` was given."""
        run = replace(run, info=replace(run.info, given=dict(self.typed), resolved=self.resolved))
        if self.output.save_maps and run.maps:
            store.save_run(self.folder, run, layout=self.output.layout, format=self.output.maps_format)
        return run


def ignore(_: str) -> None:
    """Show nothing."""


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load_runner` as they enter digests and documents: texts by their hash."""
    texts = {"mean_texts": store.input_sha256(map(Text, arguments["mean_texts"]))} if "mean_texts" in arguments else {}
    return {**arguments, **texts}


def execute(
    invocation: Invocation, study: Study[ResultT], track: Track = untracked, tell: Callable[[str], None] = ignore
) -> tuple[Collected, ResultT]:
    """Run the study of a command; return the run that was read, and the result.

    tell  receives notes that are shown before the heavy work
    Raise UsageError or OutputError before the heavy work if an option is wrong or the folder cannot be written.
    """
    study.check(invocation.request)
    corpus, source = invocation.corpus, invocation.source
    if corpus is not None:
        check_in_parts(study, corpus, invocation.request, invocation.output.save_maps)
    folder = invocation.folder  # checks that the folder can be written
    execution = invocation.execution(track)
    execution.request = replace(execution.request, any_axes=study.any_axes)
    if corpus is None or isinstance(source, Collected):
        return study.run(execution)
    if invocation.on_load is not None:
        _ = execution.runner  # workers load models of their own, and check nothing
    arguments = source if invocation.shared is None else invocation.shared.arguments
    task = ShardTask(study, execution.request, arguments, corpus)
    return execute_corpus(task, execution, folder, invocation.corpus_options, tell)
