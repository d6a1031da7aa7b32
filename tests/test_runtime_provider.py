"""What networks run on: asked for by name, and said where it is something else."""

import logging

import pytest

from onnxnnw import runtime
from onnxnnw.campaign.environment import environment
from onnxnnw.errors import UnknownName
from tests.support.networks import dense, save


@pytest.fixture
def network(tmp_path):
    """A small file, and a process that has not warned yet."""
    runtime._warn_of_cpu.cache_clear()
    return save(dense(1, 8), tmp_path / "net.onnx")


def test_a_cpu_that_runs_instead_of_cuda_is_said_once(network, caplog, monkeypatch):
    monkeypatch.setattr(runtime, "_gpu_present", lambda: False)
    with caplog.at_level(logging.WARNING, "onnxnnw"):
        for _ in range(2):
            runtime.open_runtime(network, threads=1, provider="cuda")
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "CUDA was asked for, but onnxruntime runs on the CPU"
    ]


@pytest.mark.parametrize("provider", ["", "cpu"])
def test_a_cpu_that_nobody_asked_to_be_a_gpu_is_silent(network, caplog, monkeypatch, provider):
    monkeypatch.setattr(runtime, "_gpu_present", lambda: False)
    with caplog.at_level(logging.WARNING, "onnxnnw"):
        runtime.open_runtime(network, threads=1, provider=provider)
    assert not caplog.records


def test_an_unknown_provider_is_told_with_those_there_are(network):
    with pytest.raises(UnknownName, match="cpu, cuda"):
        runtime.open_runtime(network, provider="tpu")


def test_trials_name_the_provider():
    assert environment()["provider"] in runtime.PROVIDERS
