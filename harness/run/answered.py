"""Requests of a group of cells and their answers, stored until each cell is scored.

Scoring is not the model's business: all that it needs is here, in memory or read back from the run
folder, so that a cell whose scoring failed or was cut off is scored later without the model, with
the rows that it would have had. Answers are found by the content of the requests, so that those to
other prompts are never taken for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Self

import pyarrow as pa
from lm_eval.api.instance import Instance

from steereval.common.errors import ScoringError
from steereval.harness.engine.arms import Answers, check_steered
from steereval.harness.engine.merged_requests import MergedRequests
from steereval.harness.engine.replay import Chats, OtherRequests, ResponseLog
from steereval.harness.engine.treatments import Treatment
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import group_id, one_of_each_task
from steereval.harness.planning.task_cards import known_card
from steereval.harness.run.item_rows import Named, named
from steereval.models.steering.displacement_stats import DisplacementStats
from steereval.results.lm_eval.samples import asked_and_answered
from steereval.results.store.answers import ANSWER_SCHEMA, AnswerRecord, AnswerStore

GENERATION = "generate_until"
"""lm-eval's name of the requests that are answered by texts."""
CHAT = "chat"
"""Kind of the stored rows that hold a chat as a text."""

Texts = dict[int, tuple[float, int]]
"""Log-likelihood in nats and number of tokens of generated texts, by the request's position."""


@dataclass
class Page:
    """All requests of one kind that a task makes, and the answers of each arm."""

    names: Sequence[Named]
    """Names of the requests, in lm-eval's order."""
    prompts: Sequence[str]
    """The prompt of each request."""
    continuations: Sequence[str | None]
    """The text to score after each prompt; None for a generation and for a text scored whole."""
    values: dict[str, Sequence[Any]]
    """lm-eval's answers by arm."""
    folds: dict[str, Sequence[int | None]]
    """By arm the fold whose steerers did not see the document of each request."""
    unsteered: dict[str, Texts] = field(default_factory=dict)
    """By arm what the unsteered model makes of the first text for each document."""
    requests: Sequence[Instance] = ()
    """The requests themselves; empty where the page was read back."""

    def answers(
        self, arm: str, kind: str, subtasks: Collection[str], requests: Sequence[Instance]
    ) -> Sequence[Any]:
        """The answers of `arm` to `requests` of a task, or of the `subtasks` of a group.

        Raises:
            OtherRequests: These are not the requests that were asked.
        """
        if self.requests:
            same = [each.args for each in self.requests] == [each.args for each in requests]
        else:
            same = list(self.names) == named(kind, requests, subtasks)
        if not same:
            raise OtherRequests(kind)
        return self.values[arm]

    @property
    def firsts(self) -> list[int]:
        """Places of the first request for each document, for its first answer."""
        first_of: dict[str, int] = {}
        for position, name in enumerate(self.names):
            if name.number == 0:
                first_of.setdefault(name.item_id, position)
        return list(first_of.values())


@dataclass
class Answered:
    """Cells that are answered together, and what has been answered so far."""

    cells: Sequence[Cell]
    """The cells."""
    pages: dict[tuple[str, str], Page] = field(default_factory=dict)
    """By task and kind."""
    displacements: dict[str, dict[str, DisplacementStats]] = field(default_factory=dict)
    """By arm and site how far tokens were moved."""
    acting: set[str] = field(default_factory=set)
    """Arms whose treatment acts on some request."""
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By cell id what its record says of how it was answered."""
    chats: Chats = field(default_factory=Chats)
    """Chats as the model was given them."""
    stored_names: set[str] = field(default_factory=set)
    """Names in the run folder under which these answers are kept."""
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By cell id lm-eval's samples of cells that were scored to see whether all is answered."""
    lost: dict[str, dict[str, str]] = field(default_factory=dict)
    """By task the ids of items whose requests cannot be given to the model, with the reason."""
    errors: dict[str, ScoringError] = field(default_factory=dict)
    """By cell id what went wrong with that."""

    @property
    def id(self) -> str:
        """Names the cells that are answered together: rounding depends on them."""
        return group_id(self.cells)

    def halves(self) -> list[Answered]:
        """The cells in two parts, the second half first, each with what is answered of it."""
        middle = len(self.cells) // 2
        return [self._part(self.cells[middle:]), self._part(self.cells[:middle])]

    def without(self, task: str) -> list[Answered]:
        """The cells of `task`, of which nothing counts as answered, and the others as they are."""
        of_task = [cell for cell in self.cells if cell.task.name == task]
        others = [cell for cell in self.cells if cell.task.name != task]
        return [Answered(of_task), *([self._part(others)] if others else [])]

    def _part(self, cells: Sequence[Cell]) -> Answered:
        displacements = {
            arm: {
                site: DisplacementStats(stats.tokens, stats.distance)
                for site, stats in sites.items()
            }
            for arm, sites in self.displacements.items()
        }
        facts = dict(self.facts)
        return Answered(
            cells,
            dict(self.pages),
            displacements,
            set(self.acting),
            facts,
            self.chats,
            set(self.stored_names),
            lost={task: dict(items) for task, items in self.lost.items()},
        )

    def response_log(self, cell: Cell) -> ResponseLog:
        """The answers of one cell by kind."""
        subtasks = known_card(cell.task).subtasks
        return {
            kind: partial(page.answers, cell.arm, kind, subtasks)
            for (task, kind), page in self.pages.items()
            if task == cell.task.name and cell.arm in page.values
        }

    def add(
        self,
        kind: str,
        merged: MergedRequests,
        treatments: Mapping[str, Treatment],
        answers: Sequence[Answers],
        refused: Mapping[int, str] | None = None,
    ) -> None:
        """Take in what each arm, with its treatment, answers to requests of `kind`; `refused` are
        the places of requests that the model cannot be given, with the reason."""
        for arm, arm_answers in zip(treatments, answers, strict=True):
            displacements = self.displacements.setdefault(arm, {})
            for site, stats in arm_answers.moved.items():
                displacements.setdefault(site, DisplacementStats()).add(
                    stats.tokens, float(stats.distance)
                )
            if arm_answers.acts:
                self.acting.add(arm)
        subtasks = {c.task.name: known_card(c.task).subtasks for c in self.cells}
        for task in merged.indices:
            requests, _ = merged.of(task, merged.requests)
            texts = [each.args[1] if len(each.args) > 1 else None for each in requests]
            self.pages[task, kind] = Page(
                names=named(kind, requests, subtasks[task]),
                prompts=[str(each.args[0]) for each in requests],
                continuations=[text if isinstance(text, str) else None for text in texts],
                values={
                    arm: merged.of(task, arm_answers.values)[1]
                    for arm, arm_answers in zip(treatments, answers, strict=True)
                },
                folds={
                    arm: [treatment.route(each.doc) for each in requests]
                    for arm, treatment in treatments.items()
                },
                requests=requests,
            )
            names = self.pages[task, kind].names
            for name, place in zip(names, merged.indices[task], strict=True):
                if refused and place in refused:
                    self.lost.setdefault(task, {})[name.item_id] = refused[place]

    def lost_of(self, cell: Cell) -> Mapping[str, str]:
        """{item id: reason} of the lost items of the cell's task."""
        return self.lost.get(cell.task.name, {})

    def texts(self, cell: Cell) -> Page | None:
        """The page with the cell's generated texts, if there is one."""
        page = self.pages.get((cell.task.name, GENERATION))
        return page if page is not None and cell.arm in page.values else None

    def folds(self, cell: Cell) -> dict[str, int | None]:
        """The fold of each item of a cell."""
        return {
            name.item_id: fold
            for (task, _), page in self.pages.items()
            if task == cell.task.name
            for name, fold in zip(page.names, page.folds[cell.arm], strict=True)
        }

    def perplexities(self, cell: Cell) -> dict[str, tuple[float, int]]:
        """Log-likelihood and tokens of the first text for each item; empty if none was read."""
        page = self.texts(cell)
        if page is None:
            return {}
        scores, lost = page.unsteered.get(cell.arm, {}), self.lost_of(cell)
        by_item = {page.names[position].item_id: score for position, score in scores.items()}
        return {item: score for item, score in by_item.items() if item not in lost}

    def responses(self, cell: Cell) -> list[dict[str, Any]]:
        """The rows of RESPONSE_SCHEMA of a cell: the first answer to each request."""
        rows = [
            {
                "cell_id": cell.id,
                "task": cell.task.name,
                "item_id": name.item_id,
                "request": name.number,
            }
            | asked_and_answered([prompt, continuation], value)
            for (task, _), page in self.pages.items()
            if task == cell.task.name
            for name, prompt, continuation, value in zip(
                page.names, page.prompts, page.continuations, page.values[cell.arm], strict=True
            )
            if name.item_id not in self.lost_of(cell)
        ]
        return list({(r["item_id"], r["request"]): r for r in reversed(rows)}.values())[::-1]

    def check_steered(self, cell: Cell) -> None:
        """Check that the arm of a cell, if it acts, steered some token.

        Raises:
            CellError: It steered none.
        """
        if cell.arm in self.acting:
            check_steered(str(cell), cell.positions, self.displacements.get(cell.arm, {}).values())

    def displacement(self, cell: Cell) -> dict[str, float]:
        """Mean |y - x| over the tokens that the cell's arm steered, by site."""
        displacements = self.displacements.get(cell.arm, {})
        return {site: float(t.distance) / t.tokens for site, t in displacements.items() if t.tokens}

    def keep(self, store: AnswerStore) -> None:
        """Write all of it to the run folder, whole or not at all. Raises StoreError."""
        arms = list(dict.fromkeys(cell.arm for cell in self.cells))
        rows = [row for key, page in self.pages.items() for row in _rows(*key, page, arms)]
        rows += [{"task": "", "kind": CHAT, "key": key, "prompt": text}
                 for key, text in self.chats.known.items()]  # fmt: skip
        record = AnswerRecord(
            cells=[cell.id for cell in self.cells],
            arms=arms,
            facts={cell.id: self.facts[cell.id] for cell in self.cells if cell.id in self.facts},
            tallies={
                arm: {
                    site: [t.tokens, float(t.distance)]
                    for site, t in self.displacements[arm].items()
                }
                for arm in arms
                if arm in self.displacements
            },
            acting=sorted(self.acting & set(arms)),
            lost=self.lost,
        )
        store.write(self.id, pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA), record)
        self.stored_names.add(self.id)

    @classmethod
    def read(cls, store: AnswerStore, name: str, cells: Sequence[Cell]) -> Self:
        """Read answers back.

        Args:
            store: Where they are kept.
            name: The name of the group under which they are kept.
            cells: Cells to read them for; those that the group does not have are left out.

        Returns:
            The answers, from which each cell is scored as in the process that was given them.

        Raises:
            StoreError: They are missing or damaged.
        """
        record, table = store.read(name)
        rows = table.to_pylist()
        stored_cells = [cell for cell in cells if cell.id in set(record.cells)]
        return cls(
            stored_cells,
            {
                key: _page(list(some), record.arms)
                for key, some in groupby(rows, lambda row: (row["task"], row["kind"]))
                if key[1] != CHAT
            },
            {
                arm: {
                    site: DisplacementStats(int(tokens), distance)
                    for site, (tokens, distance) in sites.items()
                }
                for arm, sites in record.tallies.items()
            },
            set(record.acting),
            dict(record.facts),
            Chats({row["key"]: row["prompt"] for row in rows if row["kind"] == CHAT}),
            {name},
            lost=record.lost,
        )


def begun(store: AnswerStore, cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Find the kept answers of `cells`.

    Returns:
        Names under which they are kept, with the cells to take from each. Of several names for a
        cell the one with the fewest cells counts: the groups of the others were split.

    Raises:
        StoreError: The folder cannot be read.
    """
    left = {cell.id: cell for cell in cells}
    groups = []
    for name, record in sorted(store.records().items(), key=lambda pair: len(pair[1].cells)):
        group_cells = [left.pop(cell) for cell in record.cells if cell in left]
        if group_cells:
            groups.append((name, group_cells))
    return groups


def asked_of(answered: Answered, cell: Cell) -> list[Page]:
    """The requests of the cell's task so far."""
    return [page for (task, _), page in answered.pages.items() if task == cell.task.name]


Count = Callable[[Sequence[str]], list[int]]
"""How many tokens each of some texts has."""


def tokens_of(answered: Answered, count: Count) -> dict[str, int]:
    """By cell id the tokens of its distinct prompts and its answers."""
    tokens: dict[str, int] = {}
    for first in one_of_each_task(answered.cells):
        pages = asked_of(answered, first)
        given = [*{prompt for page in pages for prompt in page.prompts}]
        given += [text for page in pages for text in page.continuations if text is not None]
        shared = sum(count(given)) if given else 0
        for cell in answered.cells:
            if cell.task.name == first.task.name:
                page = answered.texts(cell)
                generated = list(page.values[cell.arm]) if page is not None else []
                tokens[cell.id] = shared + (sum(count(generated)) if generated else 0)
    return tokens


def _rows(task: str, kind: str, page: Page, arms: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of ANSWER_SCHEMA of one page."""
    rows = []
    for position, name in enumerate(page.names):
        values = [page.values[arm][position] for arm in arms]
        row: dict[str, Any] = {
            "task": task,
            "kind": kind,
            "key": name.key,
            "item_id": name.item_id,
            "request": name.number,
            "prompt": page.prompts[position],
            "continuation": page.continuations[position],
            "folds": [page.folds[arm][position] for arm in arms],
        }
        if kind == GENERATION:
            read = [page.unsteered.get(arm, {}).get(position, (None, None)) for arm in arms]
            row |= {"texts": values, "text_log_likelihoods": [total for total, _ in read],
                    "text_tokens": [tokens for _, tokens in read]}  # fmt: skip
        elif kind == "loglikelihood":
            row |= {"log_likelihoods": [value for value, _ in values],
                    "are_greedy": [bool(greedy) for _, greedy in values]}  # fmt: skip
        else:
            row |= {"log_likelihoods": values}
        rows.append(row)
    return rows


def _page(rows: Sequence[dict[str, Any]], arms: Sequence[str]) -> Page:
    """The page that `rows` hold."""
    values: dict[str, Sequence[Any]] = {}
    unsteered: dict[str, Texts] = {}
    for index, arm in enumerate(arms):
        if rows[0]["texts"] is not None:
            values[arm] = [row["texts"][index] for row in rows]
            unsteered[arm] = {
                position: (row["text_log_likelihoods"][index], row["text_tokens"][index])
                for position, row in enumerate(rows)
                if row["text_tokens"][index] is not None
            }
        elif rows[0]["are_greedy"] is not None:
            values[arm] = [(r["log_likelihoods"][index], r["are_greedy"][index]) for r in rows]
        else:
            values[arm] = [row["log_likelihoods"][index] for row in rows]
    return Page(
        [Named(row["key"], row["item_id"], row["request"]) for row in rows],
        [row["prompt"] for row in rows],
        [row["continuation"] for row in rows],
        values,
        {arm: [row["folds"][index] for row in rows] for index, arm in enumerate(arms)},
        {arm: texts for arm, texts in unsteered.items() if texts},
    )
