"""The training loop: batches in, better weights out. Data, models and workers come from outside.

Each step draws its random numbers from the seed, its own number and the worker's rank, so that a run that was killed
and resumed takes the very steps of one that was not. The weights that count are the running mean (EMA).
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.config import OptimConfig, Preset, TrainingConfig
from model.errors import RunError
from model.training.checkpoint import load_state, save_state, state_of
from model.training.loader import read_ahead
from model.training.objective import TextStates, flow_loss
from model.training.parameters import build_optimisers, choose_parameters
from model.training.samples import Batch, draw_batch
from model.training.sharding import drop_unused, whole
from model.types import TrainingClip

LAST_RATE = 0.05  # of the full rate, at the end of the cosine
CURVE = "curve.jsonl"
VALIDATION_SEED = 2**31


@dataclass(frozen=True)
class Point:
    """One point of the loss curve: the mean since the last one, and on held-out clips with the averaged weights."""

    step: int
    loss: float
    validation: float
    gradient: float


@dataclass(frozen=True)
class Worker:
    """One of `count` processes that train together; `wrap` makes the module that shares gradients among them."""

    rank: int = 0
    count: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module


def train(
    transformer: nn.Module,
    training: Sequence[TrainingClip],
    validation: Sequence[TrainingClip],
    text: TextStates,
    config: TrainingConfig,
    folder: Path,
    report: Callable[[Point], None] = lambda point: None,
    worker: Worker | None = None,
    preset: Preset | None = None,
) -> list[Point]:
    """Train in place, going on from the newest state in `folder`; returns the whole curve.

    `preset` are the settings that the model is to be used with, as far as a sample has to be like an edit by them.
    At the end the transformer holds the averaged weights.

    Raises:
        StoreError: the state in `folder` is of another model.
        RunError: a gradient is not finite; the states before it stay.
    """
    run = _Run(transformer, config, worker or Worker(), folder, preset)
    curve = _read_curve(folder, run.step)
    losses: list[float] = []
    with read_ahead(partial(run.draw, training), run.step * config.optim.accumulate) as batches:
        while run.step < config.steps:
            losses.append(run.advance(batches, text))
            last = run.step == config.steps
            if run.step % config.validate_every == 0 or last:
                point = Point(run.step, float(np.mean(losses)), run.validate(validation, text), run.gradient)
                curve.append(point)
                losses = []
                report(point)
            if run.step % config.save_every == 0 or last:
                run.save(curve)
    run.adopt_mean()
    return curve


class _Run:
    """What changes from step to step."""

    def __init__(
        self, transformer: nn.Module, config: TrainingConfig, worker: Worker, folder: Path, preset: Preset | None
    ) -> None:
        self.config, self.worker, self.gradient, self._folder, self._preset = config, worker, 0.0, folder, preset
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)  # adapters of low rank begin at random
            choose_parameters(transformer, config.optim)
        self._module = self.worker.wrap(transformer)
        self._weights = {name: each for name, each in transformer.named_parameters() if each.requires_grad}
        self._mean = {name: each.detach().clone() for name, each in self._weights.items()}
        self._optimisers = build_optimisers(transformer, config.optim)
        self._groups = [group for optimiser in self._optimisers for group in optimiser.param_groups]
        self._rates = [group["lr"] for group in self._groups]
        self.step = load_state(folder, self._weights, self._mean, self._optimisers)

    def draw(self, clips: Sequence[TrainingClip], number: int) -> Batch:
        """The `number`-th batch of this worker; its shape is that of the others, which have to make the same.

        No worker has the rank by which the shape is drawn, so that it does not go with anybody's samples.
        """
        count = self.worker.count
        shape = np.random.default_rng([self.config.seed, number, count]) if count > 1 else None
        samples = np.random.default_rng(self._seed(number))
        return draw_batch(clips, self.config.batch, self.config.mix, samples, shape)

    def advance(self, batches: Iterator[Batch], text: TextStates) -> float:
        """One step of the optimiser; returns its loss.

        Raises:
            RunError: the gradient is not finite, which is so on every worker, since it is that of all of them.
        """
        config, optim = self.config, self.config.optim
        for group, rate in zip(self._groups, self._rates, strict=True):
            group["lr"] = rate * _schedule(self.step, config.steps, optim)
        total = 0.0
        for part in range(optim.accumulate):
            noise = self._noise(self.step * optim.accumulate + part, text.empty.device)
            loss = self._loss(next(batches), text, noise) / optim.accumulate
            loss.backward()
            total += float(loss.detach())
        drop_unused(self._weights.values())
        self.gradient = float(whole(nn.utils.clip_grad_norm_(self._weights.values(), optim.clip)))
        if not math.isfinite(self.gradient):
            raise RunError(
                f"step {self.step + 1}: the gradient is {self.gradient}, so no step was taken, and states saved before "
                "stay; lower training.optim.rate, set dtype: float32, or look for clips whose latents are not finite, "
                "and give another --out"
            )
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self._average()
        self.step += 1
        return total

    @torch.no_grad()
    def validate(self, clips: Sequence[TrainingClip], text: TextStates) -> float:
        """Loss on held-out clips, always on the same batches, with the averaged weights."""
        with self._swapped():
            losses = []
            for index in range(self.config.validation_batches):
                samples = np.random.default_rng([VALIDATION_SEED, index])
                batch = draw_batch(clips, self.config.batch, self.config.mix, samples)
                noise = torch.Generator(text.empty.device).manual_seed(VALIDATION_SEED + index)
                losses.append(float(self._loss(batch, text, noise)))
        return float(np.mean(losses))

    def save(self, curve: list[Point]) -> None:
        """Write the state and the curve so far: one worker does, with what all of them hold."""
        tensors = state_of(self._weights, self._mean, self._optimisers)
        if self.worker.rank != 0:
            return
        write_lines(self._folder / CURVE, (json.dumps(asdict(point)) for point in curve))
        save_state(self._folder, self.step, tensors)

    @torch.no_grad()
    def adopt_mean(self) -> None:
        """Replace the weights by their running mean."""
        for name, parameter in self._weights.items():
            parameter.copy_(self._mean[name])

    def _loss(self, batch: Batch, text: TextStates, random: torch.Generator) -> Tensor:
        config, module = self.config, self._module
        half = torch.autocast(text.empty.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16")
        with half:
            return flow_loss(module, batch, text, config.mix, config.shift, config.region_weight, random, self._preset)

    def _seed(self, number: int) -> list[int]:
        return [self.config.seed, number, self.worker.rank]

    def _noise(self, number: int, device: torch.device) -> torch.Generator:
        """For the `number`-th batch, drawn where it is used."""
        return torch.Generator(device).manual_seed(int(np.random.SeedSequence(self._seed(number)).generate_state(1)[0]))

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.optim.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self._weights.items():
            self._mean[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        """The averaged weights in place of the others."""
        kept = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        self.adopt_mean()
        try:
            yield
        finally:
            for name, parameter in self._weights.items():
                parameter.copy_(kept[name])


def _schedule(step: int, steps: int, optim: OptimConfig) -> float:
    """Share of the full rate: a linear warm-up, then a cosine down to `LAST_RATE`."""
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    done = (step - optim.warmup) / max(1, steps - optim.warmup)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _read_curve(folder: Path, step: int) -> list[Point]:
    """The points up to `step`; later ones will be measured again."""
    path = folder / CURVE
    if not path.is_file():
        return []
    points = (Point(**json.loads(line)) for line in path.read_text().splitlines())
    return [point for point in points if point.step <= step]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines, and the folder for it; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text("".join(f"{line}\n" for line in lines))
    unfinished.rename(path)
