"""Requests as a forest of tokens: what they share is computed once.

Requests (context, continuation) that begin alike share a path of a prefix tree. A piece of the
tree is laid out as one row in depth-first order, each token attending to its ancestors and no
other, at the position of its depth. No padding, and no token twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
        """Input of the model: all but the last token of the continuation."""
        return self.context + self.continuation[:-1]

    @property
    def unsteered(self) -> Request:
        """The same texts with nothing steered."""
        return replace(self, intervention=-1, first=0, end=0)

    @property
    def key(self) -> str:
        """Names the query, for steerers whose draws must not depend on the batch."""
        return str(self.context)

    def steered_among(self, length: int) -> int:
        """Number of steered tokens among the first `length` tokens of its text."""
        if self.intervention < 0:
            return 0
        end = length if self.end is None else min(self.end, length)
        return max(0, end - self.first)

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
    query_id: int
    """First request of the one query to which the token belongs; -1 if queries share it."""
    children: dict[tuple[int, int, int], Node] = field(default_factory=dict)
    """Next tokens by (token, assigned, query_id)."""
    size: int = 1
    """Tokens in the subtree, this one included."""
    answers: list[tuple[int, int]] = field(default_factory=list)
    """(request, index in its continuation) of the tokens predicted here."""


@dataclass(frozen=True)
class PackedRow:
    """A piece of the forest laid out as one row of T tokens after a shared prefix."""

    tokens: NDArray[np.int64]
    """Token ids [T]."""
    depths: NDArray[np.int64]
    """Positions [T]."""
    assigned: NDArray[np.int64]
    """Interventions [T], -1 for none."""
    query_ids: NDArray[np.int64]
    """Owner of each token [T], -1 where it has none."""
    visible: NDArray[np.bool_]
    """Whether token i (row) sees token j (column), [T, T]."""
    parents: NDArray[np.int64]
    """Index of the token before each token [T], -1 for a first one."""
    answers: tuple[tuple[int, int, int], ...]
    """(index in the row, request, index in its continuation)."""

    @property
    def predicting(self) -> list[int]:
        """Indices in the row after which a token is asked for, in order."""
        return sorted({index for index, _, _ in self.answers})

    def locate(self, other: PackedRow) -> NDArray[np.int64]:
        """Where the tokens of `other` [T'] are in this row, which has no text twice."""
        children = {
            (int(parent), int(token)): index
            for index, (parent, token) in enumerate(zip(self.parents, self.tokens, strict=True))
        }
        indices: list[int] = []
        for parent, token in zip(other.parents.tolist(), other.tokens.tolist(), strict=True):
            indices.append(children[indices[parent] if parent >= 0 else -1, token])
        return np.array(indices, dtype=np.int64)


def build_forest(
    requests: Sequence[Request],
    per_query: bool = False,
    wanted: Callable[[int, int], bool] = lambda number, index: True,
) -> list[Node]:
    """The prefix trees of `requests`.

    Only continuation tokens for which `wanted(request, index)` holds are asked for.

    With `per_query`, what steering can change in one query (steered tokens, and all from the last
    one of the prompt on) is kept apart from other queries even where the tokens are the same, as
    steerers that decide per query need. A query is a context and how it is steered.
    """
    growth = _Growth()
    queries: dict[tuple[object, ...], int] = {}
    for number, request in enumerate(requests):
        query = -1
        if per_query and request.intervention >= 0:
            steered = (request.intervention, request.first, request.end)
            query = queries.setdefault((request.context, *steered), number)
        path = growth.path(request, query)
        for index in range(len(request.continuation)):
            if wanted(number, index):
                path[len(request.context) - 1 + index].answers.append((number, index))
    return growth.grown()


class _Growth:
    """A forest while it is built."""

    def __init__(self) -> None:
        self._roots: dict[tuple[int, int, int], Node] = {}
        self._made: list[tuple[Node | None, Node]] = []
        self._prompts: dict[tuple[object, ...], list[Node]] = {}

    def path(self, request: Request, query: int) -> list[Node]:
        """The nodes of the request's tokens, made where they are missing."""
        prompt = (request.context, request.intervention, request.first, request.end, query)
        if prompt not in self._prompts:
            self._prompts[prompt] = self._go_on([], request, query, len(request.context))
        return self._go_on(self._prompts[prompt], request, query, len(request.tokens))

    def _go_on(self, start: list[Node], request: Request, query: int, end: int) -> list[Node]:
        """The path that begins with `start`, up to the token `end`."""
        path, tokens = list(start), request.tokens
        level = path[-1].children if path else self._roots
        for index in range(len(path), end):
            assigned = request.assigned(index)
            of_query = assigned >= 0 or index >= len(request.context) - 1
            key = (tokens[index], assigned, query if of_query else -1)
            if key not in level:
                level[key] = Node(tokens[index], assigned, index, key[2])
                self._made.append((path[-1] if path else None, level[key]))
            path.append(level[key])
            level = path[-1].children
        return path

    def grown(self) -> list[Node]:
        """The roots, with every subtree's size: a node is made after those above it."""
        for above, node in reversed(self._made):
            if above is not None:
                above.size += node.size
        return list(self._roots.values())


def common_chain(roots: Sequence[Node]) -> list[Node]:
    """The chain of tokens with which every request begins, up to the first that branches,
    belongs to one query or predicts something: empty when there is none."""
    chain: list[Node] = []
    level = list(roots)
    while len(level) == 1 and not level[0].answers and level[0].query_id < 0:
        chain.append(level[0])
        level = list(level[0].children.values())
    return chain


def below(roots: Sequence[Node], depth: int) -> list[Node]:
    """Nodes below the one chain of `depth` tokens with which all trees begin."""
    level = list(roots)
    for _ in range(depth):
        (node,) = level
        level = list(node.children.values())
    return level


@dataclass(frozen=True)
class Part:
    """Requests that are answered in one piece of a forest of unsteered texts."""

    requests: Sequence[Request]
    """Each cut after the last token that is asked for."""
    numbers: Sequence[int]
    """Their numbers among all requests."""
    targets: frozenset[tuple[int, int]]
    """(index in `requests`, index in its continuation)."""

    @classmethod
    def of(
        cls, piece: PackedRow, requests: Sequence[Request], variants: Sequence[Sequence[int]]
    ) -> Part:
        """The `requests` whose texts are answered in `piece`; `variants` has, for each text, the
        numbers of the requests that ask for it."""
        indices: dict[int, list[int]] = {}
        for _, text, index in piece.answers:
            indices.setdefault(text, []).append(index)
        cut: list[Request] = []
        numbers: list[int] = []
        targets: set[tuple[int, int]] = set()
        for text, wanted in indices.items():
            for number in variants[text]:
                targets |= {(len(cut), index) for index in wanted}
                whole = requests[number]
                cut.append(replace(whole, continuation=whole.continuation[: max(wanted) + 1]))
                numbers.append(number)
        return cls(cut, numbers, frozenset(targets))

    def wants(self, number: int, index: int) -> bool:
        """Whether the token `index` of a request's continuation is asked for."""
        return (number, index) in self.targets

    def answers(self, pack: PackedRow) -> list[tuple[int, int, int]]:
        """The answers of a pack of this part, with the requests' numbers among all."""
        return [(row, self.numbers[request], index) for row, request, index in pack.answers]


def packs(roots: Sequence[Node], budget: int) -> Iterator[PackedRow]:
    """Lay out the trees in rows of about `budget` tokens.

    A tree that is too large is split below a common chain of ancestors, which every row that
    needs it holds again. Where that would repeat more than a quarter of the budget the row
    grows instead, up to four budgets.
    """
    row = _Row()
    for root in roots:
        for chain, node in _pieces(root, budget):
            repeated = sum(above in row for above in chain)
            full = budget if 4 * repeated <= budget else 4 * budget
            if row.size and row.size + node.size + len(chain) - repeated > full:
                yield row.pack()
                row = row.next()
            row.add(chain, node)
    if row.size:
        yield row.pack()


def _pieces(root: Node, budget: int) -> Iterator[tuple[tuple[Node, ...], Node]]:
    """Subtrees within the budget, each with the chain of ancestors that it hangs from."""
    stack: list[tuple[tuple[Node, ...], Node]] = [((), root)]
    while stack:
        chain, node = stack.pop()
        if node.size <= budget or not node.children:
            yield chain, node
            continue
        below = (*chain, node)
        stack.extend((below, child) for child in reversed(node.children.values()))


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
        """An empty row that skips answers which ancestors have given already."""
        return _Row(self._answered)

    def add(self, chain: Sequence[Node], node: Node) -> None:
        """Lay out `chain`, where it is not there yet, and the whole subtree of `node`."""
        parent = -1
        for above in chain:
            parent = self._index[id(above)] if above in self else self._append(above, parent)
        stack = [(node, parent)]
        while stack:
            current, before = stack.pop()
            index = self._append(current, before)
            stack.extend((child, index) for child in reversed(current.children.values()))

    def _append(self, node: Node, parent: int) -> int:
        self._index[id(node)] = len(self._order)
        self._order.append(node)
        self._parents.append(parent)
        return len(self._order) - 1

    def pack(self) -> PackedRow:
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
        return PackedRow(
            tokens=np.array([node.token for node in order], dtype=np.int64),
            depths=np.array([node.depth for node in order], dtype=np.int64),
            assigned=np.array([node.assigned for node in order], dtype=np.int64),
            query_ids=np.array([node.query_id for node in order], dtype=np.int64),
            visible=visible,
            parents=np.array(self._parents, dtype=np.int64),
            answers=tuple(answers),
        )
