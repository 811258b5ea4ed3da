"""Time of a grid in one pass, compared with a loop over lm_eval runs.

    python benchmarks/grid_engine.py --data-dir FOLDER        # with truthfulqa/ in it
    python benchmarks/grid_engine.py --model gemma3-270m --rows likelihoods --data-dir FOLDER
    python benchmarks/grid_engine.py --model random-8b --device cuda --data-dir FOLDER

Both sides answer the same requests, each once. The exit status is 1 if their answers differ; of
random-8b, in bfloat16, the first row alone is compared, since rounding decides the others.
Needs TruthfulQA, since the mini set has too few questions to stand for a benchmark.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import random_8b
import torch
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from steereval.common.paths import cache_folder
from steereval.harness.assets import fetch
from steereval.harness.engine.arms import Answers
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.harness.engine.treatments import Treatment, unfitted
from steereval.models.artefacts.artefact import Artefact
from steereval.models.methods.registry import BUILT_IN
from steereval.models.steering.hook_points import Site, find_blocks
from steereval.models.steering.positions import Positions
from steereval.models.testing import contrast_data
from steereval.tasks.catalogue.cards import load_tasks

TASKS = ("truthfulqa_mc1", "truthfulqa_mc2")
METHODS: dict[str, list[float]] = {
    "caa": [2.0], "repe": [10.0], "iti": [10.0], "mimic": [0.5], "linact": [0.5],
    "odesteer": [10.0], "step_odesteer": [10.0], "linear_sphere": [10.0], "ablate": [1.0],
    "angular": [5.0],
}  # fmt: skip
ROWS = ("likelihoods", "slope", "runs", "cells", "loop", "generation")
TOLERANCE = 1e-3
"""Largest difference in log-likelihood that still counts as equal in float32."""
Score = tuple[float, bool]
"""An answer: log-likelihood, and whether greedy decoding gives the continuation."""


def main() -> int:
    """Print the rows asked for; 1 if answers differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m", help="bundled model, or random-8b")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    given = parser.parse_args()
    with model_folder(given.model, given.device) as folder:
        bench = Bench(given, folder)
        wrong = [name for name in ROWS if name in given.rows and not getattr(bench, name)()]
    return 1 if wrong else 0


@contextmanager
def model_folder(name: str, device: str) -> Iterator[str]:
    """Where the model `name` lies; one with random weights is made for the time being."""
    tokenizer = "smollm2-135m"
    folder = fetch(tokenizer if name == random_8b.NAME else name, partial(print, file=sys.stderr))
    if name != random_8b.NAME:
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        random_8b.save(Path(made), folder, device)
        yield made


class Bench:
    """Both sides, loaded once."""

    def __init__(self, given: argparse.Namespace, folder: str) -> None:
        """Load the models and lay out the requests."""
        self.given, self.folder = given, folder
        self.dtype = "bfloat16" if given.model == random_8b.NAME else "float32"
        common = {
            "dtype": self.dtype, "softmax_dtype": "float32",
            "device": given.device, "batch_size": given.batch,
        }  # fmt: skip
        self.plain = HFLM(self.folder, **common)
        self.ours = SteeredLM(self.folder, method="none", **common)
        self.ours.quiet = True
        self.layer = len(find_blocks(self.ours.model)) // 2 - 1
        self.requests = requests(given.data_dir, given.questions)
        self.plain_seconds = 0.0

    def answer(
        self, kind: str, requests: Sequence[Instance], arms: Sequence[Treatment]
    ) -> list[Answers]:
        """Our answers under each of `arms`."""
        return self.ours.answer(kind, requests, arms, [0] * len(arms))

    def likelihoods(self) -> bool:
        """One unsteered cell of mc1 + mc2, after start-up."""
        unsteered = [treatment("none", 0.0, self)]
        # A GPU's first passes load what they run.
        self.answer("loglikelihood", self.requests[: self.given.batch], unsteered)
        self.plain.loglikelihood(self.requests[: self.given.batch], True)
        self.ours.forget()
        took, (ours,) = timed(lambda: self.answer("loglikelihood", self.requests, unsteered))
        self.plain_seconds, theirs = timed(lambda: self.plain.loglikelihood(self.requests, True))
        fed = [len(self.ours.tok_encode(r.args[0] + r.args[1])) - 1 for r in self.requests]
        print(
            f"{len(self.requests)} requests of {self.given.questions} questions; "
            f"hf is fed {sum(fed)} tokens"
        )
        print(
            f"hf {self.plain_seconds:.1f} s, ours {took:.1f} s: "
            f"{self.plain_seconds / took:.1f} times"
        )
        return self._equal(ours.values, theirs)

    def _equal(self, ours: Sequence[Score], theirs: Sequence[Score]) -> bool:
        """Whether answers are equal, but for rounding: in a lower precision, not twice as far
        from hf's as those that hf itself gives one by one."""
        largest, typical = distance(ours, theirs)
        print(f"difference in log-likelihood {largest:.1e} at most, {typical:.1e} typically (rms)")
        if self.dtype == "float32":
            return largest <= TOLERANCE
        self.plain.batch_size_per_gpu = 1
        alone = self.plain.loglikelihood(self.requests, True)
        self.plain.batch_size_per_gpu = self.given.batch
        of_itself, usual = distance(alone, theirs)
        print(
            f"of hf from itself one by one {of_itself:.1e} at most, {usual:.1e} typically",
            flush=True,
        )
        return typical <= 2 * usual

    def slope(self) -> bool:
        """Cost against the number of methods."""
        names = list(METHODS) + list(METHODS)[:6]
        times: dict[int, float] = {}
        for count in (1, 2, 4, 8, 16):
            arms = [
                treatment(n, METHODS[n][0] * (1 + i / 32), self)
                for i, n in enumerate(names[:count])
            ]
            self.ours.forget()
            times[count], _ = timed(partial(self.answer, "loglikelihood", self.requests, arms))
            print(f"{count:2} methods {times[count]:6.1f} s", flush=True)
        slope = (times[16] - times[1]) / 15
        print(f"each further method costs {slope / times[1]:.2f} of the first one")
        if self.plain_seconds:
            print(f"and {slope / self.plain_seconds:.3f} of a run of hf", flush=True)
        return True

    def runs(self) -> bool:
        """Cost of whole runs against the number of methods: start-up, loading and fits counted."""
        several = [*METHODS.items(), *((n, [s[0] * 1.25]) for n, s in METHODS.items())]
        times = {count: self._run(several[:count]) for count in (1, 2, 4, 8, 16)}
        for count, seconds in times.items():
            print(f"steereval run, {count:2} methods: {seconds:6.1f} s", flush=True)
        slope = (times[16] - times[1]) / 15
        print(f"each further method costs {slope / times[1]:.2f} of a run of one", flush=True)
        return True

    def cells(self) -> bool:
        """Ten steered methods on mc1 + mc2, start-up and fits included."""
        took = self._run([("none", []), *METHODS.items()])
        start, _ = timed(self._start_up)
        ten = 10 * (start + self.plain_seconds)
        print(f"steereval run, 10 methods and the baseline: {took:.1f} s")
        print(
            f"ten runs of hf, start-up {start:.1f} s each: {ten:.1f} s: {ten / took:.1f} times",
            flush=True,
        )
        return True

    def _run(self, methods: Sequence[tuple[str, list[float]]]) -> float:
        """Seconds of `steereval run` over `methods`."""
        named = [
            {"name": name, "label": f"{name}-{place}", "strengths": strengths}
            for place, (name, strengths) in enumerate(methods)
        ]
        grid = {
            "name": "several",
            "models": [{"name": self.folder, "layers": [self.layer], "dtype": self.dtype}],
            "contrast": "truthful-mini",
            "methods": named,
            "tasks": [{"name": task, "limit": self.given.questions} for task in TASKS],
            "analysis": {"baseline": named[0]["label"]},
            "run": {"batch_size": self.given.batch, "device": self.given.device},
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "grid.yaml"
            path.write_text(yaml.safe_dump(grid))
            command = [sys.executable, "-m", "steereval", "run", str(path), "--no-report"]
            command += ["--out", f"{folder}/run", "--data-dir", str(self.given.data_dir)]
            # Activations that an earlier run kept would be taken for granted.
            (Path(folder) / "cache").mkdir()
            (Path(folder) / "cache/models").symlink_to(cache_folder() / "models")
            environment = os.environ | {"STEEREVAL_CACHE": f"{folder}/cache"}
            took, _ = timed(
                lambda: subprocess.run(command, check=True, capture_output=True, env=environment)
            )
        return took

    def _start_up(self) -> None:
        """Run the start-up of lm_eval up to its first answer."""
        code = (
            "import sys; from lm_eval.evaluator import simple_evaluate; "
            "from lm_eval.models.huggingface import HFLM; "
            f"HFLM({self.folder!r}, dtype={self.dtype!r}, device={self.given.device!r})"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    def loop(self) -> bool:
        """Position by position, as published: a pass for every token of a continuation."""
        few = self.requests[:40]
        arm = treatment("caa", 2.0, self)
        took, (ours,) = timed(lambda: self.answer("loglikelihood", few, [arm]))
        seconds, theirs = timed(lambda: [self._one_by_one(r, arm) for r in few])
        largest, _ = distance(ours.values, [(value, True) for value in theirs])
        print(f"the published loop {seconds:.1f} s, ours {took:.1f} s: {seconds / took:.1f} times")
        print(f"largest difference in log-likelihood {largest:.1e}", flush=True)
        return largest <= TOLERANCE or self.dtype != "float32"

    def _one_by_one(self, request: Instance, arm: Treatment) -> float:
        from steereval.models.steering.forward_context import ForwardContext
        from steereval.models.steering.hooks import steered

        context, answer = self.ours._encode_pair(*request.args)
        total = 0.0
        with torch.no_grad(), steered(self.ours.model, [arm.intervention(None)]) as session:
            for index in range(len(answer)):
                ids = torch.tensor([context + answer[:index]], device=self.given.device)
                assigned = torch.full(ids.shape, -1)
                assigned[0, len(context) - 1 :] = 0
                with session.on(ForwardContext(assigned)):
                    logits = self.ours.model(input_ids=ids).logits[0, -1]
                total += float(logits.log_softmax(dim=-1)[answer[index]])
        return total

    def generation(self) -> bool:
        """64 prompts of 32 tokens each, ten methods."""
        options = {"until": [], "max_gen_toks": 32, "do_sample": False}
        prompts = [
            Instance("generate_until", {"n": n}, (r.args[0], options), n)
            for n, r in enumerate({r.args[0]: r for r in self.requests}.values())
        ][:64]
        arms = [treatment(name, strengths[0], self) for name, strengths in METHODS.items()]
        took, _ = timed(partial(self.answer, "generate_until", prompts, arms))
        seconds, theirs = timed(lambda: self.plain.generate_until(prompts, True))
        (same,) = self.answer("generate_until", prompts, [treatment("none", 0.0, self)])
        equal = sum(a == b for a, b in zip(same.values, theirs, strict=True))
        start, _ = timed(self._start_up)
        ten = 10 * (seconds + start)
        print(f"{len(prompts)} prompts x 32 tokens: ours {took + start:.1f} s with start-up")
        print(
            f"ten runs of hf {ten:.1f} s: {ten / (took + start):.1f} times; "
            f"unsteered texts equal: {equal} of {len(prompts)}",
            flush=True,
        )
        return equal == len(prompts) or self.dtype != "float32"


def requests(data_dir: Path, questions: int) -> list[Instance]:
    """The distinct requests of mc1 and mc2 for the first questions."""
    instances: dict[tuple[str, str], Instance] = {}
    for task in load_tasks(list(TASKS), data_dir).values():
        task.set_config(key="num_fewshot", value=0)
        task.build_all_requests(limit=questions, rank=0, world_size=1)
        instances |= {each.args: each for each in task.instances}
    return list(instances.values())


def treatment(name: str, strength: float, bench: Bench) -> Treatment:
    """A method fitted to two Gaussians: what it costs does not depend on what it was fitted to."""
    data = contrast_data(0, int(bench.ours.model.config.get_text_config().hidden_size))
    method = BUILT_IN[name]
    fitted = {} if name == "none" else method.fit(data, method.options({}), 0)
    steerers = {Site(bench.layer): steerer for steerer in fitted.values()}
    return unfitted(Artefact(steerers, {}), name, strength, "absolute", Positions("generated"))


def distance(one: Sequence[Score], other: Sequence[Score]) -> tuple[float, float]:
    """The largest difference of the log-likelihoods, and the root of their mean square."""
    gaps = [abs(a[0] - b[0]) for a, b in zip(one, other, strict=True)]
    return max(gaps), (sum(gap * gap for gap in gaps) / len(gaps)) ** 0.5


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    sys.exit(main())
