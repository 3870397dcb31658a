"""What `ratchet init` writes: a commented spec, the example's data and the deployments."""

import shutil
from importlib.resources import files
from pathlib import Path

from flows.spec import DEFAULT_FILE
from tasks.data.example import write_example
from tasks.errors import SpecError, StorageError


def write_project(folder: Path, seed: int = 7) -> list[Path]:
    """Return the files of a new example project.

    Raises:
        SpecError: the folder already holds a project.
        StorageError: the folder cannot be written.
    """
    spec = folder / DEFAULT_FILE
    try:
        if spec.exists():
            raise SpecError(f"{spec}: already there; name another folder, or edit this project")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prefect.yaml").write_text(deployments(), "utf-8")
        write_example(folder / "data", seed)
        shutil.copyfile(Path(__file__).parent / "templates" / DEFAULT_FILE, spec)  # last: with it the project is whole
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); name a folder that can be") from error
    return [spec, folder / "prefect.yaml", *sorted((folder / "data").glob("*.csv"))]


def deployments() -> str:
    """Return the text of `deploy/prefect.yaml`."""
    return (files("deploy") / "prefect.yaml").read_text("utf-8")
