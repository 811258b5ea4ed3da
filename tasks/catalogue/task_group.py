"""A group of lm-eval tasks as one task, with lm-eval's aggregate as its score.

Its subtasks are the clusters of its documents.

lm-eval scores a group by the mean of its subtasks' scores, weighted by their numbers of documents
(`weight_by_size`, the default) or not. For metrics that are means over documents the first is the
mean over all documents of the group, the second the mean over subtasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

GENERATION = "generate_until"
"""lm-eval's name of tasks that ask for text."""


@dataclass(frozen=True)
class TaskGroup:
    """The loaded tasks of a group."""

    name: str
    """lm-eval's name of the group."""
    members: Mapping[str, Any]
    """{name: lm-eval's task} of its subtasks, those of groups within it too."""

    @property
    def eval_docs(self) -> Sequence[Any]:
        """The documents of all subtasks, one subtask after the other."""
        return [doc for task in self.members.values() for doc in task.eval_docs]

    def set_config(self, key: str, value: Any) -> None:
        """Set an option of every subtask."""
        for task in self.members.values():
            task.set_config(key=key, value=value)

    def set_fewshot_seed(self, seed: int) -> None:
        """Set the seed with which every subtask draws its few-shot examples."""
        for task in self.members.values():
            task.set_fewshot_seed(seed=seed)

    def higher_is_better(self) -> dict[str, bool]:
        """For each metric of a subtask whether higher is better."""
        return {
            metric: better
            for task in self.members.values()
            for metric, better in task.higher_is_better().items()
        }


def subtasks_of(task: Any) -> Mapping[str, Any]:
    """{name: lm-eval's task}: the members of a group, or the task itself under an empty name."""
    return task.members if isinstance(task, TaskGroup) else {"": task}


def subtask_of(task: Any, name: str | None) -> Any:
    """The member `name` of a group; the task itself where it is not a group."""
    return task.members[str(name)] if isinstance(task, TaskGroup) else task


def generates(task: Any) -> bool:
    """Whether a task, or a subtask of a group, asks for text."""
    return any(str(each.OUTPUT_TYPE) == GENERATION for each in subtasks_of(task).values())


def scored_documents(task: Any, limit: int | None) -> Iterator[tuple[str, Any]]:
    """(subtask, document) of what is scored: the first `limit` documents of each subtask."""
    for name, each in subtasks_of(task).items():
        for document in islice(each.eval_docs, limit):
            yield name, document
