"""Requests as a forest of tokens: what they share is computed once.

Requests (context, continuation) that begin alike share a path of a prefix tree. A piece of the
tree is laid out as one row in depth-first order, each token attending to its ancestors and no
other, at the position of its depth. No padding, and no token twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """One continuation to score, cut to the model's context window."""

    context: tuple[int, ...]
    """Token ids of the prompt; at least one."""
    continuation: tuple[int, ...]
    """Token ids to score; at least one."""
    intervention: int
    """Index of the intervention that acts on it, -1 for none."""
    first: int
    """First steered token index (`Positions.interval`)."""
    end: int | None
    """Index after the last steered token; None: no end."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """What the model is fed: all but the last token of the continuation."""
        return self.context + self.continuation[:-1]

    def assigned(self, index: int) -> int:
        """The intervention that acts on token `index`, or -1."""
        inside = index >= self.first and (self.end is None or index < self.end)
        return self.intervention if inside else -1


@dataclass
class Node:
    """A token in the tree."""

    token: int
    """Token id."""
    assigned: int
    """Intervention that acts on it, or -1."""
    depth: int
    """Its position in every text that it belongs to."""
    owner: int
    """Query to which the token belongs once it is steered, or -1."""
    children: dict[tuple[int, int, int], Node] = field(default_factory=dict)
    """Next tokens by (token, assigned, owner)."""
    size: int = 1
    """Tokens in the subtree, this one included."""
    answers: list[tuple[int, int]] = field(default_factory=list)
    """(request, index in its continuation) of the tokens predicted here."""


@dataclass(frozen=True)
class Pack:
    """A piece of the forest laid out as one row of T tokens after a shared prefix."""

    tokens: NDArray[np.int64]
    """Token ids [T]."""
    depths: NDArray[np.int64]
    """Positions [T]."""
    assigned: NDArray[np.int64]
    """Interventions [T], -1 for none."""
    owners: NDArray[np.int64]
    """Query of each token [T], -1 where it has none."""
    visible: NDArray[np.bool_]
    """Whether token i (row) sees token j (column), [T, T]."""
    answers: tuple[tuple[int, int, int], ...]
    """(index in the row, request, index in its continuation)."""


def build_forest(requests: Sequence[Request], owned: bool = False) -> list[Node]:
    """The prefix trees of `requests`. With `owned`, steered tokens of different prompts are
    kept apart even where they are the same, as steerers that decide per query need."""
    roots: dict[tuple[int, int, int], Node] = {}
    prompts: dict[tuple[int, ...], int] = {}
    for number, request in enumerate(requests):
        query = prompts.setdefault(request.context, len(prompts)) if owned else -1
        level = roots
        path: list[Node] = []
        for index, token in enumerate(request.tokens):
            assigned = request.assigned(index)
            last_of_prompt = index >= len(request.context) - 1
            owner = query if owned and last_of_prompt else -1
            key = (token, assigned, owner)
            if key not in level:
                level[key] = Node(token, assigned, index, owner)
                for above in path:
                    above.size += 1
            path.append(level[key])
            level = level[key].children
        start = len(request.context) - 1
        for index in range(len(request.continuation)):
            path[start + index].answers.append((number, index))
    return list(roots.values())


def shared_stem(roots: Sequence[Node]) -> list[Node]:
    """The chain of tokens with which every request begins, up to the first that branches or
    predicts something: empty when there is none."""
    stem: list[Node] = []
    level = list(roots)
    while len(level) == 1 and not level[0].answers:
        stem.append(level[0])
        level = list(level[0].children.values())
    return stem


def packs(roots: Sequence[Node], budget: int) -> Iterator[Pack]:
    """Lay out whole trees, several to a row of about `budget` tokens."""
    row: list[Node] = []
    used = 0
    for root in roots:
        if row and used + root.size > budget:
            yield _lay_out(row)
            row, used = [], 0
        row.append(root)
        used += root.size
    if row:
        yield _lay_out(row)


def _lay_out(roots: Sequence[Node]) -> Pack:
    order: list[Node] = []
    parents: list[int] = []
    stack = [(root, -1) for root in reversed(roots)]
    while stack:
        node, parent = stack.pop()
        stack.extend((child, len(order)) for child in reversed(node.children.values()))
        order.append(node)
        parents.append(parent)
    visible = np.zeros((len(order), len(order)), dtype=bool)
    for index, parent in enumerate(parents):
        if parent >= 0:
            visible[index] = visible[parent]
        visible[index, index] = True
    return Pack(
        tokens=np.array([node.token for node in order], dtype=np.int64),
        depths=np.array([node.depth for node in order], dtype=np.int64),
        assigned=np.array([node.assigned for node in order], dtype=np.int64),
        owners=np.array([node.owner for node in order], dtype=np.int64),
        visible=visible,
        answers=tuple((i, *answer) for i, node in enumerate(order) for answer in node.answers),
    )
