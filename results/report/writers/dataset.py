"""The results as a folder that Hugging Face's `datasets` loads: a card and Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from steereval.results.analysis.run_analysis import Analysis, analyse
from steereval.results.report.writers.folder import replaced_whole
from steereval.results.report.writers.leaderboard_post import posted_markdown
from steereval.results.report.writers.leaderboard_table import flat_table
from steereval.results.store.cell_table import cell_table
from steereval.results.store.manifest import Manifest
from steereval.results.store.run_folder import RunFolder
from steereval.results.store.schema import ITEM_SCHEMA

CARD = "README.md"
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
"""The hub's categories, by number of rows."""


def write_dataset(run: RunFolder, folder: Path) -> None:
    """Write the leaderboard, the item rows and the cells of `run` into the new folder `folder`.

    Prompts and answers are left out: they may be a benchmark's own texts, and offensive. Raises
    StoreError for a folder that holds anything already, which is never replaced.
    """
    analysis = analyse(run)
    with replaced_whole(folder, marker=None) as fresh:
        pq.write_table(flat_table(analysis.rows), fresh / "leaderboard.parquet")
        pq.write_table(cell_table(run), fresh / "cells.parquet")
        n_rows = 0
        with pq.ParquetWriter(fresh / "rows.parquet", ITEM_SCHEMA, compression="zstd") as writer:
            for table in run.iter_items():
                writer.write_table(pa.table(table, schema=ITEM_SCHEMA))
                n_rows += table.num_rows
        card = _card(analysis, run.read_manifest(), n_rows)
        (fresh / CARD).write_text(card, encoding="utf-8")


def _card(analysis: Analysis, manifest: Manifest, n_rows: int) -> str:
    """The dataset's card: metadata as the hub reads it, then the leaderboard and how to load it."""
    size = next((name for limit, name in SIZES if n_rows < limit), "1M<n<10M")
    metadata = {
        "pretty_name": f"{analysis.plan.name}: steering results",
        "tags": ["evaluation", "activation-steering", "steereval"],
        "size_categories": [size],
        "configs": [
            {"config_name": name, "data_files": f"{name}.parquet"}
            | ({"default": True} if name == "leaderboard" else {})
            for name in ("leaderboard", "rows", "cells")
        ],
    }
    versions = ", ".join(f"{k} {v}" for k, v in manifest.versions.items())
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"""---
{front}---

{posted_markdown(analysis)}
## Loading

```python
from datasets import load_dataset

leaderboard = load_dataset("PATH_OR_NAME", split="train")  # a line for each arm, task and metric
rows = load_dataset("PATH_OR_NAME", "rows", split="train")  # every item's score
cells = load_dataset("PATH_OR_NAME", "cells", split="train")  # settings, and what became of them
```

In `leaderboard` scores and differences are in the metric's own unit (0.021 is 2.1 points), for
perplexities logarithms of ratios. `rows` pair across methods by `item_id` and `fit_seed`; only
those of the split `test` are reported, the others chose the strengths. Seeds move all items
together: do not count them as items.

## Provenance

Planned {manifest.created or "at a time that was not recorded"} with
{versions or "unknown versions"}. Prompts and answers are not part of this data set. The licences of
the benchmarks apply to what is derived from them; add the one that you choose to the metadata
above.
"""
