"""Judgements that were made before on this machine, by judge and content: one SQLite file."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from steereval.common.errors import StoreError
from steereval.common.paths import cache_folder

Pair = tuple[str, str]
Scores = tuple[float, ...]

_log = logging.getLogger(__name__)
_not_kept: set[Path] = set()
"""Files of which it was said that they cannot be written."""

WAIT = 60.0
"""Seconds to wait for another process that writes."""
AT_ONCE = 500
"""Texts that are looked up together: SQLite bounds the number of parameters."""


@dataclass(frozen=True)
class JudgeCache:
    """Numbers by fingerprint of the judge and content of the texts."""

    path: Path
    """The file; made when it is first needed."""

    @classmethod
    def usual(cls) -> JudgeCache:
        """The one in the user's cache folder."""
        return cls(cache_folder() / "judgements.sqlite3")

    def known(self, fingerprint: str, pairs: Sequence[Pair]) -> dict[Pair, Scores]:
        """Stored scores of `pairs`, for those that the judge has scored. Raises StoreError."""
        keys = {pair_key(pair): pair for pair in pairs}
        names = list(keys)
        scores: dict[Pair, Scores] = {}
        with self._open() as database:
            for start in range(0, len(names), AT_ONCE):
                some = names[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = database.execute(
                    f"select text, numbers from judgements where judge = ? and text in ({marks})",
                    (fingerprint, *some),
                )
                scores |= {keys[text]: tuple(json.loads(numbers)) for text, numbers in rows}
        return scores

    def keep(self, fingerprint: str, scores: Mapping[Pair, Scores]) -> None:
        """Store scores of the judge.

        A cache that cannot be written is no error, since what was judged is at hand: this says so
        once.
        """
        rows = [(fingerprint, pair_key(pair), json.dumps(n)) for pair, n in scores.items()]
        try:
            with self._open() as database, database:
                database.executemany("insert or replace into judgements values (?, ?, ?)", rows)
        except StoreError as error:
            if self.path not in _not_kept:
                _not_kept.add(self.path)
                _log.warning("judgements are not kept: %s", error.problem)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT)) as database:
                database.execute(
                    "create table if not exists judgements "
                    "(judge text, text text, numbers text, primary key (judge, text))"
                )
                yield database
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the cache of judgements {self.path} cannot be used: {error}",
                "Delete the file, or set STEEREVAL_CACHE to another folder.",
            ) from error


def pair_key(pair: Pair) -> str:
    """Both texts' hash; the length keeps them apart."""
    context, text = (each.encode("utf-8", "surrogatepass") for each in pair)
    return hashlib.sha256(b"%d\0" % len(context) + context + text).hexdigest()
