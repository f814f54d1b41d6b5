"""Commands to paste: texts of strangers stand in them."""

import shlex
from collections.abc import Iterable


def shell_line(parts: Iterable[str]) -> str:
    """Return a command in characters that can be seen; bash and zsh read it as these parts.

    A terminal acts on control characters in what is pasted, before the shell sees quotes; characters that change the
    direction of writing show another command than the one that runs.

    >>> print(shell_line(["attncli", "view", "--text=a b", "--text=it's\\x15"]))
    attncli view '--text=a b' $'--text=it\\'s\\x15'
    """
    return " ".join(shlex.quote(part) if part.isprintable() else f"$'{''.join(map(_seen, part))}'" for part in parts)


def _seen(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
