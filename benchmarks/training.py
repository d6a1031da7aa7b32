"""Throughput of the training loop beside a bare PyTorch loop, and what a mark costs in training.

Both train the same network on the same batches of the same data, in one process, taking turns; medians of all rounds.
The bare loop is what somebody writes by hand: batches, autocast, loss, backward, step. Ours adds schedules, hooks, a
look at the loss and the history. An NCT watermark is inserted in every round too; its cost is spread over the batches
of one epoch, as the standard asks [NNW-NNT].
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from onnxnnw.recipes import ConstantRate, Precision, Recipe, usual_precision
from onnxnnw.tasks.classification import Images
from onnxnnw.training.at_epoch import NctInsertion
from onnxnnw.training.loop import Trainer
from onnxnnw.training.networks import find_network


def main(arguments: list[str]) -> int:
    """Print a Markdown table of milliseconds per batch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__)
    parser.add_argument("--network", default="resnet8")
    parser.add_argument("--size", default="reference")
    parser.add_argument("--batches", type=int, default=10, help="batches per round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", type=Precision, default=usual_precision(), help="the processor's own by default")
    parser.add_argument("--epoch-batches", type=int, default=390, help="batches of a full epoch, for the mark's share")
    options = parser.parse_args(arguments)
    architecture = find_network(options.network, options.size)
    recipe = replace(architecture.recipe(), epochs=1, schedule=ConstantRate())
    rng = np.random.default_rng(0)
    count = options.batches * recipe.batch
    samples = Images(rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count))
    torch.set_num_threads(options.threads)
    trainer = Trainer(recipe, architecture.loss, threads=options.threads, precision=options.precision)
    module = architecture.build()
    folder = tempfile.TemporaryDirectory()
    hook = NctInsertion(architecture, 1, Path(folder.name) / "record", 512)
    begin = time.perf_counter()
    hook(module, 0)
    exported = time.perf_counter() - begin
    ours, bare, marks = [], [], []
    for number in range(options.rounds + 1):
        contenders = [
            lambda: _ours(trainer, module, samples),
            lambda: _bare(architecture, recipe, module, samples, options.precision),
        ]
        seconds = [0.0, 0.0]
        for index in (0, 1) if number % 2 else (1, 0):  # neither is always first
            seconds[index] = contenders[index]()
        mark = _mark(hook, module)
        if number:  # the first round warms up
            ours.append(seconds[0] / options.batches)
            bare.append(seconds[1] / options.batches)
            marks.append(mark)
    ratios = [b / o for b, o in zip(bare, ours, strict=True)]
    share = statistics.median(marks) / options.epoch_batches / statistics.median(ours)
    print(
        f"{options.network} ({options.size}), {options.threads} thread(s), batch {recipe.batch}, {options.precision}, ",
        end="",
    )
    print(f"medians of {options.rounds} interleaved rounds of {options.batches} batches, torch {torch.__version__}\n")
    print("| loop | ms per batch | images/s | throughput beside the bare loop |\n|---|---|---|---|")
    for name, values in (("bare PyTorch", bare), ("onnxnnw", ours)):
        milliseconds = 1000 * statistics.median(values)
        beside = "1" if values is bare else f"{statistics.median(ratios):.3f}"
        print(f"| {name} | {milliseconds:.1f} | {recipe.batch / milliseconds * 1000:.0f} | {beside} |")
    print(f"\nInserting a mark of 512 weights: {1000 * statistics.median(marks):.0f} ms (record included), ", end="")
    print(f"{100 * share:.2f} % per batch of the one epoch of {options.epoch_batches} batches that it precedes.")
    print(f"Exporting the architecture once per training, to get its slots: {exported:.1f} s.")
    return 0


def _ours(trainer: Trainer, module: torch.nn.Module, samples: Images) -> float:
    return trainer(module, samples).history[0].seconds


def _bare(
    architecture: object, recipe: Recipe, module: torch.nn.Module, samples: Images, precision: Precision
) -> float:
    """The loop of any tutorial, with the same augmentation, autocast and memory format."""
    import copy

    module = copy.deepcopy(module).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(module.parameters(), 0.2, 0.9, weight_decay=5e-4, nesterov=True)
    rng = np.random.default_rng(0)
    begin = time.perf_counter()
    order = rng.permutation(len(samples))
    for start in range(0, len(order), recipe.batch):
        images, labels = samples.batch(order[start : start + recipe.batch], rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is Precision.BFLOAT16):
            outputs = module(torch.from_numpy(images))
        loss = architecture.loss(outputs.float(), torch.from_numpy(labels))  # type: ignore[attr-defined]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - begin


def _mark(hook: NctInsertion, module: torch.nn.Module) -> float:
    begin = time.perf_counter()
    hook(module, 1)
    seconds = time.perf_counter() - begin
    hook.record.unlink()
    return seconds
