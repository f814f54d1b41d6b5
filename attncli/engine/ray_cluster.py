"""Connections to Ray: to a cluster that runs already, or to one that is started on this machine and ended again."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from attncli.errors import ModelError, UsageError, shortened
from attncli.process import ENDING
from attncli.store.temporary import temporary_folder

CONNECT_SECONDS = 10
"""How long a cluster may take to answer."""
JOIN_SECONDS = 60
"""How long joining a cluster that answers may take."""
_AUTO = "auto"
_INSIDE = (
    "run the command on a machine of the cluster with --address auto, or by `ray job submit -- attncli … --engine ray "
    "--address auto`"
)
_CAUSE = 200
"""Characters of an error of Ray that are shown."""


def check_installed() -> None:
    """Raise UsageError if Ray is not installed."""
    spec = find_spec("ray")
    if spec is None or spec.origin is None:  # a folder of that name is no package
        raise UsageError('--engine ray needs Ray: pip install "attncli[ray]", or leave out --engine')


def address_of(address: str | None) -> str | None:
    """Return the address of the cluster to join: the given one, or that of the variable RAY_ADDRESS; None for none.

    Raise UsageError if it is none.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is None or address == _AUTO:
        return address
    if "://" in address:
        raise UsageError(f"--address {address} is that of a client, which attncli does not use: {_INSIDE}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UsageError(f"expected --address auto, or HOST:PORT such as 10.0.0.5:6379, got '{address}'")
    return address


@contextmanager
def connected(address: str | None, cpus: int) -> Iterator[ModuleType]:
    """Return a context with Ray, which can be used in it.

    address  cluster to join, which goes on afterwards; None starts one on this machine and ends it
    cpus     number of CPUs that the started one hands out
    Raise UsageError if the cluster does not answer.
    """
    if address is not None:
        _check_answers(address)
    with _own_cluster() if address is None else nullcontext() as folder:
        # imported here: only this engine needs it, and it reads the environment when it is imported
        import ray

        if ray.is_initialized():  # the program that called us ends it
            yield ray
            return
        try:
            with _same_signals():
                if address is None:
                    _start(ray, cpus, str(folder))
                else:
                    _join(ray, address)
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _own_cluster() -> Iterator[Path]:
    """Return a context with a folder for a cluster that listens on this machine only and sends no statistics of use."""
    with temporary_folder("ray") as folder, _environment(_settings()):
        yield folder


def _settings() -> dict[str, str]:
    """Return the environment of a cluster of our own; only its processes know the token that it expects."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    if "RAY_AUTH_MODE" not in os.environ and ("ray" not in sys.modules or _token.cache_info().currsize):
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
    return settings


@cache
def _token() -> str:
    """Return the token of this process: Ray reads it once."""
    return secrets.token_hex(32)


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for some time."""
    former = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(ray: ModuleType, cpus: int, folder: str) -> None:
    """Start Ray on this machine, without dashboard."""
    try:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, _temp_dir=folder, **_quiet())
    except Exception as error:
        raise ModelError(f"Ray could not start on this machine: {cause_of(error)}; try --engine local") from error


@contextmanager
def _same_signals() -> Iterator[None]:
    """Undo the handlers that Ray sets for signals when it connects: the command line has its own."""
    in_main = threading.current_thread() is threading.main_thread()
    former = {number: signal.getsignal(number) for number in ENDING} if in_main else {}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _check_answers(address: str) -> None:
    """Raise UsageError if nothing answers at an address."""
    if address == _AUTO:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"no Ray answers at --address {address} ({_reason(error)}): check that the cluster runs (`ray status` "
            "there) and that no firewall is between, or leave out --address to start Ray on this machine"
        ) from error


def _reason(error: Exception) -> str:
    return f"no answer in {CONNECT_SECONDS} s" if isinstance(error, TimeoutError) else str(error)


def _join(ray: ModuleType, address: str) -> None:
    """Join a cluster; raise UsageError if it is none, or does not take us within some time."""
    errors: list[Exception] = []

    def join() -> None:
        try:
            ray.init(address=address, **_quiet())
        except Exception as error:
            errors.append(error)

    # in a thread: Ray may wait for ever for what answers but is no Ray
    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN_SECONDS)
    if thread.is_alive():
        raise UsageError(f"cannot join the Ray at --address {address} within {JOIN_SECONDS} s: {_INSIDE}")
    if errors and address == _AUTO and isinstance(errors[0], ConnectionError):
        raise UsageError(
            "no Ray runs on this machine: start one first (see docs/cluster.md), or leave out --address"
        ) from errors[0]
    if errors:
        raise UsageError(f"cannot join the Ray at --address {address} ({cause_of(errors[0])}): {_INSIDE}")


def _quiet() -> dict[str, object]:
    return {"log_to_driver": False, "logging_level": logging.ERROR}


def cause_of(error: BaseException) -> str:
    """Return the last line of an error of Ray, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[-1], _CAUSE) if lines else type(error).__name__
