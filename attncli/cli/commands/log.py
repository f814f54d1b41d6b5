"""`attncli log`: what heads show at each checkpoint of a training."""

from attncli.cli.run_study import CommonOptions, run_once
from attncli.errors import UsageError
from attncli.options import PictureOptions
from attncli.studies.log.options import LogOptions
from attncli.studies.log.study import LogStudy
from attncli.vocabulary import DEFAULT_MODEL


def log(common: CommonOptions, options: LogOptions, pictures: PictureOptions) -> None:
    """Show how heads change during training, from checkpoints on disk.

    --model is a pattern of model folders, such as 'runs/checkpoint-*', in the order of the last number in their names;
    every checkpoint reads the same texts, and one model at a time is in memory. Measures metrics and the class of each
    head, in causal models the scores of heads that copy (attncli explain induction), how much of a head is the same in
    every text (attncli explain rigidity), and how alike the rows and the hidden states of each layer are. So it shows
    when induction heads appear, and when attention collapses. With --held-out, texts that the model was not trained on:
    whether heads are more rigid on those of --file, a sign of overfitting, with intervals over texts.

    Writes log.json, log.csv (a row per checkpoint and head), log-layers.csv, log-changes.csv (the largest change of
    each number between neighbouring checkpoints), and the pictures log.png (lines by step) and log-heads.png (all
    heads by step). In a pipe, prints log.csv; with --json log.json.

    Example: attncli log --model demo:decoder --text "The cat sat on the mat because it was warm."
    """
    # imported here: the help needs no NumPy
    from attncli.engine.checkpoints import checkpoints_of
    from attncli.inputs.texts import parse_texts, read_texts

    if common.output.save_maps:
        raise UsageError(
            "--save-maps: log keeps no maps; save those of one checkpoint with attncli heatmap --save-maps"
        )
    held_out = () if options.held_out is None else tuple(parse_texts(list(read_texts(options.held_out, None))))
    checkpoints = checkpoints_of(common.model.model or DEFAULT_MODEL)
    run_once(LogStudy(options, checkpoints, held_out), common, pictures)
