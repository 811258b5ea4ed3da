"""The second phase of a run: judges with tiny random models, and stand-ins, from grid to report."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from perspective_service import Service, scored, serving
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from steereval.common.errors import GridError, InputError, ModelError, TaskError, UnknownNameError
from steereval.harness.config.grid import Grid, RunSpec, TaskSpec, parse_grid
from steereval.harness.engine.loading import WorkerSettings
from steereval.harness.judging import worker
from steereval.harness.judging.rows import with_judgement
from steereval.harness.judging.worker import Assignment, JudgeWorker, assignments, work_items
from steereval.harness.planning import judge_check
from steereval.harness.planning.plan import make_plan
from steereval.harness.rerun.rescore import rescore
from steereval.harness.rerun.verify import Again, check_grid, run_again
from steereval.harness.run import worker as run_module
from steereval.harness.run.driver import Summary, run_grid
from steereval.harness.run.worker import CellWorker
from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report
from steereval.results.store.cell_record import CellRecord
from steereval.results.store.progress import read_progress
from steereval.results.store.run_folder import RunFolder
from steereval.tasks.data import hub
from steereval.tasks.judges.registry import JUDGES
from steereval.tasks.scorers import perspective

pytestmark = pytest.mark.slow

Judges = list[dict[str, Any]]
STAND_INS: Judges = [
    {"name": "truth", "model": "stand-in"},
    {"name": "reward", "model": "stand-in"},
    {"name": "toxicity", "scorer": "toxic_bert", "model": "stand-in"},
    {"name": "fluency", "model": "stand-in"},
]


UNJUDGED = CellRecord.model_construct(judges={})
"""A record of a cell that no judge has read."""


@pytest.fixture(autouse=True)
def own_judgements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of judgements for each test."""
    usual = worker.JudgeCache(tmp_path / "judgements.sqlite3")
    monkeypatch.setattr(worker.JudgeCache, "usual", lambda: usual)


@pytest.fixture(scope="session")
def tiny_judges(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of tiny random judges: a causal model, a reward model, a classifier."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    common = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "pad_token_id": 2,
    }  # fmt: skip
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "causal": (AutoModelForCausalLM, {}),
        "reward": (AutoModelForSequenceClassification, {"num_labels": 1}),
        "classifier": (
            AutoModelForSequenceClassification,
            {"id2label": {0: "insult", 1: "toxic"}},
        ),
    }
    result = {}
    for name, (loads, changes) in kinds.items():
        folder = tmp_path_factory.mktemp("judges") / name
        with torch.random.fork_rng():
            torch.manual_seed(7)
            loads.from_config(AutoConfig.for_model("llama", **common, **changes)).save_pretrained(
                folder
            )
        tokenizer.save_pretrained(folder)
        result[name] = str(folder)
    return result


def of(tiny_judges: dict[str, str]) -> Judges:
    """All judges that tiny models can play."""
    kinds = {"truth": "causal", "info": "causal", "reward": "reward", "fluency": "causal"}
    judges: Judges = [{"name": n, "model": tiny_judges[kind]} for n, kind in kinds.items()]
    model = tiny_judges["classifier"]
    return [*judges, {"name": "toxicity", "scorer": "toxic_bert", "model": model}]


def grid(model: str, judges: Judges, **changes: Any) -> Grid:
    task = {"name": "truthful_mini_gen", "limit": 4, "generation": {"max_gen_toks": 6}}
    data: dict[str, Any] = {
        "name": "judged",
        "models": [{"name": model, "layers": [1]}],
        "contrast": {"name": "truthful-mini", "answers": "best", "fraction": 0.3},
        "methods": ["none", {"name": "caa", "strengths": [30]}],
        "tasks": [task | {"judges": judges}],
    }
    return parse_grid(data | changes)


def run(given: Grid, out: Path, said: list[str] | None = None) -> Summary:
    return run_grid(given, out, None, (said if said is not None else []).append)


def values(out: Path, metric: str) -> dict[tuple[str, str], float]:
    rows = RunFolder(out).read_items().to_pylist()
    return {(r["method"], r["item_id"]): r["value"] for r in rows if r["metric"] == metric}


def state(out: Path) -> str | None:
    now = read_progress(RunFolder(out).place)
    return None if now is None else now.state


def refuse(*_: object) -> None:
    raise AssertionError("this must not be asked")


@pytest.fixture(scope="module")
def judged(
    tiny_folder: str, tiny_judges: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with all tiny judges; not to be written to."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.JudgeCache, "usual", lambda: worker.JudgeCache(folder / "cache"))
        summary = run(grid(tiny_folder, of(tiny_judges)), folder / "run")
    assert (summary.failed, summary.unjudged) == ((), ())
    return folder / "run"


# --- rows


def test_every_judge_gives_every_item_its_metrics(judged: Path) -> None:
    rows = RunFolder(judged).read_items().to_pylist()
    counts = Counter((row["method"], row["metric"]) for row in rows)
    given = ("true", "informative", "true_informative", "reward", "win", "fluency", "toxicity")
    for method in ("none", "caa"):
        assert {counts[method, metric] for metric in (*given, "toxic", "perplexity")} == {4}
    declared = RunFolder(judged).read_manifest().tasks["truthful_mini_gen"].metrics
    assert {row["metric"] for row in rows} == declared.keys()
    for row in rows:
        assert row["higher_is_better"] == declared[row["metric"]].higher_is_better


def test_both_is_one_where_each_is(judged: Path) -> None:
    true, informative = values(judged, "true"), values(judged, "informative")
    both = values(judged, "true_informative")
    assert both == {key: true[key] * informative[key] for key in true}


def test_the_unsteered_model_ties_with_itself_and_more_reward_wins(judged: Path) -> None:
    wins, rewards = values(judged, "win"), values(judged, "reward")
    for (method, item), value in wins.items():
        reward, other = rewards[method, item], rewards["none", item]
        assert value == (0.5 if reward == other else float(reward > other))
    assert {value for (method, _), value in wins.items() if method == "none"} == {0.5}
    assert {value for (method, _), value in wins.items() if method == "caa"} - {0.5}


def test_a_record_says_who_judged(judged: Path, tiny_judges: dict[str, str]) -> None:
    for record in RunFolder(judged).records().values():
        assert record.judges.keys() == {"truth", "info", "reward", "fluency", "toxicity"}
        toxicity = record.judges["toxicity"]
        assert toxicity["model"] == tiny_judges["classifier"]
        assert toxicity["scorer"] == "toxic_bert"
        assert toxicity["stand_in"] is False
        assert toxicity["content"].startswith("sha256:")
        assert record.judge_errors == {}
        prints = [judge["fingerprint"] for judge in record.judges.values()]
        assert len(set(prints)) == 5


def test_the_report_shows_both_products(judged: Path) -> None:
    text = (build_report(RunFolder(judged)).parent / "report.md").read_text("utf-8")
    assert "true\\_informative" in text
    assert "product of the means" in text
    assert "Not measured" not in text


def test_nothing_is_wrong_with_a_judged_run(judged: Path) -> None:
    store = RunFolder(judged)
    assert list(check_grid(store, None)) == []
    assert list(run_again(store, Again(2, 1e-4, "cpu", None), lambda _: None)) == []


def test_scoring_again_keeps_what_judges_said(judged: Path, tmp_path: Path) -> None:
    rescore(RunFolder(judged), RunFolder(tmp_path / "again"), {}, None, lambda _: None)
    for metric in ("true", "win", "fluency", "bleu_acc", "perplexity"):
        assert values(tmp_path / "again", metric) == values(judged, metric)


def test_fluency_under_the_model_itself_is_its_perplexity(tiny_folder: str, tmp_path: Path) -> None:
    """Two ways to the same number: the run's own metric, and a judge."""
    given = grid(tiny_folder, [{"name": "fluency", "model": tiny_folder}])
    assert run(given, tmp_path / "run").unjudged == ()
    rows = RunFolder(tmp_path / "run").read_items().to_pylist()
    rows_by_metric = {
        metric: {(r["method"], r["item_id"]): r for r in rows if r["metric"] == metric}
        for metric in ("fluency", "perplexity")
    }
    assert len(rows_by_metric["fluency"]) == 8
    for key, fluency in rows_by_metric["fluency"].items():
        perplexity = rows_by_metric["perplexity"][key]
        assert fluency["weight"] == perplexity["weight"] > 0
        assert fluency["value"] == pytest.approx(perplexity["value"], abs=1e-3)


@pytest.mark.real
def test_an_embedded_model_can_judge(smollm2_folder: str) -> None:
    given = grid("smollm2-135m", [{"name": "fluency", "model": "smollm2-135m"}])
    judge_check.check_judges(given, lambda _: None)
    settings = WorkerSettings("", None, 2, "cpu")
    bench = worker.load_judge(given.tasks[0].judges[0], "smollm2-135m", settings)
    sense, nonsense = bench.score(
        [("The capital of France is", " Paris."), ("The capital of France is", " banana.")]
    )
    assert sense[0] > nonsense[0] + 3
    assert bench.facts["content"].startswith("sha256:")


# --- stand-ins


def test_a_stand_in_runs_and_measures_nothing(tiny_folder: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said: list[str] = []
    assert run(grid(tiny_folder, STAND_INS), out, said).unjudged == ()
    assert sum("judged" in line for line in said) == 8
    store = RunFolder(out)
    metrics = {row["metric"] for row in store.read_items().to_pylist()}
    assert metrics.isdisjoint(m for judge in JUDGES.values() for m in judge.metrics)
    for record in store.records().values():
        assert [judge["stand_in"] for judge in record.judges.values()] == [True] * 4
        assert all(judge["answers"] == 4 for judge in record.judges.values())
    sentence = (
        "Not measured: the judge truth of truthful_mini_gen is a stand-in with random weights."
    )
    assert sentence in analyse(store).notes
    folder = build_report(store).parent
    for name, heading in (("report.md", "## All metrics"), ("index.html", "<h2>All metrics")):
        parts = (folder / name).read_text("utf-8").split(heading)
        assert len(parts) == 2
        assert all("stand-in with random weights" in part for part in parts)


def test_a_stand_ins_metric_is_not_a_primary_one(tiny_folder: str, tmp_path: Path) -> None:
    task = {"name": "truthful_mini_gen", "judges": STAND_INS}
    chosen = grid(tiny_folder, [], tasks=[task], select={"metric": "win"})
    primary = grid(tiny_folder, [], tasks=[task | {"metric": "true"}])
    for given, metric in ((primary, "true"), (chosen, "win")):
        with pytest.raises(GridError, match=f"{metric}.* is not measured, since .*a stand-in"):
            run(given, tmp_path / "run")


def test_the_steered_model_is_gone_when_judges_begin(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[Any]] = []
    real_load, real_judge = run_module.load_model, JudgeWorker.run

    def load(*given: Any) -> Any:
        lm = real_load(*given)
        models.append(weakref.ref(lm))
        return lm

    def judge(*given: Any, **options: Any) -> Any:
        assert [model() for model in models] == [None]
        return real_judge(*given, **options)

    monkeypatch.setattr(run_module, "load_model", load)
    monkeypatch.setattr(JudgeWorker, "run", judge)
    given = grid(tiny_folder, STAND_INS[:1], methods=["none"])
    assert run(given, tmp_path / "run") == Summary(1, 0, (), ())
    assert len(models) == 1


# --- resuming, and what was said before


def test_a_second_start_asks_nothing(
    tiny_folder: str,
    tiny_judges: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = grid(tiny_folder, of(tiny_judges)[:1])
    run(given, tmp_path / "run")
    monkeypatch.setattr(CellWorker, "run", refuse)
    monkeypatch.setattr(JudgeWorker, "run", refuse)
    assert run(given, tmp_path / "run") == Summary(2, 2, (), ())


def test_other_runs_receive_the_earlier_lines(
    tiny_folder: str,
    tiny_judges: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from steereval.models.judges.yes_no import YesNo

    given = grid(tiny_folder, of(tiny_judges)[:1])
    run(given, tmp_path / "one")
    monkeypatch.setattr(YesNo, "score", refuse)
    assert run(given, tmp_path / "two").unjudged == ()
    assert values(tmp_path / "one", "true") == values(tmp_path / "two", "true")


def test_a_run_cut_off_between_the_phases_is_judged_without_answering(
    tiny_folder: str,
    tiny_judges: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    judged: Path,
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    given = grid(tiny_folder, of(tiny_judges))
    with monkeypatch.context() as patch:
        patch.setattr(JudgeWorker, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            run(given, tmp_path / "run")
    assert state(tmp_path / "run") == "stopped"
    assert values(tmp_path / "run", "bleu_acc")
    assert values(tmp_path / "run", "true") == {}
    notes = " ".join(analyse(RunFolder(tmp_path / "run")).notes)
    assert "truth has not judged 2 cells of truthful_mini_gen: it has not run yet" in notes
    monkeypatch.setattr(CellWorker, "run", refuse)
    assert run(given, tmp_path / "run") == Summary(2, 2, (), ())
    assert state(tmp_path / "run") == "ended"
    for metric in ("true", "win", "toxicity", "fluency", "bleu_acc"):
        assert values(tmp_path / "run", metric) == values(judged, metric)


def test_each_distinct_answer_is_judged_once(
    tiny_folder: str,
    tiny_judges: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from steereval.models.judges.yes_no import YesNo

    judged_pairs: list[Any] = []
    real: Callable[..., Any] = YesNo.score

    def counted(self: YesNo, pairs: Any) -> Any:
        judged_pairs.extend(pairs)
        return real(self, pairs)

    monkeypatch.setattr(YesNo, "score", counted)
    # Strength 0 answers as the unsteered model does.
    methods = ["none", {"name": "caa", "strengths": [0]}]
    run(grid(tiny_folder, of(tiny_judges)[:1], methods=methods), tmp_path / "run")
    assert len(judged_pairs) == len(set(judged_pairs)) == 4
    assert len(values(tmp_path / "run", "true")) == 8


# --- what goes wrong


def test_a_judge_that_fails_leaves_the_other_rows(
    tiny_folder: str,
    tiny_judges: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from steereval.models.judges.likelihood import Likelihood

    def broken(*_: object) -> None:
        raise RuntimeError("the device is broken")

    given = grid(tiny_folder, [of(tiny_judges)[0], of(tiny_judges)[3]])
    with monkeypatch.context() as patch:
        patch.setattr(Likelihood, "score", broken)
        summary = run(given, tmp_path / "run")
    assert summary.failed == ()
    assert len(summary.unjudged) == 2
    assert "fluency: none on truthful_mini_gen" in summary.unjudged[0]
    assert "the device is broken" in summary.unjudged[0]
    assert len(values(tmp_path / "run", "true")) == 8
    assert values(tmp_path / "run", "fluency") == {}
    for record in RunFolder(tmp_path / "run").records().values():
        assert record.status == "done"
        assert record.judge_errors == {"fluency": "RuntimeError: the device is broken"}
    notes = " ".join(analyse(RunFolder(tmp_path / "run")).notes)
    assert "fluency has not judged 2 cells" in notes
    assert run(given, tmp_path / "run").unjudged == ()
    assert len(values(tmp_path / "run", "fluency")) == 8
    assert all(r.judge_errors == {} for r in RunFolder(tmp_path / "run").records().values())


def test_a_number_that_is_none_is_a_failure(
    tiny_folder: str,
    tiny_judges: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from steereval.models.judges.reward import Reward

    monkeypatch.setattr(Reward, "score", lambda _, pairs: [(float("nan"),) for _ in pairs])
    summary = run(grid(tiny_folder, of(tiny_judges)[2:3]), tmp_path / "run")
    assert all("the judge gives" in failure for failure in summary.unjudged)
    assert len(summary.unjudged) == 2


@pytest.mark.parametrize(
    ("judge", "error", "message"),
    [
        ({"name": "truth", "model": "EMPTY"}, ModelError, "the judge truth .* cannot be loaded"),
        ({"name": "toxicity", "scorer": "perspective"}, InputError, "PERSPECTIVE_API_KEY is not"),
    ],
)
def test_a_missing_judge_stops_the_run_before_it_begins(
    judge: dict[str, Any],
    error: type[Exception],
    message: str,
    tiny_folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    model = {"model": str(tmp_path / "empty")} if "model" in judge else {}
    monkeypatch.delenv("PERSPECTIVE_API_KEY", raising=False)
    monkeypatch.setattr(CellWorker, "run", refuse)
    with pytest.raises(error, match=message):
        run(grid(tiny_folder, [judge | model]), tmp_path / "run")


def test_a_judge_without_weights_stops_the_run_before_it_begins(
    tiny_folder: str, tmp_path: Path
) -> None:
    folder = tmp_path / "judge"
    AutoConfig.from_pretrained(tiny_folder).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    with pytest.raises(ModelError, match="it has no weights"):
        run(grid(tiny_folder, [{"name": "truth", "model": str(folder)}]), tmp_path / "run")


def test_only_texts_are_judged(tiny_folder: str, tmp_path: Path) -> None:
    task = {"name": "truthful_mini_mc", "limit": 4, "judges": STAND_INS[:1]}
    with pytest.raises(TaskError, match="generates nothing, but has judges"):
        run(grid(tiny_folder, [], tasks=[task]), tmp_path / "run")


@pytest.mark.parametrize(
    ("judges", "error", "message"),
    [
        ([{"name": "thruth"}], UnknownNameError, "Did you mean 'truth'"),
        ([{"name": "toxicity"}], GridError, "has no scorer"),
        (
            [{"name": "toxicity", "scorer": "profanity", "model": "x"}],
            GridError,
            "has a model, which its scorer profanity does not use",
        ),
    ],
)
def test_names_are_checked_with_the_plan(
    judges: Judges, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_plan(grid("smollm2-135m", judges))


def test_a_judge_is_named_once_and_has_a_known_dtype() -> None:
    with pytest.raises(GridError, match=r"judges names 'truth' twice"):
        grid("smollm2-135m", [{"name": "truth"}, {"name": "truth", "model": "x"}])
    with pytest.raises(GridError, match=r"judges.*dtype is 'int8'"):
        grid("smollm2-135m", [{"name": "truth", "dtype": "int8"}])


def test_a_published_judge_out_of_reach_stops_the_run_before_it_begins(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no cache"))
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    monkeypatch.setattr(judge_check, "hub_in_reach", lambda: False)
    monkeypatch.setattr(CellWorker, "run", refuse)
    given = grid(tiny_folder, [{"name": "truth", "revision": "no-such-revision"}])
    with pytest.raises(ModelError, match=r"the judge truth \(allenai/.*cannot be loaded.*FOLDER"):
        run(given, tmp_path / "run")


# --- parts


def test_another_judge_makes_another_cell() -> None:
    plain, judged_, other = (
        [cell.id for cell in make_plan(grid("smollm2-135m", judges))]
        for judges in ([], [{"name": "truth"}], [{"name": "truth", "model": "x"}])
    )
    assert len({*plain, *judged_, *other}) == 6


def test_a_judges_metrics_replace_the_tasks_own(
    tiny_folder: str, tiny_judges: dict[str, str], tmp_path: Path
) -> None:
    """Two scorers of toxicity are never mixed in one column."""
    judge = of(tiny_judges)[-1]
    task = {
        "name": "realtoxicity_mini", "limit": 3, "generation": {"max_gen_toks": 4},
        "contrast": "toxicity", "judges": [judge],
    }  # fmt: skip
    given = grid(tiny_folder, [], tasks=[task], methods=["none"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JudgeWorker, "run", refuse)
        with pytest.raises(AssertionError, match="must not be asked"):
            run(given, tmp_path / "run")
    assert values(tmp_path / "run", "toxicity") == {}
    run(given, tmp_path / "run")
    assert len(values(tmp_path / "run", "toxicity")) == 3
    assert values(tmp_path / "run", "distinct_1")


def test_the_bundled_classifier_is_a_judge(tiny_folder: str, tmp_path: Path) -> None:
    from steereval.tasks.scorers.profanity import toxicity_scores

    judge = {"name": "toxicity", "scorer": "profanity"}
    given = grid(tiny_folder, [judge], methods=["none"])
    assert run(given, tmp_path / "run").unjudged == ()
    toxicities = values(tmp_path / "run", "toxicity")
    for row in RunFolder(tmp_path / "run").read_responses().to_pylist():
        scores = toxicity_scores(row["continuation"].strip(), "realtoxicity_mini")
        assert toxicities["none", row["item_id"]] == scores["toxicity"]


def test_perspective_is_asked_and_its_key_is_kept_nowhere(
    tiny_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "secret-key")
    patient = partial(perspective.Perspective, between=0.0)
    monkeypatch.setattr(perspective, "Perspective", patient)
    given = grid(tiny_folder, [{"name": "toxicity", "scorer": "perspective"}], methods=["none"])
    with serving() as address:
        monkeypatch.setattr(perspective, "ENDPOINT", address)
        Service.planned = [(429, {}, {}), scored(0.75)]
        assert run(given, tmp_path / "run").unjudged == ()
    assert {key for _, key in Service.requests} == {"secret-key"}
    result = values(tmp_path / "run", "toxicity")
    assert sorted(set(result.values())) == [0.5, 0.75]
    (record,) = RunFolder(tmp_path / "run").records().values()
    judge = record.judges["toxicity"]
    assert (judge["scorer"], judge["model"], judge["content"]) == ("perspective", None, "TOXICITY")
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"secret-key" not in path.read_bytes()


def test_every_seed_is_compared_with_its_own_unsteered_cell() -> None:
    task = {
        "name": "truthful_mini_gen", "limit": 4, "judges": [{"name": "reward"}],
        "generation": {"do_sample": True},
    }  # fmt: skip
    given = grid(
        "smollm2-135m", [], tasks=[task], seeds={"sample": [0, 1], "fit": [0, 1]},
        noise_floor="caa",
    )  # fmt: skip
    cells = make_plan(given)
    decisions = assignments(
        cells, {cell.id for cell in cells}, {cell.id: UNJUDGED for cell in cells}
    )
    known = {cell.id: cell for cell in cells}
    assert len(decisions) == len(cells) > 4
    for each in decisions:
        assert each.unsteered is not None
        other = known[each.unsteered]
        assert (other.method.name, other.is_repeat) == ("none", False)
        assert other.sample_seed == each.cell.sample_seed


def test_without_the_unsteered_model_there_is_not_a_win_rate() -> None:
    given = grid(
        "smollm2-135m", [{"name": "reward"}], methods=[{"name": "caa", "strengths": [1]}],
        analysis={"baseline": "caa"},
    )  # fmt: skip
    cells = make_plan(given)
    (assignment,) = assignments(cells, {cells[0].id}, {cells[0].id: UNJUDGED})
    assert assignment.unsteered is None


def test_a_service_with_a_rate_is_asked_by_one_worker() -> None:
    cells = make_plan(grid("smollm2-135m", [], seeds={"fit": list(range(40))}))
    judges = grid(
        "smollm2-135m", [{"name": "toxicity", "scorer": "perspective"}, {"name": "truth"}]
    ).tasks[0].judges  # fmt: skip
    given = [Assignment(judge, cell) for judge in judges for cell in cells]
    counts = Counter(work.units[0].judge.name for work in work_items(given, RunSpec()))
    assert counts == {"toxicity": 1, "truth": 3}
    assert len({work.affinity for work in work_items(given, RunSpec())}) == 2


def test_a_judgement_replaces_an_earlier_one() -> None:
    task = TaskSpec("t")
    first = {"item_id": "a", "metric": "acc", "value": 1.0, "weight": 1.0, "split": "test"}
    once = with_judgement(task, [first], {"a": {"true": (0.0, 1.0)}})
    twice = with_judgement(task, once, {"a": {"true": (1.0, 1.0)}})
    assert [(row["metric"], row["value"]) for row in twice] == [("acc", 1.0), ("true", 1.0)]
    assert {row["split"] for row in twice} == {"test"}
