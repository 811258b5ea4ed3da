"""Which passes the shared path makes for some requests: pure, without a model.

Requests may ask for the same text under several interventions. What all begin with is a pass of
its own, whose keys and values the others go on from. The texts, each once whatever acts on them,
are laid out in pieces, the input of the blocks below the steering. The rows of a piece hold its
texts under every intervention, the input of the blocks above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from steereval.models.inference.prefix_tree import (
    Node,
    PackedRow,
    Part,
    Request,
    below,
    build_forest,
    common_chain,
    packs,
)

ROW_TOKENS = {"cpu": 320, "cuda": 2048}
"""Tokens in a row by kind of device: enough to keep it busy, few enough that attention stays
cheap. Measured by `benchmarks/grid_engine.py` (docs/benchmarks.md)."""
LEAST_SHARED_TOKENS = 8
"""A shared beginning shorter than this is not worth a pass of its own."""


def row_tokens(device: str) -> int:
    """Tokens in a row on a kind of device, such as `cuda`."""
    return ROW_TOKENS["cpu" if device == "cpu" else "cuda"]


@dataclass(frozen=True)
class Piece:
    """Texts that run together."""

    unsteered: PackedRow
    """The texts, each token once."""
    part: Part
    """Requests within these texts."""
    rows: Sequence[PackedRow]
    """The texts under every intervention; tokens that none has changed yet stand once."""


@dataclass(frozen=True)
class TokensFed:
    """Tokens that a model is fed."""

    below: int
    """Through the blocks up to the lowest steered one."""
    above: int
    """Through the blocks above it."""
    predicted: int
    """Through the projection to the vocabulary."""

    def __add__(self, other: TokensFed) -> TokensFed:
        """The sum of both."""
        return TokensFed(
            self.below + other.below,
            self.above + other.above,
            self.predicted + other.predicted,
        )


@dataclass(frozen=True)
class Layout:
    """The passes for `requests`, each of which stands there once."""

    requests: Sequence[Request]
    """The requests."""
    row_tokens: int
    """Tokens in a row, about."""
    per_query: bool = False
    """Whether some steerer decides per query, so that queries share nothing it may change."""

    @cached_property
    def shared_prefix(self) -> list[tuple[int, int]]:
        """Tokens with which all requests begin, and the intervention that acts on each of them:
        empty if not worth a pass of its own."""
        rules = {(each.intervention, each.first, each.end): each for each in self.requests}
        shared_prefix: list[tuple[int, int]] = []
        for index, node in enumerate(common_chain(self._roots)):
            acting = {each.assigned(index) for each in rules.values()}
            if len(acting) > 1 or (self.per_query and acting != {-1}):
                break
            shared_prefix.append((node.token, acting.pop()))
        return shared_prefix if len(shared_prefix) >= LEAST_SHARED_TOKENS else []

    def pieces(self) -> Iterator[Piece]:
        """The texts after the shared prefix, piece by piece."""
        variants = list(self._texts.values())
        for unsteered in packs(below(self._roots, len(self.shared_prefix)), self.row_tokens):
            part = Part.of(unsteered, self.requests, variants)
            roots = build_forest(part.requests, self.per_query, part.wants)
            yield Piece(
                unsteered, part, list(packs(below(roots, len(self.shared_prefix)), self.row_tokens))
            )

    def fed(self) -> TokensFed:
        """How many tokens all passes feed."""
        total = TokensFed(len(self.shared_prefix), len(self.shared_prefix), 0)
        for piece in self.pieces():
            above = sum(len(row.tokens) for row in piece.rows)
            predicted = sum(len(row.predicting) for row in piece.rows)
            total += TokensFed(len(piece.unsteered.tokens), above, predicted)
        return total

    @cached_property
    def _texts(self) -> dict[Request, list[int]]:
        """The numbers of the requests for each text, for all interventions."""
        texts: dict[Request, list[int]] = {}
        for number, request in enumerate(self.requests):
            texts.setdefault(request.unsteered, []).append(number)
        return texts

    @cached_property
    def _roots(self) -> list[Node]:
        return build_forest(list(self._texts))
