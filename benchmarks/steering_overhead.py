"""Overhead of steering: decoding with a steered model against the same model unsteered.

    python benchmarks/steering_overhead.py                  # every method, SmolLM2, batch 1, 8, 64
    python benchmarks/steering_overhead.py --flow           # ODESteer's flow alone, by width
    python benchmarks/steering_overhead.py --model random-8b --device cuda

One decoding step of each side in turn, on two copies of the model that share their weights, so
that drifts of the machine hit both; the ratio's median with its 95 % interval. The exit status is
1 if an interval of a method without a network lies above 1.02.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pairs
import random_8b
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from steereval.models.flow.sketch import PolynomialSketch
from steereval.models.inference.generation import Prompts, generating
from steereval.models.methods.method import layer_sites
from steereval.models.methods.odesteer import PolynomialFlow, odesteer_from_sketch
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.hook_points import Site, attention_heads, find_blocks
from steereval.models.steering.hooks import Session, steered
from steereval.models.steering.intervention import Intervention
from steereval.models.steering.positions import Positions
from steereval.models.steering.steerer import Steerer
from steereval.models.testing import contrast_data

LIMIT = 1.02
"""Most that methods without a network may cost with default options, except rff."""
PAIRS = {1: 160, 8: 80, 64: 32}
"""Pairs of decoding steps by batch size."""
ROUNDS = 2
"""Repetitions of both sides."""
PROMPT = 16
"""Tokens of each prompt."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a method, what it is fitted with, and whether the limit holds for it."""

    label: str
    method: str
    strength: float
    options: Mapping[str, Any] = field(default_factory=dict)
    every_layer: bool = False
    limited: bool = True
    by_sketch: bool = False
    """Integrate the sketch at every step, as the published code does."""


ROWS = (
    Row("none (two plain copies)", "none", 0, limited=False),
    Row("caa", "caa", 2),
    Row("repe", "repe", 10),
    Row("iti", "iti", 10),
    Row("iti_heads, 48 heads", "iti_heads", 15, every_layer=True),
    Row("mimic", "mimic", 1),
    Row("linact", "linact", 1),
    Row("odesteer, 1 step", "odesteer", 10, {"steps": 1}),
    Row("odesteer, 10 steps", "odesteer", 10),
    Row("odesteer, 100 steps", "odesteer", 10, {"steps": 100}, limited=False),
    Row("odesteer, exponential", "odesteer", 10, {"solver": "exponential"}),
    Row("step_odesteer", "step_odesteer", 10),
    Row("gradient_ascent", "gradient_ascent", 10),
    Row("linear_sphere", "linear_sphere", 10),
    Row("ablate", "ablate", 1),
    Row("angular", "angular", 5),
    Row("conditional, caa", "conditional", 2, {"method": "caa"}),
    Row("hpr", "hpr", 0.1, {"epochs": 1}, limited=False),
    Row("re_control", "re_control", 1, {"epochs": 1}, limited=False),
    Row("truthflow", "truthflow", 1, {"epochs": 1}, limited=False),
    Row("rff_odesteer, 10 steps", "rff_odesteer", 10, limited=False),
    Row("odesteer, degree 3", "odesteer", 10, {"degree": 3}, limited=False),
    Row("published way, 1 step", "odesteer", 10, {"steps": 1}, limited=False, by_sketch=True),
    Row("published way, 10 steps", "odesteer", 10, limited=False, by_sketch=True),
    Row("published way, 100 steps", "odesteer", 10, {"steps": 100}, limited=False, by_sketch=True),
)


def main() -> int:
    """Print the table; the exit status is 1 if a method is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m", help="bundled model, or random-8b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layer", type=int, default=14)
    parser.add_argument("--batch", type=int, nargs="+", default=list(PAIRS))
    parser.add_argument("--methods", nargs="+", help="beginnings of the lines to measure")
    parser.add_argument("--pairs", type=int, help="decoding steps of each side")
    parser.add_argument("--flow", action="store_true", help="measure ODESteer's flow alone")
    given = parser.parse_args()
    if given.flow:
        flow_alone(torch.device(given.device))
        return 0
    rows = [r for r in ROWS if not given.methods or r.label.startswith(tuple(given.methods))]
    counts = {size: given.pairs or PAIRS.get(size, 32) for size in given.batch}
    return decoding(load(given.model, given.device), rows, given.layer, counts)


def load(name: str, device: str) -> torch.nn.Module:
    """The bundled model in float32, or random weights in the shape of Llama 3.1 8B in bfloat16."""
    if name != random_8b.NAME:
        from steereval.harness.assets import fetch

        folder = fetch(name, lambda line: print(line, file=sys.stderr))
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    return random_8b.made(device)


def decoding(
    model: torch.nn.Module, rows: Sequence[Row], layer: int, counts: Mapping[int, int]
) -> int:
    """Print steered over unsteered for each method and batch size, over so many pairs each."""
    twin = copy.deepcopy(model, {id(part): part for part in weights(model)})
    print("steered over unsteered time of a decoding step: median [95 % interval]")
    print(f"{'':26}" + "".join(f"{f'batch {size}':>24}" for size in counts))
    missed = []
    for row in rows:
        steerers = fit(row, model, layer)
        ratios = [overhead(model, twin, steerers, row, *each) for each in counts.items()]
        above = row.limited and any(ratio.low > LIMIT for ratio in ratios)
        verdict = "" if not row.limited else "  above the limit" if above else "  within 2 %"
        print(
            f"{row.label:26}" + "".join(f"{ratio!s:>24}" for ratio in ratios) + verdict, flush=True
        )
        missed += [row.label] if above else []
    return 1 if missed else 0


def weights(model: torch.nn.Module) -> Iterator[Tensor]:
    """The tensors that the two copies share."""
    yield from model.parameters()
    yield from model.buffers()


def fit(row: Row, model: torch.nn.Module, layer: int) -> dict[Site, Steerer]:
    """Steerers of the model's width. What they cost does not depend on how good they are, so two
    Gaussians do; those on heads act in all blocks."""
    method = BUILT_IN[row.method]
    blocks = range(len(find_blocks(model))) if row.every_layer else [layer]
    width = int(model.config.hidden_size)
    if row.method == "none":
        return {}
    if method.reads == "heads":
        return fit_heads(row, model, list(blocks))
    data = contrast_data(0, width)
    (steerer,) = method.fit(data, method.options(row.options), 0).values()
    if row.by_sketch:
        assert isinstance(steerer, PolynomialFlow)
        steerer = replace(steerer, basis=torch.empty(0))
    return {Site(layer): steerer}


def fit_heads(row: Row, model: torch.nn.Module, blocks: Sequence[int]) -> dict[Site, Steerer]:
    """48 heads spread over the blocks: the shape of what the method chooses."""
    heads = attention_heads(model)
    sites = layer_sites(BUILT_IN[row.method], blocks, heads)
    width = int(model.config.hidden_size) // heads
    shift = next(iter(BUILT_IN["caa"].fit(contrast_data(0, width), None, 0).values()))
    chosen = torch.linspace(0, len(sites) - 1, 48).long().tolist()
    return {sites[index]: shift for index in chosen}


def overhead(
    model: torch.nn.Module,
    twin: torch.nn.Module,
    steerers: Mapping[Site, Steerer],
    row: Row,
    size: int,
    count: int,
) -> pairs.Ratio:
    """Steered over unsteered time of one decoding step, both sides with caches as long.

    Each copy is steered for half of the pairs, in several rounds, each with new caches, so that
    where things lie in memory does not matter.
    """
    intervention = Intervention(steerers, row.strength) if steerers else None
    ratios: list[float] = []
    for one, other in ROUNDS * ((model, twin), (twin, model)):
        with (
            torch.inference_mode(),
            started(other, None, size) as plain,
            started(one, intervention, size) as steering,
        ):
            ratios += pairs.interleaved(steering, plain, count // (2 * ROUNDS))
    return pairs.median(ratios)


@contextmanager
def started(
    model: torch.nn.Module, intervention: Intervention | None, size: int
) -> Iterator[Callable[[], None]]:
    """A function that decodes one more token greedily for each of `size` prompts."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 1000, (size, PROMPT), generator=draw).to(next(weights(model)).device)
    state: dict[str, Any] = {"cache": None, "ids": ids}

    def step() -> None:
        out = model(input_ids=state["ids"], past_key_values=state["cache"], use_cache=True,
                    logits_to_keep=1)  # fmt: skip
        state["cache"], state["ids"] = out.past_key_values, out.logits[:, -1:].argmax(dim=-1)

    if intervention is None:
        step()
        yield step
        return
    with steered(model, [intervention]) as session, steps(model, session, size):
        step()
        yield step


def steps(model: torch.nn.Module, session: Session, size: int) -> Any:
    """The frames of a generation, as the program itself makes them."""
    prompts = Prompts(
        torch.zeros(size, dtype=torch.long), PROMPT, [0] * size, [0] * size,
        [Positions("generated")] * size, [f"prompt {index}" for index in range(size)],
    )  # fmt: skip
    return generating(model, session, prompts)


def flow_alone(device: torch.device) -> None:
    """Print the exact flow's time over the sketch's, which is integrated as published."""
    print("exact over published time of ODESteer's flow: median [95 % interval], float32")
    print(f"{'width':>6} {'rows':>5} {'steps':>6} {'ratio':>24} {'largest difference':>20}")
    for width in (576, 2048, 4096, 8192):
        flow = random_flow(width).to(device)
        for rows in (1, 8, 64):
            x = 3 * torch.randn(rows, width, generator=torch.Generator().manual_seed(rows))
            for count in (1, 10, 100):
                line = compare(replace(flow, steps=count), x.to(device), 30 if count < 100 else 10)
                print(f"{width:6} {rows:5} {count:6} {line}", flush=True)


def random_flow(width: int) -> PolynomialFlow:
    """Random hashes and weights: the time depends on the shape alone."""
    draw = torch.Generator().manual_seed(width)
    sketch = PolynomialSketch.draw(width, 2, 8000, 0.1, 1.0, 0)
    coef = torch.randn(8000, generator=draw, dtype=torch.float64)
    return odesteer_from_sketch(sketch.index_hash, sketch.sign_hash, coef, 0.0)


def compare(flow: PolynomialFlow, x: Tensor, count: int) -> str:
    """Both ways from the same states, over a tenth of their norm."""
    published = replace(flow, basis=torch.empty(0))
    form, strength = flow.quadratic, 0.1 * float(x.norm(dim=1).mean())
    assert form is not None

    def exact() -> Tensor:
        return x + form.rotate_back(flow.flow(form.direction, form.rotate(x), strength))

    with torch.inference_mode():
        difference = float((exact() - published(x, strength)).abs().max())
        ratio = pairs.median(pairs.interleaved(exact, lambda: published(x, strength), count))
    return f"{ratio!s:>24} {difference:20.1e}"


if __name__ == "__main__":
    sys.exit(main())
