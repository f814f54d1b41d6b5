"""What the output of a model is: the head on top of its layers decides how the effect of an edit is measured."""

from typing import Literal

import transformers

from attncli.models.loaded import Loaded

Task = Literal["causal-lm", "masked-lm", "seq2seq-lm", "classification", "base"]
"""Predicts the next token; masked tokens; the tokens of a target; classes; or nothing, as it has no head."""
_LANGUAGE_MODELS: dict[Task, str] = {
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "masked-lm": "AutoModelForMaskedLM",
    "causal-lm": "AutoModelForCausalLM",
}
_CLASSIFIERS = (
    *("AutoModelForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForQuestionAnswering"),
    *("AutoModelForMultipleChoice", "AutoModelForNextSentencePrediction"),
)


def task_of(loaded: Loaded) -> Task:
    """Return what the output of a model is, by its class."""
    for task, auto in _LANGUAGE_MODELS.items():
        if _is_mapped(loaded, auto) and (task == "seq2seq-lm") == loaded.is_encoder_decoder:
            return task
    if loaded.model.can_generate():  # such as the text side of a model that reads images
        return "seq2seq-lm" if loaded.is_encoder_decoder else "causal-lm"
    return "classification" if any(_is_mapped(loaded, auto) for auto in _CLASSIFIERS) else "base"


def labels_tokens(loaded: Loaded) -> bool:
    """Return whether a model has a label for each token."""
    return _is_mapped(loaded, "AutoModelForTokenClassification")


def answers_by_spans(loaded: Loaded) -> bool:
    """Return whether a model answers a question by a part of the text."""
    return _is_mapped(loaded, "AutoModelForQuestionAnswering")


def _is_mapped(loaded: Loaded, auto: str) -> bool:
    """Return whether an Auto class of Transformers has the class of this model for its configuration."""
    mapping = getattr(transformers, auto)._model_mapping
    try:
        classes = mapping[type(loaded.model.config)]
    except KeyError:
        return False
    return type(loaded.model) in (classes if isinstance(classes, tuple) else (classes,))
