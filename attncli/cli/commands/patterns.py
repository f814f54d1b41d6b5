"""`attncli patterns`: what each head does."""

from attncli.cli.run_study import CommonOptions, run_once, run_study
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.errors import UsageError
from attncli.options import PictureOptions, typed
from attncli.studies.patterns.options import PatternsOptions
from attncli.studies.patterns.study import PatternsStudy
from attncli.studies.repeated.options import RepeatedOptions
from attncli.studies.repeated.series_study import SeriesStudy
from attncli.studies.repeated.study import RepeatedStudy


def patterns(
    common: CommonOptions,
    options: PatternsOptions,
    probe: RepeatedOptions,
    pictures: PictureOptions,
    corpus: CorpusOptions = CORPUS_DEFAULTS,
) -> None:
    """Classify what each head does.

    The classes are vertical, diagonal, local, block, sparse, uniform and mixed; a head can have several (see attncli
    explain vertical, and so on). A class needs its threshold, and --margin more than uniform weights on the same texts;
    where these are too short to tell, heads have no class. Each number has three baselines: uniform weights, position
    alone (as the other texts show it), and the same texts with their tokens shuffled: what stays the same there does
    not depend on the order of the tokens. Writes patterns.json, patterns.csv, patterns-layers.csv (how much the heads
    of each layer differ), the pictures patterns.png and patterns-examples.png (the strongest head of each class), and
    with --layer KIND-L03-patterns.png (the heads of a layer side by side). In a pipe, prints patterns.csv; with --json
    patterns.json.

    With --probe repeated, no text is needed: random tokens that come twice show which heads attend to the previous
    token, to an earlier copy of the same token, or to the token after that copy (attncli explain induction). Writes
    repeated.json, repeated.csv and repeated.png. --probe-text reads passages of yours instead. With a pattern of model
    folders, such as --model 'runs/checkpoint-*', it also writes repeated-checkpoints.csv, and the picture is by step.

    --block and --uniform are thresholds of classes here: the edits of these names are lines of --edit.

    Example: attncli patterns --text "The cat sat on the mat because it was warm." --layer 1
    """
    if probe.probe is None:
        if extra := typed(probe):
            raise UsageError(f"--{next(iter(extra))} says how --probe works, which is not given")
        run_study(PatternsStudy(options), common, pictures, corpus=corpus)
        return
    excluded = [name for name in typed(common.texts, options) if name != "batch-tokens"]
    excluded += ["save-maps"] if common.output.save_maps else []
    if excluded:
        raise UsageError(f"--probe reads tokens of its own and gives scores, not classes: leave out --{excluded[0]}")
    passages = passages_of(probe)
    # imported here: the help needs no NumPy
    from attncli.engine.checkpoints import find_checkpoints, is_pattern

    if common.shared is None and is_pattern(common.model.model):
        run_once(SeriesStudy(probe, passages, find_checkpoints(str(common.model.model))), common, pictures)
    else:
        run_study(RepeatedStudy(probe, passages), common, pictures)


def passages_of(options: RepeatedOptions) -> tuple[str, ...]:
    """Return the passages of `--probe-text`, read from their files; raise UsageError if other options exclude them."""
    given = options.probe_text or []
    if given and (extra := {"length", "sequences"} & typed(options).keys()):
        raise UsageError(f"--{min(extra)} is about random tokens, --probe-text gives passages: leave one of them out")
    # imported here: reading files needs NumPy
    from attncli.inputs.texts import read_whole_text

    return tuple(read_whole_text(text[1:]) if text.startswith("@") else text for text in given)
