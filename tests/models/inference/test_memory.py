"""What fits is run; what does not is halved; and nobody can tell from the results."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steereval.models.inference.likelihood import Scorer
from steereval.models.inference.memory import (
    Batches,
    cache_bytes_per_token,
    free_bytes,
    ran_out,
    rows_that_fit,
)
from steereval.models.inference.prefix_tree import Request
from steereval.models.steering.hooks import steered


class Memory:
    """Holds up to `room` rows at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, rows: range) -> list[int]:
        self.tried.append(len(rows))
        if len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return list(rows)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_every_row_is_run_once_and_in_order(total: int, limit: int, room: int) -> None:
    memory, batches = Memory(room), Batches()
    with patch("steereval.models.inference.memory.release"):  # it takes longer than all else
        parts = batches.run(total, limit, memory)
    assert [row for part in parts for row in part] == list(range(total))
    assert max(len(part) for part in parts) <= min(limit, room)


@pytest.mark.slow
def test_the_size_that_fitted_is_remembered() -> None:
    memory, batches = Memory(5), Batches()
    batches.run(16, 16, memory)
    assert memory.tried == [16, 8, 4, 4, 8, 4, 4]
    memory.tried.clear()
    batches.run(10, 16, memory)
    assert memory.tried == [4, 4, 2]


@pytest.mark.slow
def test_a_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Batches().run(4, 4, Memory(0))


def test_other_errors_are_not_tried_again() -> None:
    tried = []

    def broken(rows: range) -> None:
        tried.append(rows)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Batches().run(4, 4, broken)
    assert len(tried) == 1


def test_what_running_out_of_memory_looks_like() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert ran_out(caught.value)
    assert ran_out(MemoryError())
    assert not ran_out(ValueError("out of range"))


def test_a_token_takes_what_its_keys_and_values_take(tiny: Any) -> None:
    """As a cache really holds them, of 7 tokens."""
    for name in ("llama", "qwen3", "gpt2", "gpt-neox"):
        model = tiny(name)
        cache = model(input_ids=torch.arange(5, 12)[None], use_cache=True).past_key_values
        held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        assert cache_bytes_per_token(model) == held / 7


def test_rows_that_fit(tiny: Any) -> None:
    model = tiny("llama")
    row = 100 * cache_bytes_per_token(model) + 8 * 211
    assert rows_that_fit(model, 100, 20 * row) == 10
    assert rows_that_fit(model, 100, 0) == 1
    assert rows_that_fit(tiny("mamba"), 100, free_bytes(torch.device("cpu"))) > 1


@pytest.mark.slow
def test_the_plain_path_halves_its_batches(tiny: Any) -> None:
    model = tiny("llama")
    requests = [Request((5, 6, n), (7, 8), -1, 0, 0) for n in range(9, 16)]

    def full(module: Any, args: Any, kwargs: Any) -> None:
        if len(kwargs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with steered(model, []) as session:
        wanted = Scorer(model, session).plain(requests, 7, lambda _: None)
        handle = model.register_forward_pre_hook(full, with_kwargs=True)
        try:
            scorer, finished = Scorer(model, session), list[int]()
            result = scorer.plain(requests, 7, finished.append)
        finally:
            handle.remove()
    assert scorer.batches.largest == 2
    assert sum(finished) == 7
    for one, other in zip(result, wanted, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5)


@pytest.mark.slow
def test_the_shared_path_halves_its_rows(tiny: Any) -> None:
    """From the row that did not fit on; what is finished is not asked again."""
    model, longest = tiny("llama"), 24
    requests = [
        Request((*range(20, 30), text), (choice, 7, 8), -1, 0, 0)
        for text in range(40, 60)
        for choice in (9, 10, 11)
    ]
    fed: list[int] = []

    def full(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].numel() > longest and fed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        fed.append(kwargs["input_ids"].numel())

    with steered(model, []) as session:
        wanted = Scorer(model, session).shared(requests, lambda _: None)
        handle = model.register_forward_pre_hook(full, with_kwargs=True)
        scorer, finished = Scorer(model, session), list[int]()
        try:
            result = scorer.shared([*requests, requests[0]], finished.append)
            once = len(fed)
            again = scorer.shared(requests, lambda _: None)
        finally:
            handle.remove()
    assert scorer.rows.largest == 20
    assert sum(finished) == len(requests) + 1
    assert max(fed[:once]) <= longest
    for other in (result[:-1], again):
        for one, known in zip(other, wanted, strict=True):
            assert one.log_likelihood == pytest.approx(known.log_likelihood, abs=1e-5)
            assert one.is_greedy == known.is_greedy


@pytest.mark.slow
def test_a_row_that_cannot_be_halved_is_an_error(tiny: Any) -> None:
    model = tiny("llama")

    def full(module: Any, args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with steered(model, []) as session:
        handle = model.register_forward_pre_hook(full)
        try:
            with pytest.raises(torch.OutOfMemoryError):
                Scorer(model, session).shared([Request((5, 6), (7,), -1, 0, 0)], lambda _: None)
        finally:
            handle.remove()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has the option")
def test_freed_memory_is_used_again() -> None:
    """Large tensors one after the other take pages of the system at first, not each.

    The second may take some too: an aligned block asks for a little more than it gives back.
    """
    faults = "resource.getrusage(resource.RUSAGE_SELF).ru_minflt"
    program = f"""
import resource, torch
from steereval.models.inference.memory import keep_freed_memory
keep_freed_memory()
for _ in range(2):
    torch.ones(20_000_000).sum()
before = {faults}
for _ in range(10):
    torch.ones(20_000_000).sum()
print({faults} - before)
"""
    run = [sys.executable, "-c", program]
    taken = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert taken < 2 * 20_000_000 * 4 / 4096
