"""How messages name options: `--max-tokens 512` on the command line, `max_tokens=512` in Python.

Every message is written with the names of the command line. Errors and notes pass through `spelled`, the one place
that turns these into arguments.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from attncli import vocabulary

_AS_FLAGS: ContextVar[bool] = ContextVar("attncli_flags", default=False)
_CHOICES = {
    "aggregate": (*vocabulary.AGGREGATES, r"weights:[\w.-]+"),
    "aggregate-layers": vocabulary.LAYER_AGGREGATES,
    "baseline": vocabulary.BASELINES,
    "by": vocabulary.BYS,
    "capture": vocabulary.CAPTURES,
    "compile": vocabulary.COMPILES,
    "divide": vocabulary.DIVISIONS,
    "device": ("auto", "cpu", "mps", "cuda:[0-9]+", "cuda"),
    "dtype": vocabulary.DTYPES,
    "format": (*vocabulary.HIGHLIGHT_FORMATS, *vocabulary.TABLE_FORMATS),
    "head": vocabulary.MODEL_HEADS,
    "kind": vocabulary.KINDS,
    "method": (*vocabulary.FLOW_METHODS, *vocabulary.IMPORTANCE_METHODS, *vocabulary.ATTRIBUTION_METHODS),
    "pool": vocabulary.POOLS,
    "removal": vocabulary.REMOVALS,
    "score": vocabulary.SCORES,
    "special": vocabulary.SPECIALS,
}
_ARGUMENTS = {
    "mean-file": "over",
    "model-head": "head",
    "probe-text": "passages",
    "rank-file": "rank_texts",
    "segments": "spans",
    "attribute": "attribution",
    "chat": "messages",
    "from": "a saved run",
}
"""Options whose argument has another name, or none."""
_SWITCHES = ("add-bos", "allow-delta", "per-query", "profile", "neurons", "words", "log", "force", "trust-remote-code")
_PHRASES = {
    " with --out": "",
    " with --segments FILE": "",
    "--save-maps": "keep_maps=True",
    "--no-residual": "residual=False",
}
_OPTION = re.compile(
    r"(?P<before>\b(?:add|pass|use|with) |\bunknown |)(?<![\w-])--(?P<name>[a-z][a-z-]*[a-z])"
    r"(?:[ =](?P<value>'[^']*'|-?\d[\w.,-]*\b|[A-Z]+\b|[a-z][\w-]*(?::[\w.-]*\w)?))?"
)


@contextmanager
def named_as_flags() -> Iterator[None]:
    """Leave options in messages as the command line names them, inside the `with` block."""
    token = _AS_FLAGS.set(True)
    try:
        yield
    finally:
        _AS_FLAGS.reset(token)


def names_flags() -> bool:
    """Return whether messages name options as the command line does."""
    return _AS_FLAGS.get()


def spelled(message: str) -> str:
    """Return a message with its options as the user of this process names them: as arguments, unless in a command."""
    return message if _AS_FLAGS.get() else as_arguments(message)


def as_arguments(message: str) -> str:
    """Return a message about options of the command line as one about arguments of the Python API.

    >>> as_arguments("keep less with --layer 0, --aggregate mean, or allow more with --max-memory")
    'keep less with layer=0, aggregate="mean", or allow more with max_memory=…'
    >>> as_arguments("unknown --special 'dorp': did you mean 'drop'?"), as_arguments("add --per-query")
    ("unknown special 'dorp': did you mean 'drop'?", 'add per_query=True')
    """
    for phrase, argument in _PHRASES.items():
        message = message.replace(phrase, argument)
    return _OPTION.sub(_argument, message)


def _argument(match: re.Match[str]) -> str:
    before, name, value = match["before"], match["name"], match["value"]
    argument = _ARGUMENTS.get(name, name.replace("-", "_"))
    rest = match[0][len(f"{before}--{name}") :]
    if value is None or before == "unknown " or not _is_value(name, value):
        if name in _SWITCHES and before not in ("", "unknown "):
            argument = f"{argument}=True"
        elif before == "with ":
            argument = f"{argument}=…"
        return f"{before}{argument}{rest}"
    plain = re.fullmatch(r"-?\d+(\.\d+)?|'.*'|[A-Z]+", value, re.DOTALL)
    return f"{before}{argument}={value if plain else f'{chr(34)}{value}{chr(34)}'}"


def _is_value(name: str, word: str) -> bool:
    """Return whether the word after an option is a value of it: a number, a quoted text, a placeholder or a choice."""
    if not word[0].islower():
        return True
    return re.fullmatch("|".join(_CHOICES.get(name, ("",))), word) is not None
