"""The nouns that pass between stages: handles (URI and SHA-256) and numbers, never data or models.

All are frozen and JSON-able: `to_json` and `from_json` turn any of them into plain data and back, so they pass between
processes and machines as they are. `Recipe` and `Lever`, which users write, are in `tasks.specs`.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from tasks.compress.searching.report import CompressReport
from tasks.search.report import SearchReport

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """An immutable dataset version: a Parquet file with `id`, `text`, `target`, `split`, `source` and the slices."""

    uri: str
    digest: str  # SHA-256 over the rows' content
    rows: dict[str, int]  # by split: train, valid, select, golden
    labels: tuple[str, ...]  # what train can teach, sorted; empty where the task has no labels
    slices: tuple[str, ...] = ()  # columns whose values are slices
    parents: tuple[str, ...] = ()  # digests of what it was made from
    out_of_scope: str = ""  # the target of evaluation rows that no label fits; empty where there are none
    waiting: int = 0  # feedback rows drawn for golden that are in no split until someone lets them in


@dataclass(frozen=True)
class StepReport:
    """What one cleaning or augmentation step did to the training rows."""

    step: str
    rows_in: int
    rows_out: int
    rows_changed: int
    examples: tuple[str, ...] = ()  # at most ten, PII already replaced
    left_out: dict[str, int] = field(default_factory=dict)  # rows left out, or flagged, by reason
    parameters: dict[str, Any] = field(default_factory=dict)  # of the step, as the recipe has them


@dataclass(frozen=True)
class Table:
    """Training rows after a stage, as a Parquet file, with what each step did."""

    uri: str
    digest: str
    rows: int
    reports: tuple[StepReport, ...] = ()
    removed_uri: str = ""  # Parquet: step, id, reason, duplicate_of of every removed row; empty where none was


@dataclass(frozen=True)
class Candidate:
    """A built model artifact (a folder with a manifest)."""

    uri: str
    digest: str  # SHA-256 of the manifest, which holds the SHA-256 of every file
    runtime: str  # torch, onnx, openvino, tensorrt, cascade
    size_bytes: int  # of what serving loads: weights and tokenizer
    notes: dict[str, float] = field(default_factory=dict)  # what the stages measured: losses, epochs, parity


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on; speeds of different machines are never compared."""

    cpu: str
    instructions: tuple[str, ...]
    cores: int
    threads: int
    libraries: dict[str, str]


@dataclass(frozen=True)
class SliceScore:
    """One slice's rows and mean score."""

    rows: int
    mean: float


@dataclass(frozen=True)
class Interval:
    """An estimate between its bounds, which say at what level where it is made."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """Scores in [0, 1] of one candidate on the rows of one evaluation set."""

    metric: str
    split: str
    rows: int
    rows_digest: str  # of the evaluation rows: ids, texts and targets
    mean: float
    low: float  # 95 % interval of the mean
    high: float
    slices: dict[str, SliceScore]  # by name, `family=value`; `robust=kind` holds the scores on perturbed copies of rows
    scores_uri: str  # Parquet: id, text, target, output, confidence, score, brier and a Boolean column for each slice
    scores_sha256: str
    metrics: dict[str, Interval] = field(default_factory=dict)  # by name, two-sided at 95 %
    robust_uri: str = ""  # Parquet: kind, id, output, score of perturbed rows; empty where none were scored
    robust_sha256: str = ""
    measured_by: str = ""  # digest of how it was measured: the code, the slices, costs and perturbations


@dataclass(frozen=True)
class FreshProcess:
    """What a process of its own takes that only loads and serves one artifact."""

    peak_memory_bytes: int
    cold_start_s: float  # from starting the process to its first answer
    load_s: float  # of that, the runtime's import and the artifact's loading


@dataclass(frozen=True)
class GridPoint:
    """How fast texts of one length are answered in batches of one size."""

    batch_size: int
    length: str  # short, median, long: real texts about the 10, 50 and 90 % quantiles of length
    tokens_per_text: float
    texts_per_s: float
    tokens_per_s: float
    calls: int  # whose median this is


@dataclass(frozen=True)
class OpenLoop:
    """Latencies of texts that arrive at a given rate whether or not the one before is answered."""

    arrivals_per_s: float  # the rate asked for, the same for all of a session
    achieved_per_s: float  # the rate answered
    arrivals: int  # answered
    overloaded: bool  # more arrives than one worker answers: the queue grows, and no percentile means anything
    latency_p50_ms: float | None  # from the scheduled arrival; None where the arrivals cannot support it
    latency_p95_ms: float | None
    latency_p99_ms: float | None


@dataclass(frozen=True)
class Speed:
    """Figures of one candidate measured interleaved with others in one process; requests are texts in batches of 1."""

    session: str  # what was interleaved with it: only speeds of one session are compared
    throughput_b1_per_s: float
    throughput_batch_per_s: float
    batch_size: int
    latency_p50_ms: float
    latency_p95_ms: float | None  # None where the samples cannot support it
    latency_p99_ms: float | None
    samples: int
    block_seconds: tuple[float, ...]  # batch-1 seconds per text of each interleaved block, for paired ratios
    peak_memory_bytes: int  # of a process that only loads and serves it
    size_bytes: int
    machine: Machine
    tokens_b1_per_s: float | None = None  # without padding
    cold_start_s: float | None = None  # from starting a process to its first answer
    load_s: float | None = None  # of that, the runtime's import and the artifact's loading
    cpu_utilisation: float | None = None  # CPU seconds over wall seconds times threads, at batch 1
    gpu_utilisation: float | None = None  # None where no GPU is seen
    energy_j_per_1000: float | None = None  # joules per 1000 texts at batch 1; None where no counter can be read
    cost_per_million: float | None = None  # of requests at batch 1, one after another; None without a price
    grid: tuple[GridPoint, ...] = ()
    open_loop: OpenLoop | None = None


@dataclass(frozen=True)
class Scorecard:
    """What was measured of one candidate."""

    candidate: str  # its digest
    quality: Quality
    speed: Speed | None = None


@dataclass(frozen=True)
class Test:
    """One comparison the gate made: an estimate, its interval, the bound it must clear and the outcome."""

    name: str  # e.g. "quality non-inferior to champion"
    estimate: float
    low: float
    high: float
    bound: float
    outcome: Literal["pass", "fail", "unsure"]
    rows: int
    rows_needed: int | None = None  # further rows of this test's own that would pass it; None where none can
    smallest_shown: float | None = None  # the smallest estimate that these rows would have passed; None where none
    detail: str = ""


Decision = Literal["promote", "reject", "inconclusive"]


@dataclass(frozen=True)
class Verdict:
    """The gate's decision, every test it ran, and the reason in one sentence."""

    decision: Decision
    reason: str
    tests: tuple[Test, ...] = ()
    alpha: float = 0.05  # the level this look was judged at
    look: int = 0  # which look at this golden set it was; 0 where it was none
    budget_left: float | None = None  # of alpha, for later looks at this golden set


@dataclass(frozen=True)
class GoldenLook:
    """One comparison on golden, which is paid for from the promotion budget."""

    golden: str  # digest of the golden rows
    candidate: str
    champion: str
    claims: tuple[str, ...]  # sorted
    begun: str  # digest of the golden rows that the count began with
    number: int  # from 1, in this count
    level: float  # what it is judged at
    alpha: float  # of the whole budget
    sketch: tuple[str, ...] = ()  # of the rows that the count began with, by which a refreshed set is told; in look 1


@dataclass(frozen=True)
class LeverTrial:
    """One lever tried on the best recipe so far, and what became of it."""

    lever: str
    stage: str  # clean, augment, train, compress
    kept: bool
    verdict: Verdict
    candidate: Candidate
    card: Scorecard
    size_ratio: float | None = None  # of the artifact, to the best one before
    seconds: float | None = None  # that building, measuring and judging it took
    changes: tuple[str, ...] = ()  # what it changed about the recipe, field by field
    claims: tuple[Literal["quality", "cost"], ...] = ()  # what it was judged for; empty: what its stage claims
    search: SearchReport | None = None  # of a search: what it tried before
    compression: CompressReport | None = None  # of a search over passes: what it tried before


def to_json(record: Any) -> str:
    """Return the record as compact JSON with sorted keys: equal records give equal text."""
    return json.dumps(asdict(record), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(kind: type[T], text: str) -> T:
    """Return a record of the kind from its JSON.

    Raises:
        pydantic.ValidationError: the text is no such record.
    """
    return TypeAdapter(kind).validate_json(text)
