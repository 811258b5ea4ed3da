"""The tables of `steereval plan`: one screen, or every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from steereval.harness.cli.columns import print_table, print_text
from steereval.harness.config.grid import Grid
from steereval.harness.estimate.cost_outlook import (
    CostOutlook,
    CostRow,
    ExtraWork,
    cost_outlook,
    merged_rows,
)
from steereval.harness.estimate.task_outlook import (
    DISCORDANT,
    TaskOutlook,
    UnknownTask,
    task_outlooks,
)
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.plan import plan_notes
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.planning.token_cost import Cost

MOST_ROWS = 12
"""Rows of costs that a screen has room for; more are summed over layers, then over models."""

COSTS = ("CELLS", "ALONE", "BELOW", "ABOVE", "LESS WORK")


def print_plan(grid: Grid, cells: Sequence[Cell], resources: TaskResources, is_whole: bool) -> None:
    """Print what a grid runs, what each task can show, and the cost.

    Args:
        grid: The grid.
        cells: Its cells.
        resources: The tasks' data, where at hand.
        is_whole: Print every row and every reason, however many.
    """
    # What cannot be planned is an error before the first line.
    tasks = list(task_outlooks(grid, cells, resources))
    outlook = cost_outlook(grid, cells, resources)
    print_text(_headline(grid, cells), "bold")
    print_text(noise_floor_sentence(grid, cells))
    for sentence in plan_notes(grid, cells):
        print_text(sentence)
    print()
    if is_whole:
        _print_cells(cells)
    else:
        _print_methods(cells)
    print()
    _print_tasks(tasks)
    print()
    rows = list(outlook.rows) if is_whole else fitting_rows(outlook.rows)
    _print_costs(outlook, rows)
    _print_hours(outlook)
    hidden = _print_gaps(outlook, is_whole)
    if not is_whole:
        print_text(f"`--all` shows every model, task, method and layer{hidden}.", "dim")


def fitting_rows(rows: Sequence[CostRow]) -> list[CostRow]:
    """The rows, or their sums over layers, or else over models too: as many as fit a screen."""
    for fields in (("model", "task", "layer"), ("model", "task")):
        merged = merged_rows(rows, *fields)
        if len(merged) <= MOST_ROWS:
            return merged
    return merged_rows(rows, "task")


def noise_floor_sentence(grid: Grid, cells: Sequence[Cell]) -> str:
    """Which cells are computed twice, or how to get some."""
    repeats = sum(cell.is_repeat for cell in cells)
    if repeats:
        return f"{repeats} cells are computed twice, with batches of {grid.repeat_batch_size}."
    return "No cell is computed twice; `noise_floor: METHOD` in the grid file measures the noise."


def rounded(number: float) -> str:
    """Three digits and a unit, such as `1.23 M`."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def _headline(grid: Grid, cells: Sequence[Cell]) -> str:
    parts = (
        (len(grid.models), "model"),
        (len({cell.label for cell in cells if not cell.is_repeat}), "method"),
        (len(grid.tasks), "task"),
        (len(grid.seeds.fit), "fit seed"),
    )
    named = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in parts)
    return f"{grid.name}: {len(cells)} cells ({named})"


def _print_cells(cells: Sequence[Cell]) -> None:
    counts = Counter((cell.model.name, cell.task.name, cell.label) for cell in cells)
    rows = [(*key, str(count)) for key, count in counts.items()]
    print_table(("MODEL", "TASK", "METHOD", "CELLS"), rows, numeric=("CELLS",))


def _print_methods(cells: Sequence[Cell]) -> None:
    """Print the methods, those with as many cells in one row."""
    by_count: dict[int, list[str]] = {}
    for label, count in Counter(cell.label for cell in cells).items():
        by_count.setdefault(count, []).append(label)
    rows = [(str(count), ", ".join(labels)) for count, labels in by_count.items()]
    print_table(("CELLS", "OF EACH METHOD"), rows, numeric=("CELLS",))


def _print_tasks(outlooks: Sequence[TaskOutlook | UnknownTask]) -> None:
    headings = ("TASK", "ITEMS", "CHOOSE", "TEST", "CELLS", "SCORES", "DETECTS")
    sized = [each for each in outlooks if isinstance(each, TaskOutlook)]
    rows = [
        (
            each.name,
            f"{each.items}{'' if each.is_counted else '*'}",
            str(each.validation),
            str(each.test),
            str(each.cells),
            rounded(each.items * each.cells),
            f"{100 * each.detectable:.1f} points",
        )
        for each in sized
    ]
    if rows:
        print_table(headings, rows, numeric=headings[1:])
        mark = "" if all(each.is_counted for each in sized) else " *: by the task's card."
        print_text(
            f"CHOOSE: items for choosing strengths. DETECTS: with 80 % power, for a binary metric "
            f"of which {DISCORDANT:.0%} of the answers change, seeds alike.{mark}",
            "dim",
        )
    for each in outlooks:
        if isinstance(each, UnknownTask):
            print_text(f"{each.name}: size unknown, {each.reason}", "yellow")
        elif each.out_of_reach:
            print_text(f"{each.name}: {_warning(each)}", "yellow")


def _warning(task: TaskOutlook) -> str:
    reach = task.out_of_reach
    assert reach is not None
    return (
        f"warning: no outcome can be significant: with one fit seed and {reach.units} {reach.kind} "
        f"no p-value is below {reach.least_p:.2g}, and the smallest of {reach.tests} must be below "
        f"{reach.level:.2g}; use {reach.enough} or more {reach.kind}, or several fit seeds"
    )


def _print_costs(outlook: CostOutlook, rows: Sequence[CostRow]) -> None:
    print_text(
        f"Tokens of {outlook.groups} groups: alone, and together below and above the steering."
    )
    names = [name for name in ("model", "task", "layer") if any(getattr(r, name) for r in rows)]
    lines = [
        (*(getattr(row, name) for name in names), str(row.cells), *_tokens(row.cost))
        for row in rows
    ]
    total = outlook.total
    if total.tokens_unshared:
        known = sum(row.cells for row in outlook.rows if row.cost is not None)
        name = "in all" if known == sum(row.cells for row in rows) else "known"
        lines.append((name, *[""] * (len(names) - 1), str(known), *_tokens(total)))
    print_table((*(name.upper() for name in names), *COSTS), lines, numeric=("LAYER", *COSTS))
    if total.tokens_unshared:
        written = f"; at most {rounded(total.generated)} tokens are generated"
        print_text(
            f"{rounded(total.flops_alone)} FLOP alone, {rounded(total.flops)} together"
            f"{written if total.generated else ''}."
        )


def _tokens(cost: Cost | None) -> tuple[str, ...]:
    if cost is None:
        return ("?",) * 4
    tokens = (cost.tokens_unshared, cost.below, cost.above)
    return *map(rounded, tokens), f"{cost.flops_alone / cost.flops:.1f}x"


def _print_hours(outlook: CostOutlook) -> None:
    seconds = outlook.seconds
    if not seconds.alone:
        return
    print_text(
        f"About {_hours(seconds.alone)} GPU hours alone, {_hours(seconds.together)} together "
        f"({_hours(seconds.generating)} of them to write answers), on an A100 in bfloat16, without "
        "loading and training."
    )
    extras = [
        _extra("to read the contrast sets", outlook.fitting),
        _extra("for the judges", outlook.judging),
    ]
    if any(extras):
        print_text(f"More GPU hours: {', '.join(filter(None, extras))}.")


def _extra(purpose: str, work: ExtraWork) -> str:
    unknown = f" (unknown for {', '.join(work.unknown)})" if work.unknown else ""
    if not work.seconds and not unknown:
        return ""
    return f"about {_hours(work.seconds)} {purpose}{unknown}"


def _print_gaps(outlook: CostOutlook, is_whole: bool) -> str:
    """Print why groups were not counted, one reason for all unless every row is shown.

    Returns:
        The number of reasons that are not shown, as the end of a sentence.
    """
    shown = outlook.reasons if is_whole else outlook.reasons[:1]
    for reason in shown:
        print_text(f"Tokens not counted: {reason}", "yellow")
    if outlook.estimated:
        print_text(
            f"{outlook.estimated} of {outlook.groups} groups are estimated from the models' known "
            "shapes and the tasks' known sizes."
        )
    missing = len(outlook.reasons) - len(shown)
    return f", and {missing} more reasons" if missing else ""


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"
