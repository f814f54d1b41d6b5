"""`attncli stats`: every head in numbers."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.options import PictureOptions
from attncli.studies.stats.options import StatsOptions
from attncli.studies.stats.study import StatsStudy


def stats(
    common: CommonOptions, options: StatsOptions, pictures: PictureOptions, corpus: CorpusOptions = CORPUS_DEFAULTS
) -> None:
    """Measure every head.

    Writes stats.json, stats.csv and an overview picture stats.png. Several texts give the mean over texts, the
    standard deviation and the number of texts; --pool-texts tokens the mean over all tokens. With --aggregate mean, the
    combined map is measured. --by-layer adds a row per layer, stats-layers.csv. In a pipe, prints stats.csv, or with
    --by-layer that table; with --json stats.json.

    For long texts, in memory that grows with their length only: --top-k and --min-weight write the strongest weights
    to edges.parquet; --profile measures attention over the whole text and writes received.csv, sinks.csv,
    distance.csv, ends.csv and pictures (see attncli explain edges.parquet, attncli explain profile).

    Example: attncli stats --text "The cat sat on the mat." --metric entropy --metric sink
    """
    run_study(StatsStudy(options), common, pictures, corpus=corpus)
