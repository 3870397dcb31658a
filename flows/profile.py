"""Where the time of a registered version goes, for `ratchet profile`. Judges and changes no version."""

from dataclasses import asdict
from typing import Any

from flows.project import Project, only_one
from tasks.data.rows import values
from tasks.measure.profiling.profile import profile
from tasks.measure.quality.scores import read_split


def profile_version(project: Project, name: str, batch_size: int, seconds: float) -> dict[str, Any]:
    """Return the profile of a version (a number or an alias) on its `select` texts as plain data.

    Its trace is in `.ratchet/profiles`. Holds the project's lock: an iteration beside it would spoil both timings.

    Raises:
        ReviewError: the name is neither a version nor an alias.
        ProjectBusy: an iteration is running.
        ArtifactError: the artifact or the version's snapshot is missing or changed.
    """
    registry = project.registry
    version = registry.by_alias(name) or registry.version(name)
    record = registry.read_record(version)
    texts = values(read_split(record.snapshot, "select"), "text")
    with only_one(project):
        found = profile(
            record.candidate, texts, project.state / "profiles" / f"version-{version.number}.json",
            batch_size=batch_size, seconds=seconds, threads=project.spec.benchmark.threads,
        )  # fmt: skip
    return {"version": version.number, **asdict(found)}
