"""What the user wants to be explained: the value of `--explain`."""

from dataclasses import dataclass

from attncli.errors import UsageError, did_you_mean

SIMILARITY, ZERO_SHOT = "similarity", "zero-shot"
FORMS = ("next", "word", "answer", "generated", "mask", "label", "labels", SIMILARITY, ZERO_SHOT)
"""What can be explained; all but `ALONE` are followed by a value, as in `word:Paris`, and `similarity` may be."""
ALONE = ("next", "generated", "labels")
_EXPECTED = (
    "next, word:W, answer:TEXT, generated, mask:N, label:NAME, labels, zero-shot:LABEL, similarity:TEXT or similarity"
)


@dataclass(frozen=True)
class ExplainRequest:
    """What the user wants to be explained: one of `FORMS` and its value, which is empty for those of `ALONE`."""

    form: str
    value: str = ""

    @classmethod
    def parse(cls, wanted: str) -> "ExplainRequest":
        """Return the request; raise UsageError if it cannot be read.

        >>> ExplainRequest.parse("next"), ExplainRequest.parse("word:it's")
        (ExplainRequest(form='next', value=''), ExplainRequest(form='word', value="it's"))
        """
        form, colon, value = wanted.partition(":")
        form = form.strip()
        if form not in FORMS:
            raise UsageError(f"unknown --explain '{wanted[:60]}': expected {_EXPECTED}; {did_you_mean(form, FORMS)}")
        needs_value = form not in ALONE and (form != SIMILARITY or bool(colon))
        if needs_value != bool(value.strip()) or (colon and not needs_value):
            raise UsageError(f"expected --explain as {_EXPECTED}, got {wanted!r:.60}")
        if form == "mask" and not (value.strip().isdigit() and int(value) > 0):
            raise UsageError(f"expected --explain mask:N with the number of a mask from 1 up, got {wanted!r:.60}")
        return cls(form, value if form in ("answer", SIMILARITY) else value.strip())

    @property
    def spec(self) -> str:
        """The request as the user writes it."""
        return f"{self.form}:{self.value}" if self.value else self.form
