"""Training of the networks that some methods need: one loop, early stopping, saved curves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from steereval.common.errors import FitError

Loss = Callable[[Tensor], Tensor]
"""Mean loss over the samples of the given indices."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained. Methods set their own published defaults."""

    epochs: int
    """Most passes over the training part."""
    learning_rate: float
    """Peak rate of Adam."""
    batch_size: int
    """Samples in a step."""
    held_out: float = 0.1
    """Share of the samples that is not trained on but watched."""
    patience: int = 10
    """Epochs without a better loss on the held-out part after which training stops."""

    def __post_init__(self) -> None:
        """Refuse values outside their range with a ValueError."""
        for name in ("epochs", "learning_rate", "batch_size", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must be at least 0 and below 1, not {self.held_out}")


@contextmanager
def drawing_from(seed: int) -> Iterator[torch.Generator]:
    """Initial weights inside the block come from `seed`; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def split_rows(
    count: int, held_out: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Indices to train on and indices to watch, drawn at random; one of each at least, if two."""
    order = torch.randperm(count, generator=generator)
    watched = min(math.ceil(held_out * count), count - 1)
    return order[watched:], order[:watched]


def train(
    method: str,
    network: nn.Module,
    rows: tuple[Tensor, Tensor],
    loss: Loss,
    options: TrainingOptions,
    generator: torch.Generator,
    *,
    warmup: float = 0.0,
    weight_decay: float = 0.0,
) -> dict[str, Any]:
    """Train `network` in place and leave it at its best epoch; the curves, fit for JSON.

    `rows`: indices to train on and to watch (`split_rows`). `warmup`: share of the steps over
    which the rate rises. The best epoch is that of the least loss on the watched rows, or on the
    training rows where none are watched. Raises FitError if the loss is not finite.
    """
    chosen, watched = rows
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=weight_decay
    )
    steps = options.epochs * math.ceil(len(chosen) / options.batch_size)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / max(1.0, warmup * steps))
    )
    curves: dict[str, list[float]] = {"train": [], "held_out": []}
    best, best_epoch, best_state = math.inf, 0, copy.deepcopy(network.state_dict())
    for epoch in tqdm(range(options.epochs), desc=f"training {method}", leave=False):
        curves["train"].append(
            _epoch(network, chosen, loss, options, generator, optimiser, rate)
        )  # fmt: skip
        curves["held_out"].append(_watch(network, watched, loss))
        now = curves["held_out" if len(watched) else "train"][-1]
        if not math.isfinite(now):
            raise FitError(
                f"the training of {method} diverged in epoch {epoch + 1}",
                "Lower learning_rate.",
            )
        if now < best:
            best, best_epoch, best_state = now, epoch + 1, copy.deepcopy(network.state_dict())
        elif epoch + 1 - best_epoch >= options.patience:
            break
    network.load_state_dict(best_state)
    return {
        "epochs": len(curves["train"]), "of": options.epochs, "best_epoch": best_epoch,
        "train_loss": curves["train"], "held_out_loss": curves["held_out"] if len(watched) else [],
    }  # fmt: skip


def _epoch(
    network: nn.Module,
    rows: Tensor,
    loss: Loss,
    options: TrainingOptions,
    generator: torch.Generator,
    optimiser: torch.optim.Optimizer,
    rate: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the rows in random order; the mean loss."""
    network.train()
    total = 0.0
    order = rows[torch.randperm(len(rows), generator=generator)]
    # A fit may be asked for while a model runs, where gradients are switched off.
    with torch.enable_grad():
        for batch in torch.split(order, options.batch_size):
            optimiser.zero_grad()
            value = loss(batch)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            total += float(value.detach()) * len(batch)
    return total / len(rows)


def _watch(network: nn.Module, rows: Tensor, loss: Loss) -> float:
    if len(rows) == 0:
        return math.nan
    network.eval()
    with torch.no_grad():
        return float(loss(rows))
