"""What the database of studies knows of earlier searches and earlier processes. Asks for no trial and tells none."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks.search.report import RECIPE, SearchReport, SearchTrial, State
from tasks.search.space import Plain, change, own_value, plain, shown

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from tasks.search.study import Searching

SEARCH_PATH = "-csearch_path="  # the option of a PostgreSQL URL that names a schema
MOST_LEARNED = 60  # trials of an earlier study that the sampler is told of, the best
BUSY_SECONDS = 60  # how long a process waits for another that writes to a SQLite file


def open_storage(url: str, create: bool) -> "optuna.storages.RDBStorage":
    """Return the database of studies; its tables are made where they may be, on PostgreSQL in the URL's schema."""
    import optuna
    from sqlalchemy import event
    from sqlalchemy.pool import NullPool

    options: dict[str, Any] = {"poolclass": NullPool}
    if url.startswith("sqlite"):  # closing its last connection would write all of it to disk
        options = {"connect_args": {"timeout": BUSY_SECONDS}}
    if create:
        _make_schema(url)
    made = optuna.storages.RDBStorage(url, engine_kwargs=options, skip_table_creation=not create)
    if url.startswith("sqlite"):
        event.listen(made.engine, "connect", _write_ahead)
    return made


def _write_ahead(connection: Any, _: Any) -> None:
    """Let a SQLite file be read while it is written, and a commit not wait for the disk: a kill loses nothing."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _make_schema(url: str) -> None:
    """Make the schema that a PostgreSQL URL puts first on its search path, where it names one."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.pool import NullPool
    from sqlalchemy.schema import CreateSchema

    option = str(make_url(url).query.get("options", ""))
    schema = option.partition(SEARCH_PATH)[2]
    if schema:
        with create_engine(url, poolclass=NullPool).begin() as connection:
            connection.execute(CreateSchema(schema, if_not_exists=True))


def earlier_best(
    study: "optuna.Study", family: str, spaces: Mapping[str, "BaseDistribution"], most: int
) -> list[tuple[dict[str, Plain], str]]:
    """Return values that were best in earlier studies of the family, and which trial of which study had them.

    The best of each study come first, of the newest study before older ones; then the second best of each, and so on.
    Only what lies in the present space counts, and equal values count once.
    """
    ranked = [
        (rank, age, trial, name)
        for age, (name, trials) in enumerate(_earlier(study, family))
        for rank, trial in enumerate(_by_score(trials))
    ]
    found: list[tuple[dict[str, Plain], str]] = []
    for _, _, trial, name in sorted(ranked, key=lambda each: each[:2]):
        values = _plain_values(trial)
        params = {key: values[key] for key in spaces if key in values and _holds(spaces[key], values[key])}
        if params and params not in [known for known, _ in found]:
            found.append((params, f"trial {trial.number} of {name.removeprefix(family)[:8]}"))
    return found[:most]


def learn_from_past(study: "optuna.Study", family: str, number: int, spaces: Mapping[str, "BaseDistribution"]) -> None:
    """Let the sampler know the trials of the newest earlier study, once one of them was run again here.

    Their scores are moved by as much as the one that was run again came out different: other rows are easier or harder
    for all values alike, as far as anyone can know.
    """
    import optuna

    earlier = next(iter(_earlier(study, family)), None)
    if earlier is None or "learned" in study.user_attrs:
        return
    here = study.get_trials(deepcopy=False)[number]
    there = next((trial for trial in _by_score(earlier[1]) if _plain_values(trial) == _plain_values(here)), None)
    if there is None:
        return
    study.set_user_attr("learned", earlier[0])
    moved = _value(here) - _value(there)
    for trial in _by_score(earlier[1])[:MOST_LEARNED]:
        values = _plain_values(trial)
        whole = all(name in values and _holds(space, values[name]) for name, space in spaces.items())
        if whole and trial is not there:
            params = {name: values[name] for name in spaces}
            study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=dict(spaces), value=_value(trial) + moved, user_attrs={"prior": True}
                )
            )


def _earlier(study: "optuna.Study", family: str) -> "list[tuple[str, list[FrozenTrial]]]":
    """Return the names and own trials of the family's other studies, the newest first."""
    storage = study._storage
    others = [past for past in storage.get_all_studies() if past.study_name.startswith(family)]
    return [
        (
            past.study_name,
            [t for t in storage.get_all_trials(past._study_id, deepcopy=False) if "prior" not in t.user_attrs],
        )
        for past in sorted(others, key=lambda past: -past._study_id)
        if past.study_name != study.study_name
    ]


def _plain_values(trial: "FrozenTrial") -> dict[str, Plain]:
    values: dict[str, Plain] = trial.user_attrs.get("asked", {}).get("values", {})
    return values


def _by_score(trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    from optuna.trial import TrialState

    return sorted((trial for trial in trials if trial.state == TrialState.COMPLETE), key=lambda trial: -_value(trial))


def _value(trial: "FrozenTrial") -> float:
    assert trial.value is not None  # it is complete
    return float(trial.value)


def _holds(space: "BaseDistribution", value: Plain) -> bool:
    from optuna.distributions import CategoricalDistribution

    if isinstance(space, CategoricalDistribution):
        return value in space.choices
    return isinstance(value, int | float) and space._contains(value)


def seconds_spent(trials: "Sequence[FrozenTrial]") -> float:
    """Return for how many seconds at least one of these trials ran."""
    spans = sorted((trial.datetime_start, trial.datetime_complete) for trial in trials
                   if trial.datetime_start and trial.datetime_complete)  # fmt: skip
    total, until = 0.0, datetime.min
    for start, end in spans:
        total += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return total


def report_of(search: "Searching") -> SearchReport:
    """Return what the search tried so far, in order, and what its best trial is made with.

    Raises:
        ModelError: every trial failed.
    """
    from tasks.errors import ModelError

    counted = search.counted()
    complete = _by_score(counted)
    if counted and not complete:
        first = counted[0].user_attrs["ended"]["message"]
        raise ModelError(f"search {search.lever}: none of its {len(counted)} trials ended with a model; the first one: "
                         f"{first or 'no message'}")  # fmt: skip
    own = next((trial for trial in complete if trial.user_attrs["asked"]["origin"] == RECIPE), None)
    best = complete[0] if complete and (own is None or _value(complete[0]) > _value(own)) else None
    base, train = search.job.recipe.base, search.job.recipe.train
    if best is not None:
        base, train = change(base, train, _values(search, best))
    return SearchReport(
        search.study.study_name, tuple(_record(search, trial) for trial in counted),
        best.number if best else None, own.user_attrs["ended"]["score"] if own else None,
        complete[0].user_attrs["ended"]["score"] if complete else None,
        round(search.minutes_spent, 3), search.spec.runner, base, train,
    )  # fmt: skip


def _values(search: "Searching", trial: "FrozenTrial") -> dict[str, Any]:
    """Return a trial's values as the recipe has them."""
    found = {}
    for name, given in search.space.items():
        value = trial.params[name]
        found[name] = next(each for each in given if plain(each) == value) if isinstance(given, tuple) else value
    return found


def _record(search: "Searching", trial: "FrozenTrial") -> SearchTrial:
    from optuna.trial import TrialState

    states: dict[Any, State] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
    asked, ended = trial.user_attrs["asked"], trial.user_attrs["ended"]
    own = {name: own_value(name, search.job.recipe.base, search.job.recipe.train) for name in asked["values"]}
    values = own if asked["origin"] == RECIPE else _values(search, trial)
    return SearchTrial(
        trial.number, {name: shown(value) for name, value in values.items()}, asked["origin"],
        states.get(trial.state, "failed"), ended.get("score"), ended.get("valid_loss"), ended["epochs"],
        ended["seconds"], ended["message"], ended["ran_on"],
    )  # fmt: skip
