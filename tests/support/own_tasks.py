"""A folder with lm-eval tasks of a user's own: two tasks, a custom metric, and groups of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-task"
EXAMPLE_SIZES = {"politeness_refusals": 8, "politeness_replies": 12, "arc_mini": 3}
"""Scored items of the example's tasks, with the limit of `copied_example`."""


def copied_example(folder: Path, model: str, width: int) -> Path:
    """Copy examples/own-task, and let it run on a small model.

    Args:
        folder: A folder that does not exist.
        model: A model of at least two blocks.
        width: Its hidden size.

    Returns:
        The grid file.
    """
    shutil.copytree(EXAMPLE, folder)
    generator = torch.Generator().manual_seed(0)
    vector = {"layer.1": torch.randn(width, generator=generator)}
    save_file(vector, folder / "vector.safetensors")
    grid = folder / "grid.yaml"
    data = yaml.safe_load(grid.read_text())
    data["models"] = [{"name": model, "layers": [1]}]
    data["tasks"][-1]["limit"] = EXAMPLE_SIZES["arc_mini"]
    grid.write_text(yaml.safe_dump(data))
    return grid


SIZES = {"own_animals": 6, "own_plants": 3}
"""Documents of each task."""

TASK = """\
dataset_path: json
dataset_kwargs:
  data_files: {{test: data/{name}.jsonl}}
task: {name}
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: choices
doc_to_target: answer
process_results: !function utils.process_results
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: margin, aggregation: mean, higher_is_better: true}}
"""

UTILS = '''\
"""Scores of own tasks."""


def process_results(doc, results):
    likelihoods = [value for value, _ in results]
    right = likelihoods[doc["answer"]]
    others = [value for n, value in enumerate(likelihoods) if n != doc["answer"]]
    return {"acc": float(right > max(others)), "margin": right - max(others)}
'''

GROUP = """\
group: {name}
task: [own_animals, own_plants]
aggregate_metric_list:
  - {{metric: acc, weight_by_size: {weighted}}}
  - {{metric: margin, weight_by_size: {weighted}}}
"""


WRITING = """\
task: own_words
dataset_path: json
dataset_kwargs: {data_files: {test: data/own_plants.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 3, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""

MIXED = """\
group: own_mixed
task: [own_words, own_animals]
aggregate_metric_list:
  - {metric: acc}
  - {metric: exact_match}
"""


def write_own_tasks(folder: Path) -> Path:
    """Write the tasks own_animals, own_plants and own_words, which writes; the groups own_micro,
    own_macro, own_mixed and own_bare (without a score); and the tag own_tag of the first two.

    Args:
        folder: A folder that does not exist.

    Returns:
        The folder.
    """
    (folder / "data").mkdir(parents=True)
    for name, size in SIZES.items():
        text = TASK.format(name=name)
        (folder / f"{name}.yaml").write_text(f"{text}tag: own_tag\n")
        rows = [
            {"question": f"{name} {n}?", "choices": ["yes", "no", "maybe"], "answer": n % 3}
            for n in range(size)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / f"{name}.jsonl").write_text(lines)
    (folder / "utils.py").write_text(UTILS)
    (folder / "own_words.yaml").write_text(WRITING)
    (folder / "own_mixed.yaml").write_text(MIXED)
    for name, weighted in (("own_micro", "true"), ("own_macro", "false")):
        (folder / f"{name}.yaml").write_text(GROUP.format(name=name, weighted=weighted))
    (folder / "own_bare.yaml").write_text("group: own_bare\ntask: [own_animals, own_plants]\n")
    return folder
