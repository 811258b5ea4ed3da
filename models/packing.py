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
    """Lay out the trees in rows of about `budget` tokens.

    A tree that is too large is split below a common chain of ancestors, which every row that
    needs it holds again. Where that would repeat more than a quarter of the budget the row
    grows instead, up to four budgets.
    """
    row = _Row()
    for root in roots:
        for chain, node in _pieces(root, (), budget):
            repeated = sum(above in row for above in chain)
            full = budget if 4 * repeated <= budget else 4 * budget
            if row.size and row.size + node.size + len(chain) - repeated > full:
                yield row.pack()
                row = row.next()
            row.add(chain, node)
    if row.size:
        yield row.pack()


def _pieces(
    node: Node, chain: tuple[Node, ...], budget: int
) -> Iterator[tuple[tuple[Node, ...], Node]]:
    """Subtrees within the budget, each with the chain of ancestors that it hangs from."""
    while node.size > budget and len(node.children) == 1:
        chain = (*chain, node)
        (node,) = node.children.values()
    if node.size <= budget or not node.children:
        yield chain, node
        return
    for child in node.children.values():
        yield from _pieces(child, (*chain, node), budget)


class _Row:
    """A row being filled: nodes in an order in which ancestors come first."""

    def __init__(self, answered: set[int] | None = None) -> None:
        self._order: list[Node] = []
        self._parents: list[int] = []
        self._index: dict[int, int] = {}
        self._answered: set[int] = set() if answered is None else answered

    def __contains__(self, node: Node) -> bool:
        return id(node) in self._index

    @property
    def size(self) -> int:
        return len(self._order)

    def next(self) -> _Row:
        """An empty row that knows which ancestors have given their answers already."""
        return _Row(self._answered)

    def add(self, chain: Sequence[Node], node: Node) -> None:
        """Lay out `chain`, where it is not there yet, and the whole subtree of `node`."""
        parent = -1
        for above in chain:
            parent = self._index[id(above)] if above in self else self._append(above, parent)
        stack = [(node, parent)]
        while stack:
            current, above = stack.pop()
            index = self._append(current, above)
            stack.extend((child, index) for child in reversed(current.children.values()))

    def _append(self, node: Node, parent: int) -> int:
        self._index[id(node)] = len(self._order)
        self._order.append(node)
        self._parents.append(parent)
        return len(self._order) - 1

    def pack(self) -> Pack:
        order = self._order
        visible = np.zeros((len(order), len(order)), dtype=bool)
        for index, parent in enumerate(self._parents):
            if parent >= 0:
                visible[index] = visible[parent]
            visible[index, index] = True
        answers = []
        for index, node in enumerate(order):
            if id(node) not in self._answered:
                answers += [(index, *answer) for answer in node.answers]
                self._answered.add(id(node))
        return Pack(
            tokens=np.array([node.token for node in order], dtype=np.int64),
            depths=np.array([node.depth for node in order], dtype=np.int64),
            assigned=np.array([node.assigned for node in order], dtype=np.int64),
            owners=np.array([node.owner for node in order], dtype=np.int64),
            visible=visible,
            answers=tuple(answers),
        )
