"""The demo: the whole loop on the embedded example, with a simulated production app that speaks to the real webhook.

Three turns: the baseline; better and cheaper; then a shift in what users ask, seen by the monitor and learnt from the
harvested feedback. Nothing here decides anything: the gate may say no, and the closing table then says so.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.demo_app import Feed, ask_champion, production_accuracy
from flows.outcome import Outcome
from flows.project import Project, open_project
from flows.reports import comparison
from flows.starter import write_project
from flows.startup import start_up
from flows.up import webhook_secret
from tasks.data.example import production_messages
from tasks.errors import StorageError
from tasks.records import from_json

MARKER = ".ratchet-demo"
LEARNED_ROWS = 450  # of the stream: predictions and feedback that reach the webhook
UNSEEN_ROWS = 300  # of the same stream, later: never sent, to see whether turn 3 helps


def play(folder: Path, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the story of the loop as plain data: turns, what production saw, where to look.

    Raises:
        StorageError: the folder holds something that is not an earlier demo.
    """
    started = time.monotonic()
    _empty(folder)
    write_project(folder, seed)
    project = open_project(folder)
    spec = str(project.spec_path)
    stream = [{**row, "intent": row["true"]} for row in production_messages(LEARNED_ROWS + UNSEEN_ROWS, seed)]
    seen, unseen = stream[:LEARNED_ROWS], stream[LEARNED_ROWS:]

    tell("[bold]Turn 1[/bold]: the baseline")
    start_up(project)
    from flows.iterate import iterate
    from flows.monitor import monitor

    outcomes = [from_json(Outcome, iterate(spec, "run"))]
    tell(f"  {outcomes[-1].verdict.reason}\n[bold]Turn 2[/bold]: clean, augment, retrain, compress, one after another")
    outcomes.append(from_json(Outcome, iterate(spec, "run")))
    tell(f"  {outcomes[-1].verdict.reason}\n[bold]Production[/bold]: users ask for other things, in other words")
    before = production_accuracy(project, unseen)
    lines = _produce(project, seen)
    watch = json.loads(monitor(spec))
    lines.append(f"monitor: {watch['report']['reason']}")
    for line in lines:
        tell(f"  {line}")
    if watch["report"]["drifted"]:
        tell("[bold]Turn 3[/bold]: the drift asks for another turn; it learns from the harvested feedback")
        outcomes.append(from_json(Outcome, iterate(spec, "drift")))
        tell(f"  {outcomes[-1].verdict.reason}")
    after = production_accuracy(project, unseen)
    lines.append(
        f"accuracy on {len(unseen)} later messages of the stream that were never sent: {100 * before:.1f} % with the "
        f"champion before turn 3, {100 * after:.1f} % with today's"
    )
    return _story(project, outcomes, lines, watch, time.monotonic() - started, before, after)


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise StorageError(f"{folder}: not empty and no earlier demo; name another folder: ratchet demo DIR")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _produce(project: Project, messages: list[dict[str, str]]) -> list[str]:
    """Return what happened when the app sent its predictions and its users' feedback through the webhook."""
    version, predictions = ask_champion(project, messages)
    with Feed(project.database_url, webhook_secret(project), project.state) as feed:
        feed.send_predictions(version, messages, predictions)
        feed.send_feedback(messages, predictions)
        replayed, forged = feed.replay(), feed.forge()
    counts = project.database.counts()
    return [
        f"{counts.predictions} predictions and {counts.feedback} feedback stored through the webhook; "
        f"a replayed event was answered {replayed!r}, a forged one {forged}",
    ]


def _story(
    project: Project, outcomes: list[Outcome], lines: list[str], watch: dict[str, Any], seconds: float,
    before: float, after: float,
) -> dict[str, Any]:  # fmt: skip
    root = project.root
    return {
        "turns": [_turn(outcome) for outcome in outcomes],
        "production": lines,
        "drifted": watch["report"]["drifted"],
        "stream_accuracy": {"before": before, "after": after},
        "seconds": seconds,
        "look": {
            "report": outcomes[-1].report_uri,
            "drift report": watch["report"]["report_uri"],
            "state": f"ratchet status {root}; ratchet history {root}",
            "Prefect and MLflow": f"ratchet up {root}, then http://127.0.0.1:4200 and http://127.0.0.1:5000",
        },
    }


def _turn(outcome: Outcome) -> dict[str, Any]:
    """Return one line of the closing table: the model the turn was about, against the baseline."""
    rows = {row.role: row for row in comparison(outcome)}
    row = rows.get("candidate") or rows.get("champion")
    return {
        "turn": outcome.iteration,
        "changed": ", ".join(outcome.changed) or ("the first model" if outcome.result == "baseline" else "nothing"),
        "quality": row.quality if row else "-",
        "throughput": f"{row.throughput_ratio:.2f}x" if row and row.throughput_ratio else "-",
        "size": f"{row.size_ratio:.2f}x" if row and row.size_ratio else "-",
        "result": outcome.result,
        "reason": outcome.verdict.reason,
    }
