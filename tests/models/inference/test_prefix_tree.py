"""The forest of requests: every answer once, every token sees its own text and no other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steereval.models.inference.prefix_tree import (
    Node,
    PackedRow,
    Request,
    build_forest,
    common_chain,
    packs,
)
from steereval.models.steering.positions import Positions

tokens = st.integers(0, 2)
texts = st.lists(tokens, min_size=1, max_size=7).map(tuple)
rules = st.sampled_from(["generated", "all", "prompt", "continuation", "0:2"])


@st.composite
def some_requests(draw: st.DrawFn, max_size: int = 12) -> list[Request]:
    """Requests of few tokens and few contexts, so that much is shared, with duplicates."""
    contexts = draw(st.lists(texts, min_size=1, max_size=4))
    requests = []
    for _ in range(draw(st.integers(1, max_size))):
        context = draw(st.sampled_from(contexts))
        context = context[: draw(st.integers(1, len(context)))]
        first, end = Positions(draw(rules)).interval(len(context), draw(st.integers(0, 2)))
        requests.append(Request(context, draw(texts), draw(st.integers(-1, 1)), first, end))
    return requests


def rows(requests: list[Request], budget: int, per_query: bool = False) -> list[PackedRow]:
    return list(packs(build_forest(requests, per_query), budget))


def text_at(pack: PackedRow, index: int) -> list[int]:
    """The columns that a token sees, in order."""
    return [int(column) for column in np.flatnonzero(pack.visible[index])]


@pytest.mark.slow
@settings(max_examples=150)
@given(some_requests(), st.integers(1, 30), st.booleans())
def test_every_answer_exactly_once(requests: list[Request], budget: int, per_query: bool) -> None:
    given_answers = Counter(
        (request, index)
        for pack in rows(requests, budget, per_query)
        for _, request, index in pack.answers
    )
    wanted = {(n, k): 1 for n, r in enumerate(requests) for k in range(len(r.continuation))}
    assert given_answers == wanted


@pytest.mark.slow
@settings(max_examples=150)
@given(some_requests(), st.integers(1, 30), st.booleans())
def test_what_a_token_sees_is_its_text(
    requests: list[Request], budget: int, per_query: bool
) -> None:
    """At each answer: the tokens, positions and steering of the request up to there, only."""
    for pack in rows(requests, budget, per_query):
        for index, number, k in pack.answers:
            request = requests[number]
            seen = text_at(pack, index)
            length = len(request.context) + k
            assert pack.tokens[seen].tolist() == list(request.tokens[:length])
            assert pack.depths[seen].tolist() == list(range(length))
            assert pack.assigned[seen].tolist() == [request.assigned(i) for i in range(length)]


@pytest.mark.slow
@settings(max_examples=150)
@given(some_requests(), st.integers(1, 30))
def test_visible_is_ancestors(requests: list[Request], budget: int) -> None:
    """A token sees itself, its parent and all that its parent sees, and none that comes later."""
    for pack in rows(requests, budget):
        for index in range(len(pack.tokens)):
            seen = text_at(pack, index)
            assert seen[-1] == index
            assert pack.depths[seen].tolist() == list(range(len(seen)))
            if len(seen) > 1:
                assert text_at(pack, seen[-2]) == seen[:-1]


@pytest.mark.slow
@settings(max_examples=150)
@given(some_requests(), st.integers(1, 30))
def test_no_token_twice_in_a_row(requests: list[Request], budget: int) -> None:
    for pack in rows(requests, budget):
        paths = [
            tuple((int(pack.tokens[i]), int(pack.assigned[i])) for i in text_at(pack, index))
            for index in range(len(pack.tokens))
        ]
        assert len(set(paths)) == len(paths)


@pytest.mark.slow
@settings(max_examples=150)
@given(some_requests(), st.integers(1, 30))
def test_rows_are_bounded(requests: list[Request], budget: int) -> None:
    """At most four budgets, or one piece within the budget below its ancestors."""
    deepest = max(len(request.tokens) for request in requests)
    for pack in rows(requests, budget):
        assert len(pack.tokens) <= max(4 * budget, budget + deepest)


@given(some_requests())
def test_a_large_budget_gives_one_row_without_repetition(requests: list[Request]) -> None:
    roots = build_forest(requests)
    (pack,) = packs(roots, 10_000)
    assert len(pack.tokens) == sum(root.size for root in roots)
    prefixes = {
        tuple((t, r.assigned(i)) for i, t in enumerate(r.tokens[: n + 1]))
        for r in requests
        for n in range(len(r.tokens))
    }
    assert len(pack.tokens) == len(prefixes)


@pytest.mark.slow
@settings(max_examples=150)
@given(some_requests(), st.integers(1, 30))
def test_owned_tokens_belong_to_one_query(requests: list[Request], budget: int) -> None:
    """No token that a decision could change is shared, and each row holds the prompt's last."""
    for pack in rows(requests, budget, per_query=True):
        for index, number, _ in pack.answers:
            request = requests[number]
            owners = pack.query_ids[text_at(pack, index)]
            if request.intervention < 0:
                assert (owners == -1).all()
                continue
            (owner,) = set(owners[owners >= 0].tolist())
            first = requests[owner]
            assert first.context == request.context
            assert [first.assigned(i) for i in range(20)] == [
                request.assigned(i) for i in range(20)
            ]
            free = np.array([request.assigned(i) < 0 for i in range(len(request.context) - 1)])
            assert ((owners[: len(free)] == -1) == free).all()
            assert (owners[len(free) :] == owner).all()


@given(some_requests())
def test_the_shared_prefix_begins_every_request(requests: list[Request]) -> None:
    """Every request begins with it, under the same steering, and is answered after it."""
    stem = common_chain(build_forest(requests))
    for request in requests:
        assert len(request.context) > len(stem)
        assert list(request.tokens[: len(stem)]) == [node.token for node in stem]
        assert [node.assigned for node in stem] == [request.assigned(i) for i in range(len(stem))]


@given(some_requests())
def test_the_shared_prefix_stops_before_tokens_of_one_query(requests: list[Request]) -> None:
    assert all(node.query_id < 0 for node in common_chain(build_forest(requests, per_query=True)))


def test_shared_prefix_of_one_request_ends_before_the_prompts_last_token() -> None:
    stem = common_chain(build_forest([Request((1, 2, 3, 4), (5, 6), -1, 0, 0)]))
    assert [node.token for node in stem] == [1, 2, 3]


def test_the_same_text_with_another_boundary() -> None:
    """The tokens are the same, but the steering starts elsewhere, so they are not shared."""
    early, late = ((1, 2), (3, 4, 5)), ((1, 2, 3), (4, 5))
    requests = [
        Request(c, k, 0, *Positions("generated").interval(len(c), 0)) for c, k in (early, late)
    ]
    (pack,) = rows(requests, 100)
    assert sorted(pack.tokens.tolist()) == [1, 2, 2, 3, 3, 4, 4]
    unsteered = [Request(c, k, -1, 0, 0) for c, k in (early, late)]
    (pack,) = rows(unsteered, 100)
    assert pack.tokens.tolist() == [1, 2, 3, 4]
    assert sorted(pack.answers) == [(1, 0, 0), (2, 0, 1), (2, 1, 0), (3, 0, 2), (3, 1, 1)]


@pytest.mark.slow
def test_a_text_with_a_branch_at_every_token() -> None:
    """Deep trees are walked without recursion."""
    long = tuple(range(1200))
    requests = [Request((*long[:n], 9999), (1,), -1, 0, 0) for n in range(1200)]
    pieces = rows(requests, 150)
    assert sum(len(pack.answers) for pack in pieces) == len(requests)


def test_a_long_common_text_is_not_repeated_for_every_few_tokens() -> None:
    """Forty answers to one text longer than the budget: the row grows, to four budgets at most."""
    requests = [Request((*range(100), 200 + n), (1,), -1, 0, 0) for n in range(40)]
    assert [len(pack.tokens) for pack in rows(requests, 50)] == [140]
    assert [len(pack.tokens) for pack in rows(requests, 30)] == [120, 120]


def test_a_short_common_text_is_repeated() -> None:
    """Where it is cheap, rows keep to the budget."""
    requests = [Request((7, 7, 100 + n), (1,), -1, 0, 0) for n in range(40)]
    assert [len(pack.tokens) for pack in rows(requests, 22)] == [22, 22]


def test_size_counts_the_subtree() -> None:
    def count(node: Node) -> int:
        return 1 + sum(count(child) for child in node.children.values())

    requests = [Request((1, 2, t), (4, t), -1, 0, 0) for t in (5, 6, 5)]
    (root,) = build_forest(requests)
    assert root.size == count(root) == 6


@pytest.mark.parametrize("per_query", [False, True])
def test_no_requests(per_query: bool) -> None:
    assert rows([], 10, per_query) == []
    assert common_chain([]) == []
