"""`attncli` and `python -m attncli` are the command line."""

import sys

try:
    import importlib
    from typing import NoReturn

    from attncli.process import (
        collect_garbage_rarely,
        end_without_search,
        ignore_signals,
        interruption,
        occupy_closed_descriptors,
        raise_on_signals,
        repeat_lost_interrupts,
    )
except KeyboardInterrupt:  # nothing handles Ctrl-C yet
    if sys.stderr is not None:
        sys.stderr.write("error: interrupted; the files that were written are complete\n")
    sys.exit(130)


def start() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    try:
        raise_on_signals()
        repeat_lost_interrupts()
        occupy_closed_descriptors()
        collect_garbage_rarely()
        # imported here: a signal during this import, which takes longest, must not end in a traceback
        code = importlib.import_module("attncli.cli").main()
    except KeyboardInterrupt as error:
        ignore_signals()
        message, code = interruption(error)
        if sys.stderr is not None:
            sys.stderr.write(f"error: {message}\n")
    ignore_signals()
    end_without_search()
    sys.exit(code)


if __name__ == "__main__":
    start()
