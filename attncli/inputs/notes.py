"""Notes on inputs that are read, but hardly as the user wants: a wrong tokenizer, or a start token given twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attncli.data import Input, Tokens
from attncli.inputs.token_reader import unknown_share
from attncli.models import Loaded, local_folder

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_OWN_FILES = ("tokenizer.json", "tokenizer_config.json")


def input_notes(loaded: Loaded, inputs: Sequence[Input]) -> tuple[str, ...]:
    """Return notes on start tokens that come twice, on unknown words, and on a tokenizer that is not used.

    A note that several texts deserve names the first of them and the number of the others.
    """
    if loaded.tokenizer is None:
        return ()
    notes: dict[str, list[str]] = {}
    for one in inputs:
        for sort, note in _text_notes(loaded, one):
            notes.setdefault(sort, []).append(note)
    several = (f"{of_sort[0]} (and {len(of_sort) - 1} more texts)" for of_sort in notes.values() if len(of_sort) > 1)
    single = (of_sort[0] for of_sort in notes.values() if len(of_sort) == 1)
    return (*single, *several, *_second_tokenizer(loaded))


def _text_notes(loaded: Loaded, one: Input) -> Iterator[tuple[str, str]]:
    """Yield the notes on one text: the sort of the note, and the note."""
    own = "is this the right tokenizer?"
    yield from _side_notes(one.source, loaded.tokenizer, f"text {one.index}", own)
    if one.target is not None:
        advice = "name the tokenizer of the decoder with --target-tokenizer"
        what = f"the target of text {one.index}"
        yield from _side_notes(one.target, loaded.target_tokenizer, what, advice)


def _side_notes(tokens: Tokens, tokenizer: Any, what: str, advice: str) -> Iterator[tuple[str, str]]:
    sort = what.partition("text")[0]
    unknown, ordinary = unknown_share(tokens, tokenizer)
    if unknown * 2 > ordinary:
        yield f"{sort}unknown", f"{unknown} of {ordinary} tokens of {what} are unknown to the tokenizer: {advice}"
    starts = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "cls")}
    if len(tokens) > 1 and tokens.special[:2].all() and tokens.ids[0] == tokens.ids[1] and int(tokens.ids[0]) in starts:
        yield f"{sort}start", f"{what} begins with {tokens.pieces[0]} twice: leave it out, the tokenizer adds its own"


def _second_tokenizer(loaded: Loaded) -> Iterator[str]:
    """Yield a note if the folder of an encoder-decoder has a tokenizer besides the one that reads both sides."""
    if not loaded.is_encoder_decoder or loaded.target_tokenizer is not loaded.tokenizer:
        return
    name = str(getattr(loaded.tokenizer, "name_or_path", ""))
    folder = local_folder(name, loaded.revision if name == loaded.name else None) if name else None
    if folder is None:
        return
    others = [path for path in sorted(folder.iterdir()) if path.is_dir() and _has_other_vocabulary(path, folder)]
    others += [path for path in sorted(folder.glob("*tokenizer*.json")) if path.name not in _OWN_FILES]
    if others:
        yield (
            f"the model has a second tokenizer ({others[0].name}), but one tokenizer reads texts and targets: "
            "name that of targets with --target-tokenizer"
        )


def _has_other_vocabulary(part: Path, folder: Path) -> bool:
    """Return whether a part of a folder has a vocabulary that differs from that of the folder."""
    names = [name for name in _VOCABULARIES if (part / name).is_file()]
    same = [(folder / name).is_file() and (folder / name).read_bytes() == (part / name).read_bytes() for name in names]
    return bool(names) and not all(same)
