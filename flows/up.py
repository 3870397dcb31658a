"""`ratchet up`: Prefect server, MLflow, the webhook and a worker as child processes on loopback, all stopped on Ctrl-C.

For one machine. Only processes started here are ended here, by their ids.
"""

import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flows.project import Project
from flows.starter import deployments
from tasks.errors import RatchetError

HOST = "127.0.0.1"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
POOL = "ratchet"

console = Console()


class ServiceFailed(RatchetError):
    """A service did not start or ended by itself."""


@dataclass(frozen=True)
class Ports:
    """Where the services listen."""

    prefect: int
    mlflow: int
    webhook: int


@dataclass(frozen=True)
class Service:
    """One running child process."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path


def serve(project: Project, ports: Ports, once: bool = False) -> None:
    """Run all services until Ctrl-C, a termination signal or the death of one of them.

    Raises:
        ServiceFailed: a port is taken, or a service did not start or died.
    """
    for name, port in vars(ports).items():
        _check_free(name, port)
    environment = _environment(project, ports)
    running: list[Service] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it, and so theirs
    try:
        _start_all(project, ports, environment, running)
        _print_urls(project, ports)
        while not once:
            _check_alive(running)
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        for service in reversed(running):
            _stop(service)
        console.print("stopped")


def webhook_secret(project: Project) -> str:
    """Return the webhook's secret: from the environment, or the project's own, made once for its owner's eyes only."""
    given = os.environ.get("RATCHET_WEBHOOK_SECRET")
    if given:
        return given
    path = project.state / "webhook.secret"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text("utf-8").strip()


def _environment(project: Project, ports: Ports) -> dict[str, str]:
    return {
        **os.environ,
        "PREFECT_API_URL": f"http://{HOST}:{ports.prefect}/api",
        "PREFECT_UI_API_URL": f"http://{HOST}:{ports.prefect}/api",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "RATCHET_DATABASE_URL": project.database_url,
        "RATCHET_WEBHOOK_SECRET": webhook_secret(project),
        "RATCHET_SCRUB": os.environ.get("RATCHET_SCRUB") or ("on" if project.spec.feedback.scrub else "off"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _start_all(project: Project, ports: Ports, environment: Mapping[str, str], running: list[Service]) -> None:
    python = [sys.executable, "-m"]

    def start(name: str, *command: str) -> None:
        running.append(_start(name, [*python, *command], project, environment))

    start("prefect", "prefect", "server", "start", "--host", HOST, "--port", str(ports.prefect))
    if project.tracking_uri.startswith("sqlite"):
        project.registry.aliases()  # makes and migrates the database before the server opens it
        start("mlflow", "mlflow", "server", "--host", HOST, "--port", str(ports.mlflow), "--workers", "1",
              "--backend-store-uri", project.tracking_uri,
              "--artifacts-destination", str(project.state / "mlartifacts"))  # fmt: skip
        _wait(running, "mlflow", f"http://{HOST}:{ports.mlflow}/health")
    project.database.check()
    start(
        "webhook",
        "uvicorn",
        "--factory",
        "flows.webhook:from_environment",
        "--host",
        HOST,
        "--port",
        str(ports.webhook),
    )
    _wait(running, "webhook", f"http://{HOST}:{ports.webhook}/healthz")
    _wait(running, "prefect", f"http://{HOST}:{ports.prefect}/api/health")
    _deploy(project, environment)
    start("worker", "prefect", "worker", "start", "--pool", POOL, "--type", "process")


def _start(name: str, command: list[str], project: Project, environment: Mapping[str, str]) -> Service:
    folder = project.state / "logs"
    folder.mkdir(exist_ok=True)
    log = folder / f"{name}.log"
    console.print(f"starting {name} (log: {log})", highlight=False, soft_wrap=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, cwd=project.root, env=dict(environment), stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops the others in order
        )  # fmt: skip
    return Service(name, process, log)


def _deploy(project: Project, environment: Mapping[str, str]) -> None:
    file = project.root / "prefect.yaml"
    if not file.exists():
        file.write_text(deployments(), "utf-8")
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for command in (["work-pool", "create", POOL, "--type", "process", "--overwrite"], ["deploy", "--all"]):
        done = subprocess.run(
            [*prefect, *command], cwd=project.root, env=dict(environment), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise ServiceFailed(f"prefect {' '.join(command)} failed: {' '.join(last)}; mend {file}")


def _check_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServiceFailed(
                f"port {port} for {name} is taken ({error.strerror}); give another with --{name}-port"
            ) from error


def _wait(running: list[Service], name: str, url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        _check_alive(running)
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - an http URL on loopback
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise ServiceFailed(f"{name} did not answer at {url} within {START_TIMEOUT_S} s; see its log")


def _check_alive(running: list[Service]) -> None:
    for service in running:
        code = service.process.poll()
        if code is not None:
            lines = service.log.read_text("utf-8", "replace").strip().splitlines()
            raise ServiceFailed(f"{service.name} ended with code {code}: {' '.join(lines[-1:])} (log: {service.log})")


def _stop(service: Service) -> None:
    """End a service and the processes it started: its own process group, asked first, killed after a while."""
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if service.process.poll() is not None:
            return
        os.killpg(service.process.pid, sent)
        try:
            service.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue


def _print_urls(project: Project, ports: Ports) -> None:
    mlflow = f"http://{HOST}:{ports.mlflow}" if project.tracking_uri.startswith("sqlite") else project.tracking_uri
    for name, url in {
        "Prefect": f"http://{HOST}:{ports.prefect}",
        "MLflow": mlflow,
        "webhook": f"http://{HOST}:{ports.webhook}/v1/predictions and /v1/feedback",
        "webhook secret": str(project.state / "webhook.secret"),
    }.items():
        console.print(f"  {name}: {url}", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops all of them")
