"""`attncli flow`: rollout and attention flow through the layers."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.flow.options import FlowOptions
from attncli.studies.flow.study import FlowStudy


def flow(common: CommonOptions, options: FlowOptions, pictures: PictureOptions) -> None:
    """Follow attention through the layers: how much of each input token reaches a token at the top.

    --method rollout multiplies the layers, --method flow finds the maximum flow through them (attncli explain rollout,
    attncli explain attention-flow). Each layer is the mean of its heads (--aggregate max: the maximum; weights:FILE:
    the mean by their importance), plus the part that each token keeps of itself unless --no-residual. An
    encoder-decoder is followed through all stacks: `decoder` is the share of the target's input, `cross` that of the
    source; --kind chooses what is shown.

    Writes flow.json and flow.csv, with two baselines for each value, uniform weights and position alone;
    KIND-METHOD-matrix.png, tokens at the top by tokens of the input; and for up to 128 tokens KIND-METHOD.png, the
    layers with lines as wide as their share. Rollout needs the memory of a few maps, whatever the number of heads and
    layers. In a pipe, prints flow.csv; with --json flow.json.

    Example: attncli flow --text "The cat sat on the mat because it was warm." --focus it
    """
    run_study(FlowStudy(options), common, pictures)
