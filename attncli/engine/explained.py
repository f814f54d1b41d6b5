"""One prediction of a model as a function of its logits: which rows predict what, and how probable it is.

wanted = ExplainRequest.parse("answer:Paris")
prepared = prepare_explained(runner, text, request, wanted)
outputs = edited_outputs(prepared.loaded, prepared.plan, prepared.batches[0])
explained = explain(prepared, wanted, checked_logits(prepared.loaded, outputs))
explained.ln_probability(logits)        # [batch] float64; gradients pass through it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from attncli.data import Array, Input, Kind, Text, Tokens
from attncli.data.labels import label
from attncli.data.segments import GENERATED
from attncli.engine.explain_request import SIMILARITY, ZERO_SHOT, ExplainRequest
from attncli.engine.explained_labels import By, entailment, label_names, label_number, probability_of_labels
from attncli.engine.explained_pairs import read_texts, with_pair
from attncli.engine.explained_rows import query_rows
from attncli.engine.explained_similarity import Similarity, hidden_states, similarity_to
from attncli.engine.explained_spans import answer_span, labelled_token, span_logits, span_name
from attncli.engine.passes import Pass
from attncli.engine.progress import Track, untracked
from attncli.engine.request import Request
from attncli.engine.runner import Runner
from attncli.errors import ModelError, UsageError
from attncli.inputs.answers import answer_ids, with_answer
from attncli.models import Loaded
from attncli.models.checkpoint import list_weights
from attncli.models.tasks import answers_by_spans, labels_tokens, task_of


@dataclass(frozen=True)
class Explained:
    """A prediction that is explained.

    wanted  what the user asked for, such as `word:Paris`
    name    what is predicted: a token, a text or a label
    ids     ids of the predicted tokens, or of the label
    rows    the row of the logits that predicts each token; empty for a label
    by      how its probability is computed
    reads   positions of the tokens at which it is predicted, if they are not `rows`
    similar the similarity to another text that is explained instead of a prediction; its `logits` are hidden states
    """

    wanted: str
    name: str
    ids: tuple[int, ...]
    rows: tuple[int, ...]
    by: By = "softmax"
    reads: tuple[int, ...] | None = None
    similar: Similarity | None = None

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions of the tokens at which it is predicted; empty for the label of a text."""
        return self.rows if self.reads is None else self.reads

    def of_ids(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits [batch, prediction, token or label] that decide, as float64."""
        return (logits[:, list(self.rows)] if self.rows else logits[:, None]).double()

    def ln_probability(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the natural logarithm of the probability of the prediction, [batch] float64.

        logits  [batch, row, token], or [batch, label] of a classifier
        Of several tokens it is the sum: each is predicted from those before it.
        """
        of_ids = self.of_ids(logits)
        return self._chosen(logsigmoid(of_ids) if self.by == "sigmoid" else of_ids.log_softmax(-1))

    def score(self, logits: torch.Tensor, name: str) -> torch.Tensor:
        """Return one of `SCORES` of the prediction, [batch] float64; gradients pass through it.

        logits  as for `ln_probability`
        Of several tokens, logits are summed and probabilities multiplied. A number is its own score.
        """
        if self.similar is not None:
            return self.similar.cosine(logits)
        if self.by == "number" or name == "logit":
            return self._chosen(self.of_ids(logits))
        ln_probability = self.ln_probability(logits)
        return ln_probability.exp() if name == "probability" else ln_probability

    def _chosen(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of the values of the predicted tokens or of the label, [batch]."""
        ids = torch.tensor(self.ids, device=values.device)
        return values.gather(-1, ids[None, :, None].expand(len(values), -1, 1))[..., 0].sum(1)

    def each(self, loaded: Loaded) -> tuple[Explained, ...]:
        """Return each predicted token as a prediction of its own."""
        pairs = zip(self.ids, self.rows, strict=True)
        return tuple(replace(self, name=token_names(loaded, [id]), ids=(id,), rows=(row,)) for id, row in pairs)

    def query_rows(self, text: Input, kind: Kind) -> Array:
        """Return the rows of a kind of attention from which the prediction is computed, as `query_rows` does."""
        return query_rows(self.positions, text, kind)


def checked_logits(loaded: Loaded, outputs: Any, states: bool = False) -> torch.Tensor:
    """Return the logits among the outputs of a pass; raise ModelError if there are none or they are random.

    states  whether the last hidden states are read instead, of which the similarity of texts is computed
    """
    if states:
        return hidden_states(loaded, outputs)
    name, random = type(loaded.model).__name__, loaded.initialised
    logits = span_logits(outputs) if hasattr(outputs, "start_logits") else getattr(outputs, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise ModelError(
            f"{name} predicts nothing: load it with --head causal-lm, masked-lm, sequence-classification or another "
            "one that predicts, or use --explain similarity:TEXT"
        )
    if random:
        raise ModelError(
            f"the logits of {name} are random: the checkpoint lacks {len(random)} of its weights "
            f"({list_weights(random)})"
        )
    return logits


def prepare_explained(
    runner: Runner, text: Text, request: Request, wanted: ExplainRequest, track: Track = untracked
) -> Pass:
    """Return the pass over one text that makes the prediction; a given answer is appended to it.

    A chat ends where the assistant answers: behind the last message, or within it if it is the assistant's.

    Raise UsageError if the answer does not fit, and ModelError if the model cannot continue a text.
    """
    (prepared,) = prepare_each_explained(runner, [text], request, wanted, track)
    return prepared


def prepare_each_explained(
    runner: Runner,
    texts: Sequence[Text],
    request: Request,
    wanted: ExplainRequest,
    track: Track = untracked,
    first: int = 0,
) -> list[Pass]:
    """Return a pass for each text, numbered from `first`, as `prepare_explained` does; all texts are checked before."""
    loaded = runner.loaded
    has_answer = wanted.form == "answer" and task_of(loaded) != "classification"
    is_target = has_answer and loaded.is_encoder_decoder
    if is_target and any(text.target is not None for text in texts):
        raise UsageError("--explain answer:TEXT is what the decoder reads, as --target is: leave --target out")
    if has_answer and not is_target and (not loaded.model.can_generate() or loaded.reads_both_ways):
        raise ModelError(f"{type(loaded.model).__name__} continues no text, so it has no answer: use --explain word:W")
    read = [replace(text, target=wanted.value) for text in texts] if is_target else read_texts(loaded, texts, wanted)
    alone = replace(request, batch_tokens=1)
    prepared = runner.prepare(read, alone, track, in_order=True, open_turn=not is_target, first=first)
    appends = has_answer and not is_target
    batches = [with_answer(loaded, batch, wanted.value) if appends else batch for batch in prepared.batches]
    if wanted.form == SIMILARITY:
        batches = [with_pair(batch, text) for batch, text in zip(batches, texts, strict=True)]
    return [Pass.prepare(loaded, prepared.plan, [batch], request) for batch in batches]


def explain(prepared: Pass, wanted: ExplainRequest, logits: torch.Tensor) -> Explained:
    """Return the prediction that is explained.

    logits  those of the text of the pass, as `prepare_explained` returned it: [1, row, token] or [1, label]
    Raise UsageError if the text or the vocabulary lacks what is asked for, and ModelError without a head for it.
    """
    loaded, text = prepared.loaded, prepared.batches[0].inputs[0]
    if wanted.form == SIMILARITY:
        other = wanted.value or text.text.pair or ""
        similar = similarity_to(prepared, other)
        reads = similar.reads(len(text.source))
        return Explained(wanted.spec, f"similarity to '{other.strip()}'", (), (), "number", reads, similar)
    if wanted.form == ZERO_SHOT:
        number, count = entailment(loaded, logits), logits.shape[-1]
        return replace(_of_label(loaded, wanted.spec, number, count), name=wanted.value)
    if logits.dim() == 2:
        return _of_label(loaded, wanted.spec, label_number(loaded, wanted, logits[0]), logits.shape[1])
    if (part := _of_part(loaded, text, wanted, logits)) is not None:
        return part
    name = type(loaded.model).__name__
    if wanted.form in ("label", "labels"):
        raise ModelError(f"{name} is no classifier of texts, so it has no label: use --explain next or word:W")
    masked = not loaded.is_encoder_decoder and (loaded.reads_both_ways or not loaded.model.can_generate())
    if masked and (getattr(loaded.tokenizer, "mask_token_id", None) is None or logits.shape[2] < len(loaded.tokenizer)):
        raise ModelError(f"{name} predicts no token or label of a text, so there is nothing to explain")
    rows = _rows(loaded, text, wanted, masked)
    tokens = text.source if text.target is None else text.target
    if wanted.form in ("answer", "generated"):
        ids = [int(number) for number in tokens.ids[[row + 1 for row in rows]]]
    elif wanted.form == "word":
        ids = [_word_id(loaded, wanted.value)]
    else:
        ids = logits[0, rows].argmax(-1).tolist()
    return Explained(wanted.spec, token_names(loaded, ids), tuple(ids), tuple(rows))


def explain_each(prepared: Pass, wanted: ExplainRequest, logits: torch.Tensor) -> tuple[Explained, ...]:
    """Return all predictions that are explained: each label, each generated token, or the only one.

    logits  as for `explain`; raise errors as it does
    """
    if wanted.form == "labels" and logits.dim() == 2:
        count = logits.shape[1]
        return tuple(_of_label(prepared.loaded, wanted.spec, number, count) for number in range(count))
    explained = explain(prepared, wanted, logits)
    return explained.each(prepared.loaded) if wanted.form == "generated" else (explained,)


def _of_label(loaded: Loaded, spec: str, number: int, count: int) -> Explained:
    return Explained(spec, label_names(loaded, count)[number], (number,), (), probability_of_labels(loaded, count))


def _of_part(loaded: Loaded, text: Input, wanted: ExplainRequest, logits: torch.Tensor) -> Explained | None:
    """Return the label of a token, or the span that answers a question; None if the model predicts neither."""
    if answers_by_spans(loaded):
        first, last = answer_span(loaded, text, wanted, logits[0])
        return Explained(wanted.spec, span_name(text.source, first, last), (first, last), (0, 1), reads=(first, last))
    if not labels_tokens(loaded):
        return None
    position, number = labelled_token(loaded, text, wanted, logits[0])
    return replace(_of_label(loaded, wanted.spec, number, logits.shape[2]), rows=(position,))


def predicted_names(loaded: Loaded, explained: Explained, logits: torch.Tensor) -> list[str]:
    """Return what the model predicts in the place of what is explained, for each text of a batch; "" for numbers."""
    if explained.by == "number":
        return [""] * len(logits)
    ids = explained.of_ids(logits).argmax(-1).tolist()
    if answers_by_spans(loaded):
        return [f"tokens {first}-{last}" for first, last in ids]
    if labels_tokens(loaded):
        names = label_names(loaded, logits.shape[2])
        return [names[number] for (number,) in ids]
    if explained.rows:
        return [token_names(loaded, of_text) for of_text in ids]
    names = label_names(loaded, logits.shape[1])
    return [names[number] for (number,) in ids]


def token_names(loaded: Loaded, ids: Sequence[int]) -> str:
    """Return the text of predicted tokens; the piece itself where it has no visible text."""
    tokenizer = loaded.target_tokenizer
    text = str(tokenizer.decode(list(ids), skip_special_tokens=False)).strip()
    return text or " ".join(label(str(piece)) for piece in tokenizer.convert_ids_to_tokens(list(ids)))


def _rows(loaded: Loaded, text: Input, wanted: ExplainRequest, masked: bool) -> list[int]:
    """Return the rows of the logits that predict what is explained."""
    if masked:
        return [_mask(loaded, text.source, wanted)]
    if wanted.form == "mask":
        raise UsageError(f"{type(loaded.model).__name__} continues texts and fills no mask: use --explain next")
    tokens = text.source if text.target is None else text.target
    # the start of a decoder is predicted by no row
    written = [row - 1 for row in range(1, len(tokens)) if not tokens.special[row]]
    if text.target is None:
        written = [row for row in written if tokens.segments[row + 1] == GENERATED]
    if wanted.form in ("answer", "generated"):
        if not written:
            raise UsageError("--explain generated needs a text that the model wrote: give --generate N")
        return written
    is_generated = text.target is not None and text.text.target is None
    return [written[0] if is_generated and written else len(tokens) - 1]


def _mask(loaded: Loaded, tokens: Tokens, wanted: ExplainRequest) -> int:
    """Return the position of the mask that is explained."""
    if wanted.form == "generated":
        raise UsageError(f"{type(loaded.model).__name__} writes no text: use --explain next or word:W")
    masks = np.flatnonzero(tokens.ids == loaded.tokenizer.mask_token_id).tolist()
    number = int(wanted.value) if wanted.form == "mask" else 1
    if number > len(masks):
        mask, count = loaded.tokenizer.mask_token, len(masks)
        problem = f"{count} of them" if count else "none"
        raise UsageError(
            f"{type(loaded.model).__name__} predicts words in the place of {mask}, and the text has {problem}: "
            f"write {mask} for a word"
        )
    return int(masks[number - 1])


def _word_id(loaded: Loaded, word: str) -> int:
    """Return the id of a word; raise UsageError unless the vocabulary has it as one token."""
    tokenizer = loaded.target_tokenizer
    ids = answer_ids(tokenizer, word)
    if len(ids) != 1 or ids[0] == getattr(tokenizer, "unk_token_id", None):
        pieces = " ".join(label(str(piece)) for piece in tokenizer.convert_ids_to_tokens(list(ids)))
        raise UsageError(
            f"--explain: '{word[:60]}' is no token of the vocabulary ({pieces}): give a word that is one token"
            + (f", or answer:{word[:60]}" if loaded.model.can_generate() and not loaded.reads_both_ways else "")
        )
    return ids[0]
