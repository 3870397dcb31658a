"""`ratchet up` for real: four services on loopback, the deployments, an automation that answers drift, a clean stop."""

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.events import DRIFT_DETECTED
from tests.e2e.commands import child_command
from tests.loop_support import make_project

WAIT_S = 120


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def children(pid: int) -> list[int]:
    """Return the process ids of everything that a process started and what that started."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *children(child)]
    return found


@pytest.fixture
def services(
    tmp_path: Path, tiny_base: Path, shared_store: Path
) -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """The running command and its ports: Prefect, MLflow, webhook."""
    spec = make_project(tmp_path / "project", tiny_base, shared_store)
    ports = free_ports(3)
    options = [f"--{name}-port={port}" for name, port in zip(("prefect", "mlflow", "webhook"), ports, strict=True)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    running = subprocess.Popen(child_command("up", spec.parent, *options), env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    yield running, ports
    if running.poll() is None:
        running.send_signal(signal.SIGTERM)
    running.communicate(timeout=WAIT_S)


def lines_until(running: "subprocess.Popen[str]", last: str) -> str:
    """Return what the command prints up to a line that begins so."""
    told = ""
    assert running.stdout is not None
    for line in running.stdout:
        told += line
        if line.startswith(last):
            return told
    raise AssertionError(told)


def asked(api: str, what: str, **body: Any) -> list[dict[str, Any]]:
    """Return what Prefect answers to a filter."""
    answer = httpx.post(f"{api}/{what}/filter", json=body, trust_env=False)
    answer.raise_for_status()
    rows: list[dict[str, Any]] = answer.json()
    return rows


def test_up_starts_everything_answers_drift_and_stops_cleanly(
    services: tuple["subprocess.Popen[str]", list[int]],
) -> None:
    running, (prefect, mlflow, webhook) = services
    told = lines_until(running, "Ctrl-C stops")
    for port in (prefect, mlflow, webhook):
        assert f"http://127.0.0.1:{port}" in told
    api = f"http://127.0.0.1:{prefect}/api"
    assert httpx.get(f"http://127.0.0.1:{mlflow}/health", trust_env=False).text == "OK"
    unsigned = httpx.post(f"http://127.0.0.1:{webhook}/v1/predictions", json={"predictions": []}, trust_env=False)
    assert unsigned.status_code == 401
    schedules = {row["entrypoint"]: [item["schedule"]["cron"] for item in row["schedules"]]
                 for row in asked(api, "deployments")}  # fmt: skip
    assert schedules == {
        "flows.iterate.iterate": ["0 3 * * *"],
        "flows.monitor.monitor": ["*/30 * * * *"],
        "flows.promote.promote": ["*/5 * * * *"],
    }
    drift = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": DRIFT_DETECTED,
        "resource": {"prefect.resource.id": "ratchet.project.tiny"},
    }
    httpx.post(f"{api}/events", json=[drift], trust_env=False).raise_for_status()
    deadline = time.monotonic() + WAIT_S
    while not (answers := [run for run in asked(api, "flow_runs") if run["parameters"].get("trigger") == "drift"]):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert (answers[0]["created_by"] or {}).get("display_value") == "iterate on drift"

    started = children(running.pid)
    assert len(started) >= 4
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, out
    assert out.splitlines()[-1] == "stopped"
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
