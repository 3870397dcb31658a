"""Starting what a command's flow needs all at once. A flow would do the same by itself, one after the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from flows.project import Project


def start_up(project: Project) -> None:
    """Load the libraries and open the project's registry and database while Prefect's own server starts.

    Raises:
        RegistryError: the registry cannot be reached.
        FeedbackError: the database cannot be opened.
    """
    with _server_starting():
        import flows.iterate  # noqa: F401 - with all it imports

        project.registry.aliases()
        project.database.check()


@contextmanager
def _server_starting() -> Iterator[None]:
    """Start the server that Prefect runs for a process without `PREFECT_API_URL`; the block ends when it answers."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(SubprocessASGIServer().start)  # the flow finds this one running
        yield
        started.result()
