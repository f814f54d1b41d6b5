"""Options of the engine of Ray that are wrong; what needs Ray itself is in tests/real/test_ray.py."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from attncli.corpus_options import CorpusOptions
from attncli.engine import ray_cluster, ray_engine
from attncli.engine.invocation import Invocation
from attncli.engine.ray_cluster import address_of, connected
from attncli.engine.ray_engine import check_ray
from attncli.engine.request import Request
from attncli.errors import UsageError


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "check_installed", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("options", "device", "message"),
    [
        ({"address": "autp"}, "cpu", "expected --address auto, or HOST:PORT such as 10.0.0.5:6379, got 'autp'"),
        ({"address": "host:0"}, "cpu", "got 'host:0'"),
        ({"address": ":6379"}, "cpu", "got ':6379'"),
        ({"address": "host:99999"}, "cpu", "got 'host:99999'"),
        ({"address": "ray://host:10001"}, "cpu", "is that of a client, which attncli does not use: run the command on"),
        ({"gpus_per_worker": 1.5}, "auto", "expected --gpus-per-worker from 0 to 1, such as 0.5, or a whole number"),
        ({"gpus_per_worker": -1.0}, "auto", "got -1"),
        ({"gpus_per_worker": float("nan")}, "auto", "got nan"),
        ({"gpus_per_worker": float("inf")}, "auto", "got inf"),
        ({"gpus_per_worker": 0.5}, "cpu", "goes with GPUs of NVIDIA, not with --device cpu"),
        ({}, "cuda:1", "give --device cuda in the place of cuda:1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], device: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_ray(CorpusOptions(engine="ray", **options), device)
    assert message in raised.value.args[0]


def test_right_options_pass_and_the_environment_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus in (None, 0.0, 0.5, 1.0, 2.0):
        check_ray(CorpusOptions(engine="ray", gpus_per_worker=gpus), "auto")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    assert (address_of(None), address_of("auto")) == ("10.0.0.5:6379", "auto")


def test_a_cluster_that_does_not_answer_is_named_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # nobody listens
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with (
            pytest.raises(UsageError, match=r"no Ray answers at .*refused.*check that the cluster runs"),
            connected(address, 1),
        ):
            pass

    def silent(*address: object, timeout: float) -> socket.socket:
        raise TimeoutError(timeout)

    monkeypatch.setattr(ray_cluster.socket, "create_connection", silent)
    with pytest.raises(UsageError, match="no answer in 10 s"), connected(address, 1):
        pass


def test_gpus_are_shared_in_parts() -> None:
    assert ray_engine._gpus_of_worker(None, "auto", 0) == 0
    assert ray_engine._gpus_of_worker(None, "auto", 2) == 1
    assert ray_engine._gpus_of_worker(None, "cpu", 2) == 0
    assert ray_engine._gpus_of_worker(0.25, "cuda", 2) == 0.25
    ray_engine._check_gpus(8, 0.25, 2)
    with pytest.raises(UsageError, match=r"--workers 9 with 0\.25 GPUs each need 2\.25, and this machine has 2 GPUs"):
        ray_engine._check_gpus(9, 0.25, 2)


def test_how_a_corpus_is_read_does_not_change_the_folder() -> None:
    options = (CorpusOptions(), CorpusOptions("ray", 8, 4, "10.0.0.5:6379", 0.5, False))
    source, request = {"name": "demo:encoder"}, Request.of({"metrics": ["entropy"]})
    one, other = (Invocation("stats", source, request, corpus_options=each).folder.path for each in options)
    assert one == other
