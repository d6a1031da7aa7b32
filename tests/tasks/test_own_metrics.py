"""Metrics for networks of any kind: against scikit-like references written out, and laws."""

import numpy as np
import pytest

from onnxnnw.errors import UnknownName, UnreadableData, UsageError
from onnxnnw.tasks.own_metrics import find_own_metric, labels_of, own_metric_names


def value(name: str, outputs, targets) -> float:
    return find_own_metric(name).metric(np.asarray(outputs), np.asarray(targets))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_counts_labels_among_the_k_largest_scores(k):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    among = [label in np.argsort(-row, kind="stable")[:k] for row, label in zip(scores, labels, strict=True)]
    assert 100 * np.mean(among) == pytest.approx(value(f"top{k}", scores, labels))


def test_a_network_that_answers_alike_everywhere_hits_k_classes():
    """Ties are no hits: the first k classes count as answered, and no more."""
    assert value("top2", np.zeros((10, 10)), np.arange(10)) == 20


def test_classes_may_lie_along_the_second_or_the_last_axis():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(3, 4, 9)), rng.integers(0, 4, (3, 9))
    assert value("top1", scores, labels) == value("top1", np.moveaxis(scores, 1, 2), labels)


def test_f1_is_that_of_the_yes_where_there_are_two_classes():
    truth, scores = np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.8, 0.1, 0.7, 0.2])
    precision, recall = 2 / 3, 2 / 3
    assert value("f1", scores[:, None], truth) == pytest.approx(100 * 2 * precision * recall / (precision + recall))


def test_negative_labels_are_left_out():
    assert value("top1", np.eye(3), np.array([0, -100, 1])) == 50


def test_sums_over_batches_give_what_one_batch_gives():
    rng = np.random.default_rng(2)
    outputs, targets = rng.normal(size=(2, 12, 5))
    for name in ("mse", "rmse", "mae", "cosine", "snr"):
        metric = find_own_metric(name).metric
        sums = sum(metric.statistics(outputs[i : i + 4], targets[i : i + 4]) for i in (0, 4, 8))
        assert metric.value(sums) == pytest.approx(metric(outputs, targets))


def test_a_thing_is_like_itself():
    data = np.random.default_rng(3).normal(size=(6, 4))
    assert value("mse", data, data) == 0
    assert value("cosine", 3 * data, data) == pytest.approx(1)


def test_mean_square_error_is_that_of_its_definition():
    assert value("mse", [[1.0, 2.0]], [[0.0, 4.0]]) == pytest.approx(2.5)
    assert value("mae", [[1.0, 2.0]], [[0.0, 4.0]]) == pytest.approx(1.5)


def test_a_function_of_the_users_own_is_found_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "mine_of_today.py").write_text(
        "def worst(outputs, targets):\n    return abs(outputs - targets).max()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert find_own_metric("mine_of_today:worst").function(np.array([1.0, 5.0]), np.array([1.0, 2.0])) == 3


@pytest.mark.parametrize("name", ["json:nothing", "no_module_at_all:f", "math:pi"])
def test_what_is_no_function_is_refused(name):
    with pytest.raises(UsageError, match="function"):
        find_own_metric(name)


def test_an_unknown_metric_is_told_with_those_there_are():
    with pytest.raises(UnknownName, match="cosine"):
        find_own_metric("goodness")
    assert all(find_own_metric(name.replace("K", "3")) for name in own_metric_names())


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(UnreadableData, match="classes"):
        value("top1", np.eye(3), np.array([0, 1, 7]))


def test_labels_of_scores_are_what_they_answer():
    assert labels_of(np.array([[0.2], [0.8]])).tolist() == [0, 1]
    assert labels_of(np.eye(4)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["top1", "top2", "f1", "classification-error"])
@pytest.mark.parametrize("where", [slice(None), slice(0, 1)])
def test_what_is_no_number_is_never_right(name, where):
    """A network that answers NaN has failed, whichever class stands first."""
    scores, labels = np.full((12, 3), -1.0), np.zeros(12, np.int64)
    scores[:, 0] = 1
    right = value(name, scores, labels)
    scores[:, where] = np.nan
    wrong = value(name, scores, labels)
    assert (right, wrong) == ((0.0, 100.0) if name == "classification-error" else (100.0, 0.0))
