"""Items of the same content: what happens to one happens to the others, so they are one cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse
from scipy.sparse import csgraph

from steereval.common.text import short_hash
from steereval.results.stats.effect import Labels

_REPEATED = re.compile(r"(?:.*:)?([0-9a-f]{16})(?:-\d+)?")
"""The id of an item: see `samples.item_ids`."""

REQUEST_COLUMNS = ("item_id", "kind", "prompt_hash", "continuation")
"""The columns of RESPONSE_SCHEMA that say what an item asks."""


def document_of(item_id: str) -> str:
    """The part of an item's id that is its document's hash; an id of another form is its own.

    A document that comes again has its number behind, and one of a group its subtask in front.
    """
    repeated = _REPEATED.fullmatch(item_id)
    return repeated[1] if repeated else item_id


def content_of(requests: Iterable[tuple[str, str]]) -> str:
    """A digest of all (prompt, text to be scored) that an item asks, in any order."""
    text = "\0".join(f"{prompt}\1{scored}" for prompt, scored in sorted(requests))
    return short_hash(text)


def contents_of(responses: pa.Table) -> dict[str, str]:
    """{item: digest of what it asks} of one cell, from the REQUEST_COLUMNS of its responses.

    A generated text is the model's, so only its prompt counts.
    """
    is_scored = pc.equal(responses["kind"], "loglikelihood")
    scored = pc.if_else(is_scored, responses["continuation"], "")
    requests_of: dict[str, list[tuple[str, str]]] = {}
    columns = (responses["item_id"], responses["prompt_hash"], scored)
    for item, prompt, text in zip(*(each.to_pylist() for each in columns), strict=True):
        requests_of.setdefault(item, []).append((prompt, text))
    return {item: content_of(requests) for item, requests in requests_of.items()}


def twins(item_ids: Sequence[str], contents: Mapping[str, str]) -> Labels:
    """[items], codes: items of the same document, or that ask the same, have the same code.

    Args:
        item_ids: The items, each once.
        contents: {item: digest of what it asks}; items that it lacks go by their document.
    """
    documents = [document_of(item) for item in item_ids]
    return linked(documents, [contents.get(item) for item in item_ids])


def linked(*memberships: Sequence[str | None]) -> Labels:
    """[items], codes of the connected components of items that share a group.

    Args:
        memberships: One or more [items]: the item's group, or None for an item in none.
    """
    n = len(memberships[0])
    items, groups, used = [], [], n
    for membership in memberships:
        codes, names = pd.factorize(np.array(membership, dtype=object))
        here = np.flatnonzero(codes >= 0)
        items.append(here)
        groups.append(codes[here] + used)
        used += len(names)
    rows, columns = np.concatenate(items), np.concatenate(groups)
    edges = sparse.coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(used, used))
    labels = csgraph.connected_components(edges, directed=False)[1][:n]
    codes, _ = pd.factorize(labels)
    return np.asarray(codes, dtype=np.intp)


def clusters_with_twins(
    item_ids: Sequence[str], contents: Mapping[str, str], clusters: Sequence[str | None]
) -> list[str | None]:
    """[items], names of the clusters after twins are put into one.

    Clusters that share a twin become one, "a + b"; twins without a cluster are "like" the first of
    them; an item by itself keeps its own.
    """
    same = twins(item_ids, contents)
    whole = linked([str(code) for code in same], clusters)
    sizes, known = np.bincount(whole), [set[str]() for _ in range(int(whole.max(initial=-1)) + 1)]
    first: dict[int, str] = {}
    for item, cluster, code in zip(item_ids, clusters, whole, strict=True):
        known[code] |= {cluster} if cluster is not None else set()
        first[code] = min(first.get(code, item), item)
    names = [
        " + ".join(sorted(members)) or (f"like {first[code]}" if sizes[code] > 1 else None)
        for code, members in enumerate(known)
    ]
    return [names[code] for code in whole]
