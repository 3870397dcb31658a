"""Who is train and who is evaluation: drawing the sets that a source does not name, and finding what leaks into train.

A row's place is decided by hashing the seed and the text of its near-duplicate cluster, never by its position in the
file. Which rows would make a good evaluation set is not asked.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.data.cleaning.scrub import scrub_text
from tasks.data.rows import keep, shorten, values, with_values
from tasks.data.similarity import THRESHOLD, find_similar, near_duplicate_clusters, text_key
from tasks.errors import DataError, LeakageError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_GUARDED = ("golden", "select", "valid")  # a text that stands in several splits belongs to the first of them
_EXAMPLES = 3


def assign_splits(
    table: "pa.Table", *, valid: float, select: float, golden: float, seed: int, labelled: bool = True
) -> "pa.Table":
    """Return the table with every row's `split` named: train, valid, select or golden.

    Named evaluation splits stay as they are; each one that is missing gets its share of the unnamed and train rows.
    Near-duplicate clusters stay whole. With `labelled`, shares hold within each target (up to one cluster) and each
    target keeps a training row; without, over all rows.

    Within a target, clusters are ranked by their hash and the ranks are cut at the shares, in the order golden, select,
    valid, train (systematic sampling with a random start). So n further rows of a target move at most about sqrt(n)
    old ones, those next to a cut, and only to the neighbour there: between golden and train lie select and valid. A
    cluster is hashed by its first text: rows appended to it do not move it.

    Raises:
        DataError: the shares leave nothing for train.
    """
    splits = values(table, "split")
    named = set(splits)
    wanted = {"golden": golden, "select": select, "valid": valid}
    shares = {name: share for name, share in wanted.items() if name not in named}
    if sum(shares.values()) >= 1:
        raise DataError(f"the shares of {', '.join(shares)} sum to 1 or more and leave nothing for train: lower them")
    pool = [row for row, split in enumerate(splits) if split in ("", "train")]
    texts, targets = values(table, "text"), values(table, "target")
    strata = [targets[row] if labelled else "" for row in pool]
    drawn = _draw([texts[row] for row in pool], strata, shares, seed)
    for row, split in zip(pool, drawn, strict=True):
        splits[row] = split
    log.info("split: %s", {name: splits.count(name) for name in dict.fromkeys(splits)})
    return with_values(table, "split", splits)


def assign_feedback_splits(table: "pa.Table", *, golden: float, select: float, valid: float, seed: int) -> "pa.Table":
    """Return the table with every row's `split` drawn by the hash of the seed and its `id`, and by nothing else.

    The draw is fixed before anyone looks at a label, and no other row can change it.
    """
    shares = {"golden": golden, "select": select, "valid": valid}
    drawn = [_cut(_unit(seed, "feedback", row_id), shares) for row_id in values(table, "id")]
    return with_values(table, "split", drawn)


def find_leaks(
    train_texts: Sequence[str], golden_texts: Sequence[str], threshold: float = THRESHOLD
) -> list[tuple[int, int]]:
    """Return (train index, golden index) of each training text that exactly or nearly repeats a golden one.

    Texts of white space only are left out: they say nothing.
    """
    train = [index for index, text in enumerate(train_texts) if text.strip()]
    golden = [index for index, text in enumerate(golden_texts) if text.strip()]
    found = find_similar([train_texts[i] for i in train], [golden_texts[i] for i in golden], threshold)
    return [(train[here], golden[there]) for here, there in found]


def check_leakage(table: "pa.Table", policy: str, threshold: float = THRESHOLD) -> "tuple[pa.Table, int]":
    """Return the table without rows that repeat a row of a better guarded split, and how many those were.

    Golden is guarded from all others, select from valid and train, valid from train. The guarded row always stays.

    Raises:
        LeakageError: there are such rows and the policy is "refuse", not "drop".
    """
    splits, texts, ids = values(table, "split"), values(table, "text"), values(table, "id")
    leaks: dict[int, int] = {}
    for level, split in enumerate((*_GUARDED[1:], "train"), start=1):
        lower = [row for row, name in enumerate(splits) if name == split]
        upper = [row for row, name in enumerate(splits) if name in _GUARDED[:level]]
        found = find_leaks([texts[row] for row in lower], [texts[row] for row in upper], threshold)
        leaks.update({lower[here]: upper[there] for here, there in found})
    if not leaks:
        return table, 0
    shown = [
        f"{splits[here]} row {ids[here]} repeats {splits[there]} row {ids[there]}: {shorten(scrub_text(texts[here]))!r}"
        for here, there in list(leaks.items())[:_EXAMPLES]
    ]
    if policy == "refuse":
        raise LeakageError(
            f"{len(leaks)} of {table.num_rows} rows exactly or nearly repeat a row that they are evaluated on "
            f"({'; '.join(shown)}): remove them from the source, or set `data.leakage: drop` to leave them out"
        )
    log.warning("leakage: dropped %d of %d rows, e.g. %s", len(leaks), table.num_rows, "; ".join(shown))
    return keep(table, [row not in leaks for row in range(table.num_rows)]), len(leaks)


def _draw(texts: Sequence[str], strata: Sequence[str], shares: Mapping[str, float], seed: int) -> list[str]:
    """Return a split for each text, so that clusters stay whole and each stratum keeps something for train."""
    clusters = near_duplicate_clusters(texts)
    members: dict[int, list[int]] = defaultdict(list)
    for row, cluster in enumerate(clusters):
        members[cluster].append(row)
    ranks = {cluster: _unit(seed, "cluster", text_key(texts[cluster])) for cluster in members}
    by_stratum: dict[str, list[int]] = defaultdict(list)
    for cluster in sorted(members, key=lambda cluster: (ranks[cluster], cluster)):
        by_stratum[strata[cluster]].append(cluster)
    chosen: dict[int, str] = {}
    for stratum, ordered in by_stratum.items():
        sizes = [len(members[cluster]) for cluster in ordered]
        chosen.update(zip(ordered, _cut_ranks(sizes, shares, _unit(seed, "start", stratum)), strict=True))
    _keep_some_for_train(chosen, members, strata, ranks)
    return [chosen[cluster] for cluster in clusters]


def _cut_ranks(sizes: Sequence[int], shares: Mapping[str, float], start: float) -> list[str]:
    """Return a split for each of the ranked clusters by where it stands among all rows (0 to 1)."""
    total, before, splits = sum(sizes), 0, []
    for size in sizes:
        splits.append(_cut((before + start * size) / total, shares))
        before += size
    return splits


def _cut(position: float, shares: Mapping[str, float]) -> str:
    """Return the split in whose share of [0, 1) the position lies; train has what the shares leave."""
    bound = 0.0
    for name, share in shares.items():
        bound += share
        if position < bound:
            return name
    return "train"


def _keep_some_for_train(
    chosen: dict[int, str], members: Mapping[int, Sequence[int]], strata: Sequence[str], ranks: Mapping[int, float]
) -> None:
    """Move the last ranked cluster of each stratum that has no training row to train."""
    last: dict[str, int] = {}
    taught = set()
    for cluster in sorted(members, key=lambda cluster: ranks[cluster]):
        for row in members[cluster]:
            last[strata[row]] = cluster
            if chosen[cluster] == "train":
                taught.add(strata[row])
    for stratum, cluster in last.items():
        if stratum not in taught:
            chosen[cluster] = "train"


def _unit(*parts: object) -> float:
    """Return a number in [0, 1) that depends on nothing but the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7]) / 2**56
