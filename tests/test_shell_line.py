"""A command to paste: bash reads the texts of strangers as they are, and a terminal finds nothing to act on."""

from __future__ import annotations

import subprocess

from attncli.shell import shell_line

HOSTILE = [
    "$(touch here) `touch here` ; touch here",
    "it's \"quoted\" \\ \\' \\x41 \\",
    "\x15touch here\r y",
    "\x03\ntouch here\n y",
    "\x1b[201~\ntouch here\n",
    "\x7f\x08\x07\x9b31m\t\x0b",
    "\u202etouch\u2066 \u2028 é Москва 猫",
    "--help",
    "",
]


def test_bash_reads_what_was_quoted() -> None:
    line = shell_line(["printf", "%s\\0", *HOSTILE])
    assert line.isprintable()
    said = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == HOSTILE
