"""Likelihoods of hf and steereval on an idle machine and with a busy process on each core.

    python benchmarks/busy_machine.py
    python benchmarks/busy_machine.py --requests 40 --rounds 9
    python benchmarks/busy_machine.py --short --requests 400

Three processes answer the same requests in turn: lm-eval's hf, steereval, and steereval with the
waiting of threads that PyTorch has by default (GOMP_SPINCOUNT=300000). Then busy processes start
and all three answer again. Last, two steereval processes share the idle machine. The exit status is
1 if answers of the first two differ. Run it on a machine without other work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from steereval.harness.assets import fetch
from steereval.harness.engine.steered_lm import SteeredLM
from steereval.tasks.catalogue.cards import load_tasks

SIDES: dict[str, dict[str, str]] = {
    "hf": {}, "steereval": {}, "steereval, spinning": {"GOMP_SPINCOUNT": "300000"},
}  # fmt: skip
TASK = "truthful_mini_mc"
TOLERANCE = 1e-3
"""Largest difference in log-likelihood that counts as equal in float32."""
SETTLING_S = 3.0
"""Time after the busy processes start or end before the next round, in seconds."""
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def main() -> int:
    """Print times and ratios; 1 if answers differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=81)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of steereval; of hf a third")
    parser.add_argument(
        "--short", action="store_true", help="questions alone as prompts, which share no examples"
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return answer_rounds(arguments.side, arguments.requests, arguments.short)
    return compare(arguments.requests, arguments.rounds, arguments.short)


def compare(requests: int, rounds: int, short: bool) -> int:
    """Run all rounds and print what they took."""
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        sides = {name: stack.enter_context(side(name, requests, short)) for name in SIDES}
        difference = largest_difference(sides["hf"]()["values"], sides["steereval"]()["values"])
        kind = "short requests" if short else "requests"
        print(f"{requests} {kind} of {TASK}, {cores} cores")
        print(f"difference in log-likelihood {difference:.1e} at most")
        quiet = medians(sides, rounds)
        with busy_processes(cores):
            busy = medians(sides, rounds)
        print_table(quiet, busy)
        second = stack.enter_context(side("steereval", requests, short))
        spinning = stack.enter_context(side("steereval, spinning", requests, short))
        print_pair("steereval", [sides["steereval"], second], rounds, quiet)
        print_pair("steereval, spinning", [sides["steereval, spinning"], spinning], rounds, quiet)
    return int(difference > TOLERANCE)


def medians(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; the sides take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for index in range(rounds):
        for name, answer in sides.items():
            if name != "hf" or index % 3 == 0:
                seconds[name].append(answer()["seconds"])
    return {name: median(values) for name, values in seconds.items()}


def print_table(quiet: dict[str, float], busy: dict[str, float]) -> None:
    """Print seconds, the slowdown, and the advantage over hf of each side."""
    print(f"{'':22}{'idle':>9}{'busy':>9}{'slowdown':>10}{'hf / it, idle':>15}{'busy':>7}")
    for name in quiet:
        print(
            f"{name:22}{quiet[name]:8.2f}s{busy[name]:8.2f}s{busy[name] / quiet[name]:10.2f}"
            f"{quiet['hf'] / quiet[name]:15.1f}{busy['hf'] / busy[name]:7.1f}"
        )
    ratio = quiet["steereval"] / quiet["steereval, spinning"]
    print(f"steereval over spinning on the idle machine: {ratio:.3f}")


def print_pair(
    name: str, pair: Sequence[Callable[[], Any]], rounds: int, quiet: dict[str, float]
) -> None:
    """Print the time of two processes at once, over that of one alone."""
    with ThreadPoolExecutor(len(pair)) as threads:
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            list(threads.map(lambda answer: answer(), pair))
            seconds.append(time.perf_counter() - start)
    ratio = median(seconds) / quiet[name]
    print(f"two processes of {name} at once: {median(seconds):.2f}s, {ratio:.2f} of one alone")


@contextmanager
def side(name: str, requests: int, short: bool) -> Iterator[Callable[[], Any]]:
    """A process that answers the requests once for each call."""
    environment = {key: value for key, value in os.environ.items() if key not in THREADS}
    kind = ["--short"] if short else []
    process = subprocess.Popen(
        [sys.executable, __file__, "--side", name, "--requests", str(requests), *kind],
        env=environment | SIDES[name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def answer() -> Any:
        stdin.write("\n")
        stdin.flush()
        return json.loads(stdout.readline())

    try:
        answer()
        yield answer
    finally:
        stdin.close()
        process.wait()


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that compute without a pause."""
    program = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(program) for _ in range(count)]
    try:
        time.sleep(SETTLING_S)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
        time.sleep(SETTLING_S)


def answer_rounds(name: str, count: int, short: bool) -> int:
    """Answer the requests once for each line of the standard input, and print the time taken."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    folder = str(fetch("smollm2-135m", partial(print, file=sys.stderr)))
    options = {"dtype": "float32", "device": "cpu", "batch_size": 32}
    if name == "hf":
        lm: Any = HFLM(folder, **options)
    else:
        lm = SteeredLM(folder, method="none", **options)
        lm.quiet = True
    requests = first_requests(count, short)
    for _ in sys.stdin:
        start = time.perf_counter()
        values = lm.loglikelihood(requests, disable_tqdm=True)
        seconds = time.perf_counter() - start
        if isinstance(lm, SteeredLM):
            lm.forget()
        answers.write(json.dumps({"seconds": seconds, "values": values}) + "\n")
        answers.flush()
    return 0


def first_requests(count: int, short: bool) -> list[Instance]:
    """The first requests of the task, each once; with `short` their last line but one as prompt."""
    (task,) = load_tasks([TASK], None).values()
    task.build_all_requests(limit=count, rank=0, world_size=1)
    for instance in task.instances if short else ():
        prompt, answer = instance.args
        instance.arguments = "\n".join(prompt.rsplit("\n", 2)[-2:]), answer
    instances = {instance.args: instance for instance in task.instances}
    return list(instances.values())[:count]


def largest_difference(one: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> float:
    """The largest difference of two lists of (log-likelihood, greedy)."""
    return max(abs(a[0] - b[0]) for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    sys.exit(main())
