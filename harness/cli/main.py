"""The command line: `steereval COMMAND ...`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from steereval.common.errors import SteerEvalError, nearest_remedy
from steereval.common.paths import expanded

_PATHS = ("grid", "run", "runs", "out", "into", "samples", "steerer", "report", "dataset",
          "data_dir", "model", "contrast")  # fmt: skip
"""Arguments whose text may be a path of this machine: `~` in them is the home folder."""
_ELSEWHERE = ("submit", "cluster")
"""Commands whose folders lie on other machines, which have homes of their own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (failed cells or errors) or 2 (bad input)."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] not in (["fit"], ["lm-eval"]):
        # Progress bars of libraries would write over the run's own display.
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if given[:1] == ["lm-eval"]:
        from steereval.harness.cli.commands import lm_eval

        return lm_eval(given[1:])
    arguments = _parser().parse_args(given)
    _expand_paths(arguments)
    # A job that is stopped is told so by SIGTERM: as an interruption it ends its workers.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has stopped; what Python still holds back must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("steereval: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    except SteerEvalError as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"steereval: error: {error}", file=sys.stderr)
        return error.exit_status


def _expand_paths(arguments: argparse.Namespace) -> None:
    """Replace `~`, which a shell leaves alone in `--out=~/run` and within quotes."""
    for name in ("grid",) if arguments.name in _ELSEWHERE else _PATHS:
        value = getattr(arguments, name, None)
        if isinstance(value, str):
            setattr(arguments, name, expanded(value))
        elif isinstance(value, list):
            setattr(arguments, name, [expanded(each) for each in value])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    """Says which word that may stand there is nearest."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print one sentence and exit with status 2."""
        hint = ""
        if "invalid choice: '" in message:
            wrong = message.split("invalid choice: '")[1].split("'")[0]
            known = message.partition("(choose from ")[2].rstrip(")")
            hint = " " + nearest_remedy(wrong, [name.strip("'") for name in known.split(", ")])
        self.exit(2, f"{self.prog}: error: {message}.{hint}\n")


def _parser() -> argparse.ArgumentParser:
    # Imported here so that `lm-eval` starts without them.
    from steereval.harness.cli import commands

    parser = _Parser(
        prog="steereval",
        description="Evaluate activation steering of language models: grids, per-item rows, "
        "statistics, reports.",
    )
    parser.set_defaults(debug=False)
    subs = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    models = _add(subs, "models", "embedded models; `models fetch NAME` downloads one")
    _add_fetch(models, commands.models)
    _add(subs, "methods", "steering methods").set_defaults(command=commands.methods)
    tasks = _add(subs, "tasks", "tasks and contrast sets; `tasks fetch NAME` downloads data")
    tasks.add_argument("--path", action="store_true", help="print the folder with the task files")
    _add_fetch(tasks, commands.tasks)
    _add_fit(subs).set_defaults(command=commands.fit)

    export = _add(subs, "export", "write a steerer as vectors that other programs read")
    export.add_argument("steerer", help="folder of a fitted steerer")
    export.add_argument("--out", required=True, help=".safetensors, .gguf or .pt file to write")
    export.add_argument(
        "--format", default="auto", help="plain, gguf or steered; auto goes by the file's name"
    )
    export.set_defaults(command=commands.export)

    _add_plan(subs).set_defaults(command=commands.plan)
    _add_run(subs).set_defaults(command=commands.run)
    _add_remote(subs)
    _add_cluster(subs)
    _add_diagnose(subs).set_defaults(command=commands.diagnose)
    _add_rescore(subs).set_defaults(command=commands.rescore)
    _add_import(subs).set_defaults(command=commands.import_samples)
    _add_report(subs).set_defaults(command=commands.report)
    _add_verify(subs).set_defaults(command=commands.verify)
    _add_archive(subs).set_defaults(command=commands.archive)
    _add_query(subs).set_defaults(command=commands.query)
    _add_power(subs).set_defaults(command=commands.power)
    _add(subs, "lm-eval", "lm-eval's own command line, with --model steereval registered")
    return parser


def _add(subs: argparse._SubParsersAction[_Parser], name: str, help: str) -> _Parser:
    parser = subs.add_parser(name, help=help, description=help)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_plan(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    plan = _add(subs, "plan", "the cells of a grid and what they cost; runs nothing")
    _add_grid(plan)
    plan.add_argument(
        "--simulate", type=int, metavar="NODES", help="play the schedule through on a cluster"
    )
    plan.add_argument(
        "--probe", action="store_true", help="load each model for a few seconds and measure"
    )
    plan.add_argument("--gpus-per-node", type=int, help="of the simulated cluster (8)")
    plan.add_argument(
        "--failures", type=float, metavar="SHARE", help="of simulated tries that lose their worker"
    )
    return plan


def _add_run(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    run = _add(subs, "run", "run a grid, or go on with it, and report")
    _add_grid(run)
    run.add_argument("--out", required=True, help="run folder")
    _add_workers(run)
    _add_progress(run)
    run.add_argument(
        "--profile", action="store_true", default=None, help="measure where the time goes"
    )
    run.add_argument("--no-report", action="store_true", help="leave the report for later")
    return run


def _add_workers(run: _Parser) -> None:
    run.add_argument("--workers", type=int, help="model replicas; one for each GPU unless given")
    run.add_argument("--batch-size", type=int, help="prompts that generate together")
    run.add_argument("--device", help="cuda, cpu, mps or auto")
    run.add_argument("--time-limit", type=float, help="seconds after which a cell counts as hung")


def _add_progress(run: _Parser) -> None:
    run.add_argument("--address", help="a Ray to run on: auto, ray://HOST:10001, or local")
    run.add_argument(
        "--progress",
        choices=("auto", "lines", "json"),
        default="auto",
        help="live on a terminal and lines elsewhere (auto), lines, or a line of JSON each time",
    )


def _add_remote(subs: argparse._SubParsersAction[_Parser]) -> None:
    from steereval.harness.cli import jobs

    submit = _add(subs, "submit", "run a grid on a Ray cluster, as a job")
    _add_grid(submit)
    submit.add_argument("--address", required=True, help="dashboard, such as http://HOST:8265")
    submit.add_argument("--out", required=True, help="run folder that all its machines see, or URI")
    _add_workers(submit)
    submit.add_argument(
        "--env", action="append", default=[], metavar="NAME[=VALUE]",
        help="environment variable to set there, such as HF_TOKEN",
    )  # fmt: skip
    submit.add_argument("--no-wait", action="store_true", help="do not wait for its end")
    submit.set_defaults(command=jobs.submit)
    for name, what, command in (
        ("status", "how far a run is", jobs.status),
        ("watch", "show how far a run is until it ends", jobs.watch),
        ("logs", "the log of a submitted run", jobs.logs),
        ("cancel", "stop a submitted run; it can be gone on with", jobs.cancel),
    ):
        parser = _add(subs, name, what)
        parser.add_argument("run", help="run id, as `submit` printed it, or a run folder")
        if name != "watch":
            parser.add_argument("--address", help="dashboard, if another machine submitted it")
        if name == "logs":
            parser.add_argument("--follow", action="store_true", help="until the run ends")
        if name == "watch":
            parser.add_argument("--json", action="store_true", help="a line of JSON each time")
            parser.add_argument("--wait", action="store_true", help="wait for the run to begin")
            parser.add_argument("--every", type=float, default=1.0, help="seconds between looks")
        parser.set_defaults(command=command)


def _add_cluster(subs: argparse._SubParsersAction[_Parser]) -> None:
    from steereval.harness.cli.cluster import add_arguments

    add_arguments(_add(subs, "cluster", "files that start a Ray: for KubeRay, Slurm, `ray up`"))


def _add_diagnose(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    diagnose = _add(subs, "diagnose", "measure barriers, trajectories, integrators and costs")
    diagnose.add_argument("run", help="run folder, or a grid file (.yaml)")
    diagnose.add_argument("--out", metavar="RUN", help="folder to write into, for a grid file")
    diagnose.add_argument("--data-dir", help="folder with benchmark data (else STEEREVAL_DATA)")
    diagnose.add_argument("--items", type=int, help="most held-out statements (100)")
    diagnose.add_argument("--device", help="cuda, cpu, mps or auto")
    return diagnose


def _add_rescore(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    rescore = _add(subs, "rescore", "score a finished run again from its answers, without a model")
    rescore.add_argument("run", help="run folder")
    rescore.add_argument("--out", required=True, help="folder for the new scores")
    rescore.add_argument(
        "--task", action="append", default=[], metavar="TASK=OTHER",
        help="score the answers to TASK as OTHER does, which asks the same of the same documents",
    )  # fmt: skip
    rescore.add_argument("--data-dir", help="folder with benchmark data (else STEEREVAL_DATA)")
    return rescore


def _add_report(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    report = _add(subs, "report", "build the report of a run folder, or compare several")
    report.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folder; others are compared with the first"
    )
    report.add_argument(
        "--out",
        help="folder for the report; RUN/report unless given, and of a comparison the terminal",
    )
    report.add_argument(
        "--dataset", metavar="FOLDER", help="write the results as a Hugging Face data set too"
    )
    report.add_argument(
        "--log", metavar="TRACKER", help="log the results to wandb or trackio, if installed"
    )
    report.add_argument("--project", default="steereval", help="the tracker's project (steereval)")
    return report


def _add_archive(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    archive = _add(subs, "archive", "a run as one file that someone else can check")
    archive.add_argument("run", help="run folder")
    archive.add_argument("--out", required=True, help=".tar.gz or .zip file to write")
    return archive


def _add_query(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    query = _add(subs, "query", "ask a run in SQL: the tables rows, responses and cells")
    query.add_argument("run", help="run folder, or an archive of one")
    query.add_argument("sql", help="one select; - reads it from standard input")
    query.add_argument("--format", default="table", help="table, csv or json")
    return query


def _add_verify(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    verify = _add(subs, "verify", "check files, ids, versions and statistics of a finished run")
    verify.add_argument("run", help="run folder, or an archive of one")
    verify.add_argument("--report", help="report to compare with; RUN/report unless given")
    verify.add_argument("--cells", type=int, default=0, metavar="N", help="run N cells once more")
    verify.add_argument(
        "--tolerance", type=float, default=1e-3,
        help="by so much a value of a cell that is run again may differ (0.001)",
    )  # fmt: skip
    verify.add_argument(
        "--other-versions", action="store_true", help="allow other installed versions"
    )
    verify.add_argument("--device", default="auto", help="cuda, cpu, mps or auto")
    verify.add_argument("--data-dir", help="folder with benchmark data (else STEEREVAL_DATA)")
    return verify


def _add_import(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    add = _add(subs, "import", "make the samples that lm-eval logged an arm of a run")
    add.add_argument("samples", nargs="+", help="samples_TASK_DATE.jsonl of lm_eval --log_samples")
    add.add_argument("--into", required=True, metavar="RUN", help="run folder")
    add.add_argument("--label", required=True, help="name of the arm in tables")
    add.add_argument("--model", help="model of the run that gave them, if its name does not tell")
    add.add_argument(
        "--baseline", action=argparse.BooleanOptionalAction,
        help="compare all methods with it, or no longer",
    )  # fmt: skip
    for kind in ("sample", "fewshot"):
        add.add_argument(
            f"--{kind}-seed", type=int, help=f"{kind} seed of the run that they stand beside"
        )
    return add


def _add_power(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    from steereval.harness.cli.power import add_arguments

    power = _add(subs, "power", "items and seeds that an effect needs, and what designs detect")
    add_arguments(power)
    return power


def _add_fetch(parser: argparse.ArgumentParser, command: object) -> None:
    parser.add_argument("action", nargs="?", choices=["fetch"], help="download")
    parser.add_argument("asset", nargs="?", help="what to download")
    parser.add_argument("--accept-licence", action="store_true", help="accept its terms of use")
    parser.set_defaults(command=command)


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grid", help="grid file (YAML)")
    parser.add_argument("--data-dir", help="folder with benchmark data (else STEEREVAL_DATA)")
    parser.add_argument("--limit", type=int, help="score only the first so many items of each task")


def _add_fit(subs: argparse._SubParsersAction[_Parser]) -> _Parser:
    fit = _add(subs, "fit", "fit one steerer and save it")
    fit.add_argument("--model", required=True, help="embedded model, folder or name on the hub")
    fit.add_argument("--method", required=True, help="steering method")
    fit.add_argument("--contrast", required=True, help="contrast set or .jsonl file")
    fit.add_argument("--layer", required=True, help="0-based block, or several joined by +")
    fit.add_argument("--out", required=True, help="folder for the steerer")
    fit.add_argument("--seed", type=int, default=0, help="fit seed")
    fit.add_argument(
        "--incremental",
        type=float,
        metavar="STRENGTH",
        help="fit each layer to what those below, at this strength, make of the negatives",
    )
    fit.add_argument(
        "--positions", default="generated", help="tokens that the layers below steer for that"
    )
    fit.add_argument("--fraction", type=float, default=1.0, help="share of the questions drawn")
    fit.add_argument("--answers", default="all", choices=["all", "best"])
    fit.add_argument("--template", default="qa", choices=["qa", "chat"])
    fit.add_argument(
        "--token", default="last", choices=["last", "mean"], help="where activations are taken"
    )
    fit.add_argument("--dtype", default="float32", help="precision of the model")
    fit.add_argument("--device", default="auto", help="cuda, cpu, mps or auto")
    fit.add_argument("--data-dir", help="folder with benchmark data (else STEEREVAL_DATA)")
    fit.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="option of the method"
    )
    return fit
