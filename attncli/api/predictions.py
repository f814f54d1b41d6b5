"""What a model predicts and writes, as it is or with edits of its attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np

from attncli.arguments import checks_arguments
from attncli.capturing import edited_outputs
from attncli.data import Array, Text
from attncli.data.edits import Edit
from attncli.data.segments import GENERATED
from attncli.engine.explained import checked_logits
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.errors import UsageError
from attncli.inputs.batches import unpadded
from attncli.inputs.texts import Texts, parse_texts


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Predictor(Runner):
    """A loaded model that predicts and writes, and whose attention can be edited."""

    @contextmanager
    def edited(self, *edits: Edit) -> Iterator[Self]:
        """Give the model with edits of its attention, inside a `with` block: everything that it does follows them.

            with model.edited(attncli.zero("3.1"), attncli.block("it", "animal", layers="4-8")) as edited:
                edited.run(text), edited.logits(text), edited.generate(text)

        edits  `attncli.zero`, `mean`, `scale`, `block`, `uniform`, `permute`, `temperature`, `window`, `replace` and
               `patch`. Scores are edited first (temperature, block, window), then weights, then outputs, each in the
               order given
        Maps show the edited weights; a blocked key counts as visible, with weight 0. The model itself stays as it is,
        also for other threads.
        Raise UsageError if there is no edit or a head does not exist, and ModelError if a layer cannot be edited.
        """
        if not edits:
            raise UsageError("there is no edit: give at least one, such as attncli.zero('1.3')")
        yield self.with_edits(edits)

    def logits(self, text: Texts, *, pair: str | None = None, target: str | None = None) -> Array | list[Array]:
        """Return the logits of a text, float32; a list of them for several texts.

        A language model gives [token, vocabulary]: row i of one that writes predicts token i + 1, row i of a masked one
        token i; with a decoder of its own, tokens are those of the target. A classifier gives [label], or for each
        token [token, label].

        pair, target  as for `run`
        Raise ModelError if the model predicts nothing, or only by weights that are random.
        """
        texts = parse_texts(text, pair, target)
        prepared = self.prepare(texts, Request(any_axes=True))
        found: dict[int, Array] = {}
        for batch in prepared.batches:
            for part in unpadded(batch):
                outputs = edited_outputs(self.loaded, prepared.plan, part)
                logits = checked_logits(self.loaded, outputs).float().cpu().numpy()
                found |= {text.index: row for text, row in zip(part.inputs, logits, strict=True)}
        in_order = [found[index] for index in range(len(texts))]
        return in_order[0] if isinstance(text, str | Text) else in_order

    def generate(self, text: Texts, tokens: int = 20, *, pair: str | None = None) -> str | list[str]:
        """Return what the model writes after a text, up to this number of tokens, greedily; a list for several texts.

        An encoder-decoder writes the target of the text.
        Raise ModelError if the model cannot write text.
        """
        texts = parse_texts(text, pair)
        if tokens < 1:
            raise UsageError(f"expected tokens as a number from 1 up, got {tokens}")
        inputs = self.prepare(texts, Request(any_axes=True, generate=tokens)).inputs
        written = []
        for read in inputs:
            if read.target is not None:
                written.append(read.target.text)
                continue
            ids = read.source.ids[np.array(read.source.segments) == GENERATED]
            written.append(str(self.loaded.tokenizer.decode(ids.tolist(), skip_special_tokens=True)))
        return written[0] if isinstance(text, str | Text) else written
