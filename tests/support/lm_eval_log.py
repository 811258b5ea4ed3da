"""Sample logs in the form in which lm-eval 0.4.13 writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DATE = "2026-11-25T09-55-10.766684"


def doc_hash(number: int) -> str:
    return hashlib.sha256(f"document {number}".encode()).hexdigest()


def item_id(_: str, number: int) -> str:
    return doc_hash(number)[:16]


def sample(number: int, scores: dict[str, Any], **changes: Any) -> dict[str, Any]:
    prompt = f"Q: {item_id('', number)}\nA:"
    return {
        "doc_id": number,
        "doc": {"question": f"question {number}"},
        "target": "0",
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": " An answer."}},
        "resps": [[["-1.5", "True"]]],
        "filtered_resps": [["-1.5", "True"]],
        "filter": "none",
        "metrics": list(scores),
        "doc_hash": doc_hash(number),
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest(),
        "target_hash": doc_hash(0),
        **scores,
        **changes,
    }


def write_log(
    folder: Path,
    samples: Sequence[dict[str, Any]],
    task: str = "truth",
    model: str = "tiny",
    date: str = DATE,
    **changes: Any,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {metric for each in samples for metric in each["metrics"]}
    results = {
        "higher_is_better": {task: dict.fromkeys(metrics, True)},
        "versions": {task: 1.0},
        "n-shot": {task: 0},
        "config": {"model": "hf", "model_args": {"pretrained": model, "dtype": "float32"}},
        "lm_eval_version": "0.4.13",
        "model_name": model,
        **changes,
    }
    (folder / f"results_{date}.json").write_text(json.dumps(results))
    path = folder / f"samples_{task}_{date}.jsonl"
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in samples))
    return path
