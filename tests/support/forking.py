"""Start Python programs quickly: fork each from one process that has already imported the heavy packages.

`ForkServer(folder)` starts that process and writes the commands `python` and `attncli` into the folder. They take
arguments, environment, working folder and streams like the real ones and end with the same exit code. What packages
read from the environment when they are imported (threads, HF_HOME) is that of the server.

As a program, `python tests/support/forking.py SOCKET`, this file is the server.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = (
    *("torch", "transformers.pipelines", "transformers.models.bert.modeling_bert", "torch._dynamo"),
    *("transformers.models.llama.modeling_llama", "transformers.models.marian.modeling_marian"),
    *("pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "scipy.cluster.hierarchy"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_agg", "seaborn", "typer.main", "rich.progress", "yaml"),
    *("pydantic.json_schema", "pydantic.type_adapter"),
)
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
task = json.dumps([{arguments!r} + sys.argv[1:], os.getcwd(), dict(os.environ)]).encode("utf-8", "surrogateescape")
socket.send_fds(server, [len(task).to_bytes(8, "big")], [0, 1, 2])
server.sendall(task)
answers = server.makefile("rb")
process = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(process, number))
code = int(answers.readline())
if code < 0:
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class ForkServer:
    """A running server, and the commands that use it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, dict(environment)
        address = str(folder / "socket")
        for name, arguments in (("python", []), ("attncli", ["-m", "attncli"])):
            client = folder / name
            client.write_text(CLIENT.format(python=sys.executable, address=address, arguments=arguments))
            client.chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, __file__, address], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    @property
    def python(self) -> str:
        """The command to use instead of `sys.executable`."""
        return str(self.folder / "python")

    def stop(self) -> None:
        """End the server; programs that it has started go on."""
        self.process.kill()
        self.process.communicate()


def serve(address: str) -> NoReturn:
    """Answer each connection with a new program, for ever."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # the collector leaves it alone, in programs too
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    os.write(1, b"ready\n")
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _supervise(connection)
        connection.close()


def _supervise(connection: socket.socket) -> NoReturn:
    """Fork the program, tell the client its process number and then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    size = int.from_bytes(head, "big")
    task = json.loads(connection.makefile("rb").read(size).decode("utf-8", "surrogateescape"))
    process = os.fork()
    if process == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _run(*task)
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    connection.sendall(f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """Run `python ARGUMENTS…` in this process and end it."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    encoding = environment.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    streams = [io.FileIO(number, "rb" if number == 0 else "wb", closefd=False) for number in range(3)]
    sys.stdin = io.TextIOWrapper(io.BufferedReader(streams[0]), encoding)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(streams[1]), encoding, line_buffering=os.isatty(1))
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(streams[2]), encoding, "backslashreplace", line_buffering=True)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    importlib.invalidate_caches()
    code = _exit_code(arguments)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120
    os._exit(code & 0xFF)


def _exit_code(arguments: list[str]) -> int:
    try:
        _interpret(arguments)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            sys.stderr.write(f"{stop.code}\n")
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _interpret(arguments: list[str]) -> None:
    """Do what `python` does with `[-W ACTION] -c CODE`, `-m MODULE` and `FILE`, and the arguments that follow."""
    if arguments[0] == "-W":
        warnings.simplefilter(arguments[1])  # type: ignore[arg-type]
        arguments = arguments[2:]
    sys.path.insert(0, "" if arguments[0].startswith("-") else str(Path(arguments[0]).parent))
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(arguments[1], "<string>", "exec"), scope)
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)
    serve(sys.argv[1])
