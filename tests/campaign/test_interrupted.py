"""Campaigns that are killed, and clusters that lose a worker: the trials are those of an undisturbed run."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from onnxnnw.campaign import evaluate, load_campaign, preset
from tests.campaign.conftest import trials_of, without_costs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("campaigns")]  # they share what takes minutes


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Results of the preset, undisturbed."""
    folder = tmp_path_factory.mktemp("smoke")
    evaluate(preset("smoke"), folder / "results", folder / "cache")
    return folder / "results"


@pytest.mark.timeout(1200)
def test_a_campaign_killed_twenty_times_ends_with_the_same_trials(smoke, tmp_path):
    """``smoke``, SIGKILL at random moments; byte for byte apart from times."""
    command = [sys.executable, "-m", "onnxnnw", "evaluate", "--preset", "smoke"]
    command += ["-o", str(tmp_path / "killed"), "--cache", str(tmp_path / "cache")]
    rng = random.Random(20)
    kills = 0
    for _ in range(20):
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            running.wait(timeout=rng.uniform(1.5, 8.0))
            break
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            kills += 1
    assert kills >= 10, "it ended too soon to be killed"
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert without_costs(tmp_path / "killed") == without_costs(smoke)


@pytest.fixture
def cluster(tmp_path):
    """A real Dask scheduler and two worker processes on this machine: address and workers."""
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "5"}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    workers = []
    try:
        for line in scheduler.stderr:
            found = re.search(r"Scheduler at:\s+(tcp://\S+)", line)
            if found:
                break
        address = found[1]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
        for _ in range(2):
            worker = [*dask, "worker", address, *options]
            workers.append(subprocess.Popen(worker, stderr=subprocess.DEVNULL, env=environment))
        yield address, workers
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


@pytest.mark.timeout(900)
def test_a_cluster_that_loses_a_worker_ends_with_the_same_trials(tiny, tmp_path, cluster):
    """One of two worker processes is killed while it trains; the other takes over."""
    address, workers = cluster
    command = [sys.executable, "-m", "onnxnnw", "evaluate", str(tiny / "campaign.toml"), "--cluster", address]
    command += ["-o", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    entries = tmp_path / "cache" / "entries"
    deadline = time.monotonic() + 300
    while len(list(entries.glob("*/*"))) < 4 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running.poll() is None, "it ended before a worker could be killed"
    workers[0].send_signal(signal.SIGKILL)
    _, errors = running.communicate()
    assert running.returncode == 0, errors
    assert without_costs(tmp_path / "results") == without_costs(tiny / "results")


@pytest.mark.timeout(1200)
def test_false_positives_of_the_smoke_campaign(smoke):
    """No wrong key and no unmarked network is traced, and shares of small p-values are those of the null."""
    wrong = [t for t in trials_of(smoke) if t["study"] == "wrong key"]
    assert len(wrong) > 500
    assert not [t for t in wrong if t["verdict"]["decision"] == "traced"]
    from scipy.stats import binom

    for level, log10 in ((0.05, -1.30103), (0.01, -2.0)):
        small = sum(t["verdict"]["log10_p"] <= log10 for t in wrong)
        assert small <= binom.ppf(0.9999, len(wrong), level), (level, small, len(wrong))


def test_the_same_campaign_twice_in_one_cache(tiny, tmp_path):
    """Two processes evaluate it at the same time; both end, with the same trials."""
    command = [sys.executable, "-m", "onnxnnw", "evaluate", str(tiny / "campaign.toml"), "--cache", str(tmp_path / "c")]
    running = [subprocess.Popen([*command, "-o", str(tmp_path / name)], stderr=subprocess.DEVNULL) for name in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert without_costs(tmp_path / "a") == without_costs(tmp_path / "b") == without_costs(tiny / "results")
    assert load_campaign(tiny / "campaign.toml").name == "campaign"
