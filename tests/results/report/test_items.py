"""What the item browser is given: scores and answers of every method on every test item."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_responses import HOSTILE, choices_of, generation, likelihood, multiple_choice
from fake_run import FakeMethod, FakeRun, FakeTask, write_run

from steereval.results.analysis.run_analysis import analyse
from steereval.results.report import build_report, item_chunks
from steereval.results.store.run_folder import RunFolder

CHOICES = FakeRun(
    methods=(
        FakeMethod("caa", (1.0, 2.0), lambda task, strength: 0.3 * strength),
        FakeMethod("iti", (3.0,)),
    ),
    tasks=(FakeTask("truth", n_validation=8, n_test=20),),
    fit_seeds=(4, 7),
    responses=multiple_choice,
)


def unpacked(page: Path) -> list[dict[str, Any]]:
    """The pieces in a page, as a browser would unpack them."""
    text = page.read_text(encoding="utf-8")
    packed = re.findall(r'class="item-chunk"[^>]*>([^<]*)</script>', text)
    return [json.loads(gzip.decompress(base64.b64decode(piece))) for piece in packed]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(CHOICES, tmp_path_factory.mktemp("items"))


@pytest.fixture(scope="module")
def piece(run: RunFolder) -> dict[str, Any]:
    (result,) = unpacked(build_report(run))
    return result


def test_scores_are_means_over_seeds_at_the_chosen_strengths(
    piece: dict[str, Any], run: RunFolder
) -> None:
    """Against pandas, on test items alone."""
    items = run.read_items().to_pandas()
    test = items[items.split == "test"]
    assert piece["items"] == sorted(test.item_id.unique())
    rows = {r.arm.method: r for r in analyse(run).rows if r.is_primary}
    for arm in piece["arms"]:
        row = rows[arm["name"].split(" ")[0]]
        arm_rows = test[test.method == row.arm.method]
        is_chosen = [
            row.strengths.get(seed) == strength or row.is_baseline
            for seed, strength in zip(arm_rows.fit_seed, arm_rows.strength, strict=True)
        ]
        chosen = arm_rows[is_chosen]
        assert arm["scores"] == pytest.approx(chosen.groupby("item_id").value.mean().to_list())


def test_choices_and_likelihoods_are_those_of_the_first_seed(piece: dict[str, Any]) -> None:
    """In the order of the requests, whatever the order of the rows."""
    arms = {arm["name"]: arm for arm in piece["arms"]}
    iti = {"method": "iti", "strength": 3.0}
    assert arms["iti (layer 14)"]["detail"] == "strength 3, answers of fit seed 4"
    start = 0
    for place, item in enumerate(piece["items"]):
        texts = [piece["texts"][number] for number in piece["choices"][place]]
        assert texts == [f" choice {c} of {item}" for c in range(choices_of(item))]
        assert piece["texts"][piece["prompts"][place]] == f"Question {item}?\nA:"
        wanted = [likelihood(iti, item, choice) for choice in range(len(texts))]
        result = arms["iti (layer 14)"]["likelihoods"][start : start + len(texts)]
        assert result == pytest.approx(wanted, abs=0.0051)
        assert arms["iti (layer 14)"]["picks"][place] == int(np.argmax(wanted))
        start += len(texts)
    assert all(len(arm["likelihoods"]) == start for arm in piece["arms"])


@pytest.mark.slow
def test_generated_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    """Markup in them stays text: it never stands in the page as such."""
    page = build_report(write_run(dataclasses.replace(CHOICES, responses=generation), tmp_path))
    (piece,) = unpacked(page)
    for arm in piece["arms"]:
        method = arm["name"].split(" ")[0]
        for place, item in enumerate(piece["items"]):
            who = method if place % 2 else "anyone"
            assert piece["texts"][arm["texts"][place]] == f"{HOSTILE} {who} on {item}"
    assert piece["choices"] == [[]] * 20
    assert "onerror" not in page.read_text(encoding="utf-8")
    assert "alert(" not in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_choices_with_prompts_of_their_own_are_shown_whole(tmp_path: Path) -> None:
    """As in winogrande, where the texts differ before the part that is scored."""

    def own_prompts(cell: dict[str, Any], items: list[str]) -> Any:
        table = multiple_choice(cell, items)
        prompts = [f"{p} {r} " for p, r in zip(*(table[n].to_pylist() for n in
                   ("prompt", "request")), strict=True)]  # fmt: skip
        place = table.schema.get_field_index("prompt")
        return table.set_column(place, table.schema.field(place), [prompts])

    run = write_run(dataclasses.replace(CHOICES, responses=own_prompts), tmp_path)
    (piece,) = unpacked(build_report(run))
    item = piece["items"][0]
    assert piece["texts"][piece["prompts"][0]] == ""
    assert piece["texts"][piece["choices"][0][1]] == f"Question {item}?\nA: 1  choice 1 of {item}"


def test_long_prompts_keep_their_end_and_long_answers_their_beginning() -> None:
    long = "".join(map(str, range(5000)))
    assert item_chunks.shortened_end(long) == f"… {long[-2000:]}"
    assert item_chunks.shortened_start(long) == f"{long[:2000]} …"
    assert item_chunks.shortened_end("short") == item_chunks.shortened_start("short") == "short"


def test_of_very_many_items_those_that_differ_most_are_kept(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, piece: dict[str, Any]
) -> None:
    monkeypatch.setattr(item_chunks, "MOST_ITEMS", 3)
    (sheet,) = analyse(run).sheets
    (chunk,) = item_chunks.item_chunks(run, [sheet])
    few = json.loads(gzip.decompress(base64.b64decode(chunk.data)))
    scores = np.array([arm["scores"] for arm in piece["arms"]])
    apart = np.abs(scores[1:] - scores[0]).max(axis=0)
    places = [piece["items"].index(item) for item in few["items"]]
    assert sorted(apart[places]) == pytest.approx(sorted(apart)[-3:])
    assert places == sorted(places)
    for name in ("picks", "scores"):
        wanted = [piece["arms"][1][name][place] for place in places]
        assert few["arms"][1][name] == wanted
    assert "20 test items, of which the 3 on which methods differ most" in chunk.summary


def test_answers_are_read_as_far_as_the_budget_goes(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline first; what is left out is named."""
    (sheet,) = analyse(run).sheets
    enough_for_two = sheet.arms[0].n_responses + sheet.arms[1].n_responses
    monkeypatch.setattr(item_chunks, "MOST_RESPONSES", enough_for_two)
    (chunk,) = item_chunks.item_chunks(run, [sheet])
    few = json.loads(gzip.decompress(base64.b64decode(chunk.data)))
    assert ["likelihoods" in arm for arm in few["arms"]] == [True, True, False]
    assert chunk.summary.endswith("the answers of iti (layer 14), which are in the run folder.")
    monkeypatch.setattr(item_chunks, "MOST_RESPONSES", 1)
    (chunk,) = item_chunks.item_chunks(run, [sheet])
    assert chunk.summary == "20 test items; no answers are embedded."


@pytest.mark.slow
def test_missing_and_infinite_scores_survive_the_way(tmp_path: Path) -> None:
    task = FakeTask("ppl", metric="perplexity", kind="ratio", higher_is_better=False, n_test=6)

    def infinite(cell: dict[str, Any], values: Any) -> Any:
        return np.where((cell["method"] == "iti") & (np.arange(len(values)) == 61), np.inf, values)

    run = dataclasses.replace(CHOICES, tasks=(task,), value=infinite)
    (piece,) = unpacked(build_report(write_run(run, tmp_path)))
    assert piece["better"] == -1
    iti = next(arm for arm in piece["arms"] if arm["name"].startswith("iti"))
    assert iti["scores"][1] == "inf"
    assert all(1 < x < 1000 for x in piece["arms"][0]["scores"])


def test_a_run_without_a_comparison_has_nothing_to_browse(tmp_path: Path) -> None:
    page = build_report(write_run(dataclasses.replace(CHOICES, baseline=False), tmp_path))
    assert unpacked(page) == []
    assert "there is nothing to browse" in page.read_text(encoding="utf-8")
