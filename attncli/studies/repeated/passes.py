"""Passes over passages that come twice."""

from collections.abc import Sequence
from dataclasses import replace

from attncli.engine.passes import Pass
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.errors import UsageError
from attncli.inputs.repeated_inputs import Passage, RepeatedTokens
from attncli.studies.repeated.compute import RepeatedSink


def decoder_alone(tokens: RepeatedTokens, request: Request) -> Request:
    """Return the request of the probe: of an encoder-decoder, only the decoder reads passages that come twice.

    Raise UsageError if the request selects other kinds of attention.
    """
    request = replace(request, keep_maps=False)
    if tokens.source is None:
        return request
    if request.choice.kinds not in (None, ("decoder",)):
        raise UsageError("the probe of an encoder-decoder is of its decoder: leave out --kind, or name decoder")
    return replace(request, choice=replace(request.choice, kinds=("decoder",)))


def read_twice(
    runner: Runner,
    tokens: RepeatedTokens,
    passages: Sequence[Passage],
    request: Request,
    track: Track = untracked,
    again: bool = True,
) -> tuple[Pass, RepeatedSink]:
    """Return the pass over START r r, and the sink that has seen its attention.

    again  False: the second r has another order
    """
    batches = tokens.batches(passages, request.batch_tokens, again)
    prepared = Pass.prepare(runner.loaded, runner.plan(request.capture), batches, request)
    sink = RepeatedSink(len(tokens.start), [len(passage.ids) for passage in passages])
    prepared.gather(track, more=[sink])
    return prepared, sink
