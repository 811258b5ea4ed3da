"""What each command of the command line does."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steereval.common.errors import InputError, UnknownNameError
from steereval.harness.assets import ASSETS, Asset, fetch
from steereval.harness.config.grid import DiagnoseSpec, Grid, check_diagnose, load_grid, parse_grid
from steereval.harness.deploy.job_submission import folder_of
from steereval.tasks.data.local_files import data_folder

if TYPE_CHECKING:
    from steereval.harness.engine.fit_request import Lower
    from steereval.harness.estimate.simulation import Machines
    from steereval.harness.planning.cell import Cell
    from steereval.harness.planning.task_resources import TaskResources
    from steereval.results.store.run_folder import RunFolder


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def models(arguments: argparse.Namespace) -> int:
    """List the embedded models, or fetch one."""
    return _list_or_fetch(arguments, [a for a in ASSETS.values() if a.kind == "model"])


def tasks(arguments: argparse.Namespace) -> int:
    """List tasks, contrast sets and their data, or fetch some."""
    from steereval.tasks.catalogue.cards import list_tasks
    from steereval.tasks.catalogue.index import task_folder
    from steereval.tasks.contrast.registry import CONTRAST_NAMES
    from steereval.tasks.judges.registry import JUDGES

    if arguments.path:
        print(task_folder())
        return 0
    if arguments.action is None:
        for described in list_tasks():
            print(f"{described.name:20} {described.description}")
        print(f"{'any lm-eval task':20} by its own name")
        print(f"\nContrast sets: {', '.join(CONTRAST_NAMES)}, or a .jsonl file of your own pairs")
        print("\nJudges of generated text:")
        for judge in JUDGES.values():
            print(f"{judge.name:20} {judge.description}")
        print("\nData to fetch:")
    return _list_or_fetch(arguments, [a for a in ASSETS.values() if a.kind == "data"])


def _list_or_fetch(arguments: argparse.Namespace, assets: Sequence[Asset]) -> int:
    if arguments.action is None:
        for asset in assets:
            state = "here" if asset.is_here else "not fetched"
            print(f"{asset.name:20} {asset.summary} ({asset.licence}; {state})")
        return 0
    known = {asset.name for asset in assets}
    if arguments.asset is None:
        raise InputError("nothing to fetch was named", f"Name one of: {', '.join(sorted(known))}.")
    if arguments.asset not in known:
        raise UnknownNameError.of("asset", arguments.asset, known)
    print(fetch(arguments.asset, _say, arguments.accept_licence))
    return 0


def methods(_: argparse.Namespace) -> int:
    """List the steering methods with their options."""
    from steereval.models.methods.options import usual_options
    from steereval.models.methods.registry import methods as all_methods

    for method in all_methods().values():
        print(f"{method.name:16} {method.summary}")
        usual = usual_options(method.Options)
        for option in dataclasses.fields(method.Options):
            print(f"{'':16}   {option.name} = {usual[option.name]!r}")
    return 0


def fit(arguments: argparse.Namespace) -> int:
    """Fit one steerer and write its artefact."""
    from steereval.harness.config.grid import ModelSpec
    from steereval.harness.engine.fit_request import FitRequest
    from steereval.harness.engine.loading import WorkerSettings, load_model
    from steereval.models.artefacts.artefact import save_artefact
    from steereval.models.methods.registry import get_method
    from steereval.tasks.contrast.registry import load_contrast

    options = dict(_option(text) for text in arguments.option)
    get_method(arguments.method).options(options)
    if not 0 < arguments.fraction <= 1:
        raise InputError(f"--fraction is {arguments.fraction}", "It lies above 0, up to 1.")
    data_dir = _data_dir(arguments)
    contrast = load_contrast(arguments.contrast, data_dir=data_dir, answers=arguments.answers)
    spec = ModelSpec(arguments.model, layers=(), dtype=arguments.dtype)
    lm = load_model(spec, WorkerSettings("", None, 1, arguments.device))
    request = FitRequest(
        arguments.method, options, arguments.layer, arguments.template, arguments.fraction,
        arguments.seed, _lower(arguments), arguments.token,
    )  # fmt: skip
    artefact = lm.fitter.fit(contrast, request, None)
    if not artefact.steerers:
        raise InputError(f"method {arguments.method} gives no steerer", "There is nothing to save.")
    save_artefact(artefact, Path(arguments.out))
    print(arguments.out)
    return 0


def _lower(arguments: argparse.Namespace) -> Lower | None:
    """How the layers below act in an incremental fit."""
    from steereval.harness.engine.fit_request import Lower
    from steereval.models.steering.positions import Positions

    if arguments.incremental is None:
        return None
    return Lower(arguments.incremental, "absolute", Positions(arguments.positions).rule)


def export(arguments: argparse.Namespace) -> int:
    """Write the vectors of a steerer in a format of other programs."""
    from steereval.models.artefacts.artefact import load_artefact
    from steereval.models.artefacts.export import export_steerers

    artefact = load_artefact(Path(arguments.steerer))
    export_steerers(artefact.steerers, Path(arguments.out), arguments.format)
    print(arguments.out)
    return 0


def _option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--option {text!r} has no value", "Write NAME=VALUE.")
    return name, value


def plan(arguments: argparse.Namespace) -> int:
    """Print the cells of a grid, their cost and the effect that they can detect."""
    from steereval.harness.estimate.description import describe, describe_cost, describe_noise_floor
    from steereval.harness.planning.plan import make_plan
    from steereval.harness.planning.task_resources import TaskResources

    grid, machines = _grid(arguments), _machines(arguments)
    cells = make_plan(grid)
    print(f"{grid.name}: {len(cells)} cells")
    counts = Counter((cell.model.name, cell.task.name, cell.label) for cell in cells)
    for (model, task, label), count in counts.items():
        print(f"  {model:16} {task:24} {label:20} {count:4} cells")
    print(describe_noise_floor(grid, cells))
    supplies = TaskResources(_data_dir(arguments))
    for line in (*describe(grid, cells, supplies), *describe_cost(grid, cells, supplies)):
        print(line)
    if arguments.probe or machines:
        _measure(grid, cells, supplies, machines, arguments.probe)
    return 0


def _measure(
    grid: Grid,
    cells: Sequence[Cell],
    supplies: TaskResources,
    machines: Machines | None,
    probed: bool,
) -> None:
    """Print what a probe finds, and how the grid would go on a cluster."""
    from steereval.harness.estimate.simulation import (
        OPERATIONS,
        check_room,
        describe_simulation,
        work_items,
    )

    if machines:
        check_room(grid, machines.gpus)
    works, unit = work_items(grid, cells, supplies.data_dir), OPERATIONS
    if probed:
        from steereval.harness.estimate.timing_probe import probe

        found = probe(grid, cells, supplies)
        works, unit = found.timed(works), "s"
        print("\n".join(found.lines()))
    if machines:
        for line in describe_simulation(works, machines, grid.run.retries, unit):
            print(line)


def _machines(arguments: argparse.Namespace) -> Machines | None:
    """The cluster to simulate; None if none is asked for."""
    from steereval.harness.estimate.simulation import Machines

    others = {"gpus": arguments.gpus_per_node, "failures": arguments.failures}
    given = {name: value for name, value in others.items() if value is not None}
    if arguments.simulate is not None:
        return Machines(arguments.simulate, **given)
    if given:
        raise InputError(
            "--gpus-per-node or --failures without --simulate", "Add --simulate NODES."
        )
    return None


def run(arguments: argparse.Namespace) -> int:
    """Run a grid and build its report; the status is 1 if a cell failed."""
    from steereval.harness.run.driver import run_grid

    grid = _grid(arguments)
    overrides = {
        name: getattr(arguments, name)
        for name in ("workers", "address", "batch_size", "device", "time_limit", "profile")
        if getattr(arguments, name) is not None
    }
    for name in ("workers", "batch_size", "time_limit"):
        if overrides.get(name, 1) <= 0:
            raise InputError(f"--{name.replace('_', '-')} is {overrides[name]}", "Use 1 or more.")
    grid = dataclasses.replace(grid, run=dataclasses.replace(grid.run, **overrides))
    out, data_dir = arguments.out, _data_dir(arguments)
    if grid.diagnose is not None:
        # Imported for those who want it: on a fresh machine it takes seconds.
        from steereval.harness.diagnose.command import check_diagnosis, diagnose_grid

        check_diagnosis(grid, data_dir)
    summary = run_grid(grid, out, data_dir, _say, arguments.progress)
    undiagnosed = () if grid.diagnose is None else diagnose_grid(grid, out, data_dir, _say)
    for failure in (*summary.failed, *summary.unjudged, *undiagnosed):
        _say(f"failed: {failure}")
    _say(f"{summary.planned - len(summary.failed)} of {summary.planned} cells are done")
    if not arguments.no_report:
        from steereval.results.report import publish_report
        from steereval.results.report.writers.terminal import print_verdicts
        from steereval.results.store.run_folder import RunFolder

        published = publish_report(RunFolder(out))
        print_verdicts(published.analysis, sys.stdout)
        print(published.page)
    return 1 if summary.failed or summary.unjudged or undiagnosed else 0


def diagnose(arguments: argparse.Namespace) -> int:
    """Measure barriers, trajectories, integrators and costs, and build the report."""
    from steereval.harness.diagnose.command import diagnose_alone, diagnose_grid
    from steereval.results.report import publish_report
    from steereval.results.store.run_folder import RunFolder

    is_grid = Path(arguments.run).suffix in (".yaml", ".yml")
    if is_grid and arguments.out is None:
        raise InputError("no folder was given to write into", "Add --out RUN.")
    if not is_grid and arguments.out is not None:
        raise InputError(
            "--out is for a grid file; a run folder is written into itself", "Leave it out."
        )
    out: str = arguments.out if is_grid else folder_of(arguments.run)
    grid = (
        load_grid(Path(arguments.run))
        if is_grid
        else parse_grid(RunFolder(out).read_manifest()["grid"])
    )
    items = {} if arguments.items is None else {"items": arguments.items}
    device = {} if arguments.device is None else {"device": arguments.device}
    grid = dataclasses.replace(
        grid,
        diagnose=dataclasses.replace(grid.diagnose or DiagnoseSpec(), **items),
        run=dataclasses.replace(grid.run, **device),
    )
    check_diagnose(grid.diagnose)
    measure = diagnose_alone if is_grid else diagnose_grid
    failed = measure(grid, out, _data_dir(arguments), _say)
    for failure in failed:
        _say(f"failed: {failure}")
    print(publish_report(RunFolder(out)).page)
    return 1 if failed else 0


def rescore(arguments: argparse.Namespace) -> int:
    """Score a finished run again from its stored answers, and build the report."""
    from steereval.harness.rerun.rescore import rescore as score_again
    from steereval.results.report import build_report
    from steereval.results.store.run_folder import FAILED, RunFolder

    renamed = dict(_renamed(text) for text in arguments.task)
    target = RunFolder(arguments.out)
    source = RunFolder(folder_of(arguments.run))
    count = score_again(source, target, renamed, _data_dir(arguments), _say)
    _say(f"{count} cells were scored again")
    print(build_report(target))
    return 1 if any(record["status"] == FAILED for record in target.records().values()) else 0


def _renamed(text: str) -> tuple[str, str]:
    name, sign, other = text.partition("=")
    if not sign:
        raise InputError(f"--task {text!r} names no other task", "Write TASK=OTHER_TASK.")
    return name, other


def import_samples(arguments: argparse.Namespace) -> int:
    """Make lm-eval's samples an arm of a run."""
    from steereval.harness.rerun.import_model import model_of
    from steereval.results.lm_eval import import_samples as importing
    from steereval.results.lm_eval.sample_files import read_sample_file
    from steereval.results.store.manifest import parse_plan
    from steereval.results.store.run_folder import RunFolder

    run = RunFolder(folder_of(arguments.into))
    plan = parse_plan(run.read_manifest())
    files = [read_sample_file(Path(path)) for path in arguments.samples]
    arm = importing.NewArm(
        arguments.label,
        model_of(files, plan, arguments.model),
        arguments.sample_seed,
        arguments.fewshot_seed,
        arguments.baseline,
    )
    for found in importing.import_samples(run, files, arm):
        print("\n".join(found.lines(arguments.label)))
    print(f"Build the report anew with `steereval report {arguments.into}`.")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check a finished run; the status is 1 if anything is wrong."""
    from steereval.harness.rerun.verify import Again, check_grid, run_again
    from steereval.results.report import report_reader
    from steereval.results.verification import verify_tables

    if arguments.cells < 0 or arguments.tolerance < 0:
        raise InputError("--cells or --tolerance is below 0", "Use 0 or more.")
    again = Again(arguments.cells, arguments.tolerance, arguments.device, _data_dir(arguments))
    with _opened(arguments.run) as run:
        report = report_reader(run, Path(arguments.report) if arguments.report else None)
        found = [
            *verify_tables(run, report, not arguments.other_versions),
            *check_grid(run, again.data_dir),
        ]
        if again.cells:
            found += run_again(run, again, _say)
    for finding in found:
        print(finding)
    wrong = sum(finding.is_wrong for finding in found)
    print(f"{arguments.run}: {wrong or 'nothing'} wrong")
    return 1 if wrong else 0


@contextmanager
def _opened(name: str) -> Iterator[RunFolder]:
    """The run of that name, or the one in the archive of that name, unpacked for a while."""
    from steereval.results.store.run_folder import RunFolder
    from steereval.results.store.unpack import unpack

    if not Path(name).is_file():
        yield RunFolder(folder_of(name))
        return
    with tempfile.TemporaryDirectory() as place:
        unpack(Path(name), Path(place) / "run")
        yield RunFolder(Path(place) / "run")


def query(arguments: argparse.Namespace) -> int:
    """Print the answer to a question in SQL."""
    from steereval.results.store.query import query as ask
    from steereval.results.store.query_output import lines_of

    sql = sys.stdin.read() if arguments.sql == "-" else arguments.sql
    with _opened(arguments.run) as run:
        for line in lines_of(ask(run, sql), arguments.format):
            print(line)
    return 0


def archive(arguments: argparse.Namespace) -> int:
    """Write a run into one file."""
    from steereval.results.store.archive import write_archive
    from steereval.results.store.run_folder import RunFolder

    write_archive(RunFolder(folder_of(arguments.run)), Path(arguments.out))
    print(arguments.out)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Build the report of a run folder, or compare several."""
    from steereval.results.report import build_report, publish_report
    from steereval.results.store.run_folder import RunFolder

    if len(arguments.runs) > 1:
        return _compare(arguments)
    run = RunFolder(folder_of(arguments.runs[0]))
    print(build_report(run, Path(arguments.out)) if arguments.out else publish_report(run).page)
    if arguments.dataset:
        from steereval.results.report.writers.dataset import write_dataset

        write_dataset(run, Path(arguments.dataset))
        print(arguments.dataset)
    if arguments.log:
        from steereval.results.analysis.run_analysis import analyse
        from steereval.results.report.writers.tracker import log_results

        log_results(analyse(run), run.read_manifest(), arguments.log, arguments.project)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    """Print the comparison of the first run with the others, or write it into a folder."""
    from steereval.results.report.writers.comparison import (
        compared,
        comparison_markdown,
        write_comparison,
    )
    from steereval.results.store.run_folder import RunFolder

    if arguments.dataset or arguments.log:
        raise InputError("--dataset and --log take one run", "Leave them out, or name one run.")
    found = compared({name: RunFolder(folder_of(name)) for name in arguments.runs})
    if arguments.out:
        print(write_comparison(found, Path(arguments.out)))
    else:
        print(comparison_markdown(found), end="")
    return 0


def power(arguments: argparse.Namespace) -> int:
    """Print what designs detect and what an effect needs."""
    from steereval.harness.cli.power import lines_of

    print("\n".join(lines_of(arguments)))
    return 0


def lm_eval(arguments: Sequence[str]) -> int:
    """lm-eval's own command line, with `odesteer` registered."""
    import lm_eval.models  # noqa: F401 - its built-ins must be registered first
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import model_registry

    if "odesteer" not in model_registry:
        model_registry.register("odesteer", target="steereval.harness.engine.steered_lm:SteeredLM")
    sys.argv = ["lm_eval", *arguments]
    cli_evaluate()
    return 0


def _grid(arguments: argparse.Namespace) -> Grid:
    grid = load_grid(Path(arguments.grid))
    if arguments.limit is None:
        return grid
    if arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}", "Use 1 or more.")
    limited = [
        dataclasses.replace(task, limit=min(task.limit or arguments.limit, arguments.limit))
        for task in grid.tasks
    ]
    return dataclasses.replace(grid, tasks=tuple(limited))


def _data_dir(arguments: argparse.Namespace) -> Path | None:
    folder = data_folder(Path(arguments.data_dir) if arguments.data_dir else None)
    if folder is None:
        return None
    if not folder.is_dir():
        raise InputError(f"the data folder {folder} does not exist", "Check --data-dir.")
    return folder.resolve()
