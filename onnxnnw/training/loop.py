"""One training loop for every network; a traceability method takes part in it through the hooks defined here.

Everything random in epoch e follows from (seed, e) alone, and learning rates from the iteration's number, so a training
that was killed and resumed from its checkpoint ends, on a CPU with the same number of threads, with the same bits. It goes on
in the precision in which it began, whatever this machine would have chosen.
"""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, UnreadableData, UsageError
from onnxnnw.recipes import UNSAID, Precision, Recipe, usual_precision
from onnxnnw.tasks.base import Metric, Samples, evaluate
from onnxnnw.training.checkpoints import load_checkpoint, save_checkpoint
from onnxnnw.training.hooks import (
    Cost,
    Epoch,
    Hooks,
    Trained,
    TrainingProgress,
)

__all__ = ["Trainer"]

LOOK_EVERY = 20
"""Batches between two looks at the loss: on a GPU each look waits for the device."""

log = logging.getLogger(__name__)
Tensor = Any
Module = Any


# --- what comes out ---------------------------------------------------------------------------------------------------


# --- the loop ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trainer:
    """Trains modules by a recipe.

    Args:
        loss: Outputs and targets -> scalar tensor.
        checkpoint: File that receives the state after every epoch, and from which an unfinished training resumes, with
            the same bits, or with another number of epochs and then along the rest of that schedule.
        until: Stop when so many epochs are finished, as if interrupted, to be resumed later.
        keep: Numbers of finished epochs whose checkpoint is kept beside it, as ``NAME.epoch-50.pt``.
        threads: Of torch; other numbers give other bits. None leaves torch's own.
        precision: bfloat16 computes in it where torch's autocast considers that safe; weights stay float32. None takes the
            checkpoint's, and ``recipes.usual_precision`` where there is none.
        device: ``"cpu"``, ``"cuda"``; None takes the GPU when there is one.
    """

    recipe: Recipe
    loss: Callable[[Tensor, Tensor], Tensor]
    seed: int = 0
    hooks: Hooks = field(default_factory=Hooks)
    checkpoint: Path | None = None
    until: int | None = None
    keep: frozenset[int] = frozenset()
    threads: int | None = None
    precision: Precision | None = None
    device: str | None = None
    progress: TrainingProgress | None = None

    def __call__(
        self,
        module: Module,
        samples: Samples,
        *,
        testing: Samples | None = None,
        metric: Metric | None = None,
        adversary: Module | None = None,
    ) -> Trained:
        """A trained copy of the module.

        Raises:
            UsageError: The checkpoint's training was begun in another precision than the one asked for.
            CannotLook: The loss is no longer a number, or a checkpoint cannot be written; the last good one is intact.
            UnreadableData: The checkpoint is damaged or belongs to another training; too few samples for one batch.
        """
        before = torch.get_num_threads()
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            with torch.random.fork_rng():
                run = _Run(self, module, adversary, len(samples))
                run.resume()
                last = self.recipe.epochs if self.until is None else min(self.until, self.recipe.epochs)
                while run.finished < last:
                    run.hook()
                    seconds, loss = run.epoch(samples)
                    quality = None if testing is None or metric is None else run.quality(testing, metric)
                    run.note(Epoch(run.finished + 1, loss, quality, seconds, run.batches))
                    run.save()
                if run.finished >= self.recipe.epochs:
                    run.hook()
                return run.result()
        finally:
            torch.set_num_threads(before)


class _Run:
    """One training under way."""

    def __init__(self, trainer: Trainer, module: Module, adversary: Module | None, samples: int) -> None:
        recipe = trainer.recipe
        self.trainer, self.recipe = trainer, recipe
        self.device = trainer.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = trainer.precision or usual_precision(self.device)
        self.module = self._place(module)
        self.optimizer = recipe.optimizer.build(self.module.parameters())
        self.adversary = None if adversary is None else self._place(adversary)
        self.opponent = None if self.adversary is None else recipe.optimizer.build(self.adversary.parameters())
        self.batches = samples * recipe.repeats // recipe.batch  # the last, smaller batch is left out
        if self.batches == 0 and recipe.epochs > 0:
            raise UnreadableData(f"{samples} training samples do not fill one batch of {recipe.batch}")
        self.history: list[Epoch] = []

    @property
    def finished(self) -> int:
        return len(self.history)

    def _place(self, module: Module) -> Module:
        return copy.deepcopy(module).to(self.device).to(memory_format=torch.channels_last)

    def _autocast(self) -> Any:
        enabled = self.precision is Precision.BFLOAT16
        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=enabled)

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values) if min(values.strides, default=0) < 0 else values)
        tensor = tensor.to(self.device, non_blocking=True)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def hook(self) -> None:
        if self.trainer.hooks.at_epoch is not None:
            self.trainer.hooks.at_epoch(self.module, self.finished)

    def epoch(self, samples: Samples) -> tuple[float, float]:
        """Seconds and mean loss of the next epoch."""
        number = self.finished
        rng = np.random.default_rng([self.trainer.seed, number])
        torch.manual_seed(int(rng.integers(2**63)))
        order = np.concatenate([rng.permutation(len(samples)) for _ in range(self.recipe.repeats)])
        self.module.train()
        total = torch.zeros((), device=self.device)
        begin = time.perf_counter()
        for step in range(self.batches):
            progress = (number * self.batches + step) / (self.recipe.epochs * self.batches)
            self._set_rate(self.recipe.optimizer.rate * self.recipe.schedule(progress))
            chosen = order[step * self.recipe.batch : (step + 1) * self.recipe.batch]
            total += self.step(*self._batch(samples, chosen, rng))
            begin += self._looked_on(number * self.batches + step + 1)
            if (step + 1) % LOOK_EVERY == 0 or step + 1 == self.batches:
                self._look(float(total), number + 1, step + 1)
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begin, float(total) / self.batches

    def _looked_on(self, iteration: int) -> float:
        """Seconds that an observer of the training took."""
        if self.trainer.hooks.after_batch is None:
            return 0.0
        begin = time.perf_counter()
        self.trainer.hooks.after_batch(self.module, iteration)
        return time.perf_counter() - begin

    def _batch(self, samples: Samples, chosen: NDArray[Any], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = (self._tensor(values) for values in samples.batch(chosen, rng))
        if self.trainer.hooks.extra is not None:
            more_inputs, more_targets = (self._tensor(values) for values in self.trainer.hooks.extra(rng))
            inputs, targets = torch.cat([inputs, more_inputs]), torch.cat([targets, more_targets])
        return inputs, targets

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One update of the module (and of the adversary, if any); the loss before it, detached."""
        with self._autocast():
            outputs = self.module(inputs)
        outputs = outputs.float()
        loss = self.trainer.loss(outputs, targets)
        whole = loss * self.recipe.fidelity
        if self.adversary is not None and self.opponent is not None:
            self._train_adversary(inputs, outputs.detach(), targets)
            whole = whole + self._fooled(self._judge(inputs, outputs), real=True)
        if self.trainer.hooks.penalty is not None:
            whole = whole + self.trainer.hooks.penalty(self.module)
        self.optimizer.zero_grad(set_to_none=True)
        whole.backward()
        self.optimizer.step()
        return loss.detach()

    def _train_adversary(self, inputs: Tensor, generated: Tensor, real: Tensor) -> None:
        assert self.opponent is not None
        verdicts = self._fooled(self._judge(inputs, real), real=True)
        verdicts = verdicts + self._fooled(self._judge(inputs, generated), real=False)
        self.opponent.zero_grad(set_to_none=True)
        (verdicts / 2).backward()
        self.opponent.step()

    def _judge(self, inputs: Tensor, images: Tensor) -> Tensor:
        """The adversary sees the condition beside the image."""
        assert self.adversary is not None
        with self._autocast():
            return self.adversary(torch.cat([inputs, images], 1)).float()

    @staticmethod
    def _fooled(scores: Tensor, *, real: bool) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))

    def _set_rate(self, rate: float) -> None:
        for optimizer in (self.optimizer, self.opponent):
            for group in optimizer.param_groups if optimizer else ():
                group["lr"] = rate

    def _look(self, total: float, epoch: int, done: int) -> None:
        if not math.isfinite(total):
            kept = f"; the checkpoint of epoch {self.finished} is intact" if self.trainer.checkpoint else ""
            raise CannotLook(
                f"the loss is no longer a number, at epoch {epoch}, batch {done} of {self.batches}{kept}; "
                f"try a lower learning rate than {self.recipe.optimizer.rate}"
            )
        if self.trainer.progress is not None:
            self.trainer.progress.batch(epoch, done, self.batches, total / done)

    def quality(self, testing: Samples, metric: Metric) -> float:
        """The metric on the test samples, in float32."""
        self.module.eval()

        def predict(inputs: NDArray[Any]) -> NDArray[Any]:
            with torch.inference_mode():
                answer: NDArray[Any] = self.module(self._tensor(inputs)).float().cpu().numpy()
                return answer

        return evaluate(predict, testing, [metric]).values[metric.name]

    def note(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        if self.trainer.progress is not None:
            self.trainer.progress.epoch(epoch)

    def result(self) -> Trained:
        batches = sum(epoch.batches for epoch in self.history)
        seconds = sum(epoch.seconds for epoch in self.history)
        cost = Cost(seconds / batches if batches else 0.0, batches, _peak_memory(self.device))
        module = self.module.to("cpu").to(memory_format=torch.contiguous_format).eval()
        return Trained(module, tuple(self.history), cost, self.precision)

    # --- checkpoints

    def _players(self) -> dict[str, Any]:
        players = {"module": self.module, "optimizer": self.optimizer}
        if self.adversary is not None:
            players |= {"adversary": self.adversary, "opponent": self.opponent}
        return players

    def _identity(self) -> dict[str, Any]:
        """What must agree for a resumed training to be the same training.

        All but the number of epochs: a training may be resumed to end sooner or later than it was planned to.
        """
        return {"recipe": repr(replace(self.recipe, epochs=0)), "seed": self.trainer.seed, "batches": self.batches}

    def save(self) -> None:
        path = self.trainer.checkpoint
        if path is None:
            return
        state = {
            **self._identity(),
            "epochs": self.recipe.epochs,
            "threads": torch.get_num_threads(),
            "precision": self.precision.value,
            "history": [asdict(epoch) for epoch in self.history],
            "state": {name: player.state_dict() for name, player in self._players().items()},
        }
        targets = [path]
        if self.finished in self.trainer.keep:
            targets.insert(0, path.with_name(f"{path.stem}.epoch-{self.finished}{path.suffix}"))
        save_checkpoint(state, targets)

    def resume(self) -> None:
        path = self.trainer.checkpoint
        if path is None or not path.exists():
            return
        state = load_checkpoint(path)
        mine = self._identity()
        for key, wanted in mine.items():
            if state.get(key) != wanted:
                raise UnreadableData(
                    f"{path} belongs to another training: its {key} is {state.get(key)!r}, not {wanted!r}; "
                    "name another checkpoint or remove it"
                )
        self._go_on_in(state.get("precision", UNSAID.value), path)
        if state["epochs"] != self.recipe.epochs:
            log.warning("%s was planned for %s epochs; now for %s", path, state["epochs"], self.recipe.epochs)
        if state["threads"] != torch.get_num_threads():
            log.warning("%s was made with %s threads; the result will differ in its bits", path, state["threads"])
        try:
            for name, player in self._players().items():
                player.load_state_dict(state["state"][name])
            self.history = [Epoch(**epoch) for epoch in state["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UnreadableData(f"{path} does not fit this network: {str(error).strip().splitlines()[0]}") from error

    def _go_on_in(self, begun: str, path: Path) -> None:
        """The precision of a checkpoint, so that resuming gives the same bits on every machine."""
        if begun not in list(Precision):
            raise UnreadableData(f"{path} was trained in {begun!r}, which this version does not know")
        if self.trainer.precision not in (None, begun):
            raise UsageError(
                f"{path} is of a training in {begun}, which cannot go on in {self.trainer.precision}; "
                "ask for no other precision, or name another checkpoint"
            )
        if self.precision != begun:
            log.warning("%s is of a training in %s and goes on in it; here %s is faster", path, begun, self.precision)
        self.precision = Precision(begun)


def _peak_memory(device: str) -> int:
    """Bytes: the device's high-water mark on a GPU, else the process's."""
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
