"""Files of a run folder about its tasks: correct answers for the report, and own tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from steereval.harness.config.grid import TaskSpec
from steereval.results.lm_eval.samples import SUBTASK, item_ids
from steereval.results.store.correct_answers import Correct, write_correct_answers
from steereval.results.store.run_folder import OWN_TASKS
from steereval.results.store.storage import Storage
from steereval.tasks.catalogue.included import IncludedFiles
from steereval.tasks.catalogue.task_group import scored_documents, subtask_of
from steereval.tasks.data.document_hash import doc_hash


def keep_references(place: Storage, specs: Sequence[TaskSpec], tasks: Mapping[str, Any]) -> None:
    """Write the correct answers of all `tasks` into the run folder at `place`.

    Args:
        place: Where the run folder is.
        specs: The grid's tasks.
        tasks: {name: lm-eval's task}, loaded.

    Raises:
        StoreError: The folder cannot be written to.
    """
    write_correct_answers(
        place, {spec.name: references_of(tasks[spec.name], spec.limit) for spec in specs}
    )


def keep_included(place: Storage, included: Iterable[IncludedFiles]) -> None:
    """Write the files of the user's own tasks into the run folder at `place`.

    They lie in `own_tasks/<include_hash>/`, for whoever runs its cells again.

    Args:
        place: Where the run folder is.
        included: The files of each folder.

    Raises:
        StoreError: The folder cannot be written to.
    """
    for files in included:
        for name, data in files.files.items():
            path = f"{OWN_TASKS}/{files.content_hash}/{name}"
            place.make(path.rpartition("/")[0])
            place.write(path, data)


def references_of(task: Any, limit: int | None = None) -> dict[str, Correct]:
    """{item id: what counts as right} of the first `limit` documents of a task or subtask.

    Documents without a correct answer, such as prompts to be continued, are left out.
    """
    documents = list(scored_documents(task, limit))
    samples = [{"filter": "", SUBTASK: name, "doc_hash": doc_hash(doc)} for name, doc in documents]
    references_of_documents = (
        _reference(subtask_of(task, name), document) for name, document in documents
    )
    references = zip(item_ids(samples), references_of_documents, strict=True)
    return {item: correct for item, correct in references if correct.choices or correct.texts}


def _reference(task: Any, document: Any) -> Correct:
    """Correct answers of a task by another author; empty where their form is unknown."""
    try:
        if str(task.OUTPUT_TYPE) == "multiple_choice":
            return Correct(choices=tuple(_right_choices(task, document)))
        target = task.doc_to_target(document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return Correct()
    texts = target if isinstance(target, list | tuple) else [target]
    return Correct(texts=tuple(str(text) for text in texts if str(text).strip()))


def _right_choices(task: Any, document: Any) -> Iterator[int]:
    choices = [str(choice) for choice in task.doc_to_choice(document)]
    labels = next(_labels(document, choices), None)
    if labels is not None:
        yield from (number for number, label in enumerate(labels) if label == 1)
        return
    prompt = task.doc_to_text(document)
    # A task with a prompt for each choice has the number of the right one in place of the prompt.
    target = prompt if isinstance(prompt, int) else task.doc_to_target(document)
    for each in target if isinstance(target, list | tuple) else [target]:
        if isinstance(each, int):
            yield each
        elif str(each) in choices:
            yield choices.index(str(each))


def _labels(document: Mapping[str, Any], choices: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Labels of the choices, where the document has several that are right (TruthfulQA's mc2)."""
    for part in (document, *(each for each in document.values() if isinstance(each, Mapping))):
        labels, named = part.get("labels"), part.get("choices")
        if isinstance(labels, list) and isinstance(named, list) and list(named) == list(choices):
            yield labels
