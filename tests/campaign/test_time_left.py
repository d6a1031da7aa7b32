"""The time that is left follows what steps really took, and whoever watches sees what is being done."""

import sys
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest

from onnxnnw.campaign.cache import Cache
from onnxnnw.campaign.campaign_file import load_campaign
from onnxnnw.campaign.estimate import USUAL_S, Rates
from onnxnnw.campaign.plan import planned
from onnxnnw.campaign.running import run
from onnxnnw.campaign.step import Outcome, Place, Step, Work
from onnxnnw.campaign.workers import in_this_process, on_this_machine
from onnxnnw.cli import evaluate
from tests.campaign.conftest import EARLY
from tests.support.toy_campaigns import Number, Told, plan_of


@dataclass(frozen=True)
class Wait(Step):
    """Takes some seconds, and is believed to take others."""

    number: int
    seconds: float
    usual: float
    unit: str = "wait"

    kind: ClassVar[str] = "wait"

    @property
    def title(self) -> str:
        return f"wait {self.number}"

    def run(self, place: Place) -> Outcome:
        time.sleep(self.seconds)
        return Outcome({"value": self.number})

    def work(self) -> Work:
        return Work(self.unit, 1, self.usual)


@dataclass(frozen=True)
class Rest(Wait):
    """Another kind of step."""

    kind: ClassVar[str] = "rest"


@pytest.mark.parametrize(("seconds", "usual"), [(0.02, 100.0), (0.05, 0.0001)], ids=["fast", "slow"])
def test_the_time_left_follows_what_steps_take(tmp_path, seconds, usual):
    """Whatever was assumed of them: after the first one, the others of its unit are expected to take as long."""
    told = Told()
    with in_this_process() as pool:
        run(plan_of(*(Wait(n, seconds, usual) for n in range(5))), Cache(tmp_path / "cache"), None, pool, told)
    assert len(told.left) == 5
    for left, others in zip(told.left, (4, 3, 2, 1, 0), strict=True):
        assert others * seconds <= left <= others * (seconds + 1)


def test_steps_done_now_count_for_more_than_earlier_ones(tmp_path):
    """A cache that a faster machine filled says little about this one."""
    cache = Cache(tmp_path / "cache")
    with in_this_process() as pool:
        run(plan_of(*(Wait(n, 0.0, 1.0) for n in range(9))), cache, None, pool, Told())
    rates = Rates(cache.entries())
    step = Wait(100, 0.0, 1.0)
    assert rates.seconds(step) < 0.5
    rates.learn(step, 7.0)
    assert rates.seconds(step) == 7.0
    rates.learn(step, 9.0)
    assert rates.seconds(step) == 8.0


def test_steps_of_a_kind_are_slower_together(tmp_path):
    """A unit that was never measured is expected to be as much slower than usual as its kind is, and then as all are."""
    rates = Rates([])
    known, sibling, stranger = Wait(1, 0, 10.0, "a"), Wait(2, 0, 20.0, "b"), Rest(3, 0, 30.0, "c")
    assert [rates.seconds(step) for step in (known, sibling, stranger)] == [10, 20, 30]
    rates.learn(known, 40.0)
    assert [rates.seconds(step) for step in (known, sibling)] == [40, 80]
    assert rates.seconds(stranger) == pytest.approx(30 * (40 + USUAL_S) / (10 + USUAL_S))
    assert not rates.measured(known), "what the estimate calls measured was found in the cache"


def test_what_writing_initial_weights_takes_says_nothing_of_trainings(tmp_path):
    """No sample was seen: a second for one of it would be 14 hours for 50,000."""
    (tmp_path / "early.toml").write_text(EARLY)
    steps = [step for step in planned(load_campaign(tmp_path / "early.toml")).steps if step.kind == "train"]
    begin, *others = sorted(steps, key=lambda step: step.work().amount)
    rates = Rates([])
    before = [rates.seconds(step) for step in others]
    assert begin.work().amount == 0 < min(before)
    rates.learn(begin, 20.0)
    assert [rates.seconds(step) for step in others] == before


@pytest.mark.slow
def test_what_is_under_way_is_partly_done(tmp_path):
    """Two workers: of a step that began earlier, only the rest is left."""
    told = Told()
    steps = [Wait(1, 2.0, 2.0, "long"), Number(1, str(tmp_path / "log"))]
    cache = Cache(tmp_path / "cache")
    with on_this_machine(2) as pool:
        run(plan_of(*steps, Wait(2, 1.5, 1.5, "short")), cache, None, pool, told)
    assert told.left[-1] == 0
    assert told.left[-2] < 0.9, "of a step of 2 s that began 1.5 s ago half a second is left, and two workers share it"


# --- what is shown


def lines_of(capsys):
    return capsys.readouterr().err.splitlines()


def test_every_line_names_what_is_running(tmp_path, capsys, monkeypatch):
    """Where there is no terminal: no line ends with a colon, and none is of a moment between two steps."""
    monkeypatch.setattr(evaluate, "LINE_EVERY_S", 0.0)
    with in_this_process() as pool:
        run(plan_of(*(Wait(n, 0.0, 1.0) for n in range(3))), Cache(tmp_path / "c"), None, pool, evaluate.Shown())
    begin, *running, end = lines_of(capsys)
    assert begin == "0 of 3 steps, about 3 s left"
    assert end == "3 of 3 steps"
    assert sorted(line.rpartition(": ")[2] for line in running) == ["wait 0", "wait 1", "wait 2"]
    assert all(", about " in line for line in running)


def test_a_long_step_is_named_though_it_began_right_after_a_line(tmp_path, capsys, monkeypatch):
    """Once, when the last line is old enough; a short one is not."""
    monkeypatch.setattr(evaluate, "LINE_EVERY_S", 1.0)
    shown = evaluate.Shown()
    with in_this_process() as pool:
        run(plan_of(Wait(1, 0.0, 9.0), Wait(2, 2.0, 1.0)), Cache(tmp_path / "cache"), None, pool, shown)
    _, *running, _ = lines_of(capsys)
    assert len(running) == 1
    assert running[0].startswith("1 of 2 steps, about ")
    assert running[0].endswith(": wait 2")
    assert shown.timer is None


def test_nothing_is_said_after_the_end(capsys, monkeypatch):
    """A line that was due later is not printed when nothing runs any more, as after a failure."""
    monkeypatch.setattr(evaluate, "LINE_EVERY_S", 0.1)
    shown, step = evaluate.Shown(), Wait(1, 0.0, 1.0)
    shown.begin(1, 0, 1.0)
    shown.started(step)
    shown.failed(step, "it broke")
    time.sleep(0.3)
    assert lines_of(capsys) == ["0 of 1 steps, about 1 s left", "failed: wait 1: it broke"]


def test_a_terminal_sees_every_step(monkeypatch, capsys):
    """One line, redrawn at once; what is said meanwhile stands above it."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown, step = evaluate.Shown(), Wait(1, 0.0, 1.0)
    shown.begin(1, 0, 1.0)
    shown.started(step)
    shown.noticed("[red]something[/red]")
    shown.finished(step, 0.1, 0.0)
    text = capsys.readouterr().err
    assert "0 of 1 steps, about 1 s left: wait 1" in text
    assert "[red]something[/red]" in text
    assert "1 of 1 steps" in text.rpartition("wait 1")[2]
    assert text.endswith("\x1b[?25h")
