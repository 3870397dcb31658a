"""What every command shares: answering as text or JSON, keeping libraries quiet, saying in one line what went wrong.

Imports nothing heavy, so that `--help` and a mistake are answered at once. Knows no command.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

PIPELINE_MODULES = ("prefect", "mlflow", "torch", "transformers", "pyarrow", "pandas", "evidently", "jinja2", "onnx")


def answer(content: Any, as_json: bool, draw: Callable[[], None]) -> None:
    """Write the content as JSON, or draw it."""
    if as_json:
        sys.stdout.write(json.dumps(content, indent=1, sort_keys=True) + "\n")
    else:
        draw()


def quiet(verbose: bool) -> None:
    """Keep the libraries' logs off the terminal unless asked for."""
    import logging

    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(name)s: %(message)s")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "flows,tasks,monitoring,feedback")
    if not verbose:
        for name in ("flows", "tasks", "monitoring", "feedback", "great_expectations", "onnx_ir", "onnxscript"):
            logging.getLogger(name).setLevel(logging.ERROR)


def fail(error: Exception) -> NoReturn:
    """Exit with one line: code 2 for a mistake of the user's, 1 for any other known error; raise an unknown one."""
    from feedback.errors import FeedbackError
    from tasks.errors import RatchetError, UserError

    describe_usage = getattr(error, "format_message", None)  # of a usage error, whose class Typer keeps to itself
    if describe_usage is not None:
        _stop(f"{describe_usage().rstrip('.')} ({_help_of(error)} lists what there is)", 2)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in PIPELINE_MODULES:
        _stop(f"{error.name} is not installed; this needs more: pip install -c constraints.txt '.[pipeline]'", 1)
    if not isinstance(error, RatchetError | FeedbackError):
        raise error
    _stop(str(error), 2 if isinstance(error, UserError) else 1)


def _help_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'ratchet'} --help`"


def _stop(message: str, code: int) -> NoReturn:
    """Write the message as one line and exit."""
    sys.stderr.write(f"ratchet: {' '.join(message.split())}\n")
    sys.exit(code)
