"""Which numbers of an iteration go into which figure. The drawing itself is in `flows.figures`; decides nothing."""

import math
from collections.abc import Mapping, Sequence

from flows import figures
from flows.chronicle import Model, comparable_models, reigns
from flows.compression import draw_compression
from flows.effects import Effect, effects_of
from flows.figures import Bubble, Mark
from flows.outcome import Outcome
from flows.reports import Row, comparison, share, slices
from tasks.measure.profiling.profile import Profile
from tasks.measure.speed.ratios import block_ratio
from tasks.records import Interval, Scorecard, Speed
from tasks.registry import BASELINE
from tasks.search.report import RECIPE, SearchReport

SLICES_DRAWN = 12


def draw(outcome: Outcome, history: Sequence[Outcome]) -> dict[str, str]:
    """Return the figures of an iteration by name, as SVG text; what there is nothing to draw of is left out.

    Args:
        history: all outcomes, oldest first, this one last.
    """
    rows = comparison(outcome)
    effects = effects_of(history)
    drawn = {
        "quality": draw_quality(rows),
        "time": draw_time(outcome.cards),
        "size": draw_size(outcome.cards),
        "slices": draw_slices(outcome),
        "pareto": draw_pareto(comparable_models(history)[0], outcome.iteration),
        "champions": draw_champions(history),
        "effects-quality": draw_quality_effects(effects),
        "effects-time": draw_time_effects(effects),
        **{f"search-{trial.lever}": draw_search(trial.search) for trial in outcome.trials if trial.search},
        **{
            f"compression-{trial.lever}": draw_compression(trial.compression)
            for trial in outcome.trials
            if trial.compression
        },
        **(draw_profile(outcome.profile) if outcome.profile else {}),
    }
    return {name: figure for name, figure in drawn.items() if figure}


def draw_quality(rows: Sequence[Row]) -> str:
    """Return every model's accuracy on golden with its interval."""
    marks = [
        Mark(row.role, 100 * row.mean, 100 * row.low, 100 * row.high, shown=row.quality, kind=row.role) for row in rows
    ]
    return figures.intervals("Accuracy on golden, 95 % intervals", marks, "accuracy, %")


def draw_time(cards: Mapping[str, Scorecard]) -> str:
    """Return every model's time per text, as a multiple of the baseline's, with its 95 % interval."""
    base = cards.get(BASELINE)
    if base is None or base.speed is None:
        return ""
    marks = [mark for role, card in cards.items() if card.speed and (mark := _time_mark(role, card.speed, base.speed))]
    title = "Time per text at batch 1, 95 % intervals"
    return figures.intervals(title, marks, "time per text, baseline = 1 (less is faster)", line=1.0, log=True)


def _time_mark(role: str, speed: Speed, base: Speed) -> Mark | None:
    """Return the model's mark; None where it was not timed together with the baseline."""
    if speed.session != base.session or speed.machine != base.machine:
        return None
    try:
        ratio = block_ratio(speed.block_seconds, base.block_seconds, 0.025)
    except ValueError:  # timings that the gate refuses too: there is nothing to draw
        return None
    shown = f"{ratio.value:.2f}" if role == BASELINE else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return Mark(role, ratio.value, ratio.low, ratio.high, shown=shown, kind=role)


def draw_size(cards: Mapping[str, Scorecard]) -> str:
    """Return every model's size on disk and peak memory."""
    speeds = {role: card.speed for role, card in cards.items() if card.speed}
    sizes = [(f"{role}, on disk", speed.size_bytes / 1e6) for role, speed in speeds.items()]
    memory = [(f"{role}, peak memory", speed.peak_memory_bytes / 1e6) for role, speed in speeds.items()]
    return figures.bars("Size and peak memory, MB", [(name, mb, f"{mb:.1f} MB") for name, mb in (*sizes, *memory)])


def draw_slices(outcome: Outcome) -> str:
    """Return the change on the slices that the gate judged, the worst first, with the bound each must clear."""
    marks = [
        Mark(
            row.name, 100 * test.estimate, 100 * test.low, 100 * test.high, bound=100 * test.bound,
            shown=f"{100 * test.estimate:+.1f} ({100 * test.low:+.1f} to {100 * test.high:+.1f})",
            filled=test.outcome == "pass", kind="champion" if test.outcome == "fail" else "candidate",
        )
        for row in slices(outcome)
        if (test := row.test)
    ]  # fmt: skip
    return figures.intervals("Change on slices", marks[:SLICES_DRAWN], "points, candidate - champion", line=0.0)


def draw_pareto(models: Sequence[Model], iteration: int) -> str:
    """Return quality against time of the models that compare; one model alone is no picture."""
    if len(models) < 2:
        return ""
    bubbles = [
        Bubble(
            _name(model), model.time_ratio, 100 * model.quality.mean, model.size_bytes,
            f"{share(Interval(model.quality.mean, model.quality.low, model.quality.high))}, "
            f"time {model.time_ratio:.2f}, {model.size_bytes / 1e6:.1f} MB",
            model.roles[-1] if model.roles and model.iteration == iteration else "past", model.on_front,
        )
        for model in models
    ]  # fmt: skip
    title = "Quality against time per text; area is size on disk"
    return figures.pareto(title, bubbles, "time per text, baseline = 1 (left is faster)", "accuracy on golden, %")


def _name(model: Model) -> str:
    return ", ".join(model.roles) or f"#{model.iteration}"


def draw_champions(history: Sequence[Outcome]) -> str:
    """Return the champions' accuracy over iterations; filled where promoted, joined where the golden rows are equal."""
    marks = [
        Mark(
            f"iteration {reign.iteration}, version {reign.version or '-'}",
            100 * reign.quality.mean, 100 * reign.quality.low, 100 * reign.quality.high, at=reign.iteration,
            shown=share(Interval(reign.quality.mean, reign.quality.low, reign.quality.high)),
            kind="champion", filled=reign.promoted, group=reign.quality.rows_digest,
        )
        for reign in reigns(history)
    ]  # fmt: skip
    title = "Accuracy of the champions"
    return figures.over_time(title, [("", marks)], "accuracy on golden, %", height=150) if len(marks) > 1 else ""


def draw_quality_effects(effects: Sequence[Effect]) -> str:
    """Return what every lever did to quality, trial by trial; filled where it was kept."""
    panels = {effect.lever: list[Mark]() for effect in effects}
    for effect in effects:
        if effect.quality:
            points = Interval(100 * effect.quality.value, 100 * effect.quality.low, 100 * effect.quality.high)
            shown = f"{points.value:+.1f} points ({points.low:+.1f} to {points.high:+.1f})"
            panels[effect.lever].append(_effect_mark(effect, shown, points))
    title = "Effect of every lever on quality"
    return figures.over_time(title, list(panels.items()), "points on select, to the best before", line=0.0)


def draw_time_effects(effects: Sequence[Effect]) -> str:
    """Return what every lever that claims cost did to the time per text, trial by trial; filled where it was kept."""
    panels = {effect.lever: list[Mark]() for effect in effects if "cost" in effect.claims}
    for effect in effects:
        if effect.time_ratio and effect.lever in panels:
            shown = f"{effect.time_ratio.value:.2f} ({effect.time_ratio.low:.2f} to {effect.time_ratio.high:.2f})"
            panels[effect.lever].append(_effect_mark(effect, shown, effect.time_ratio))
    title = "Effect of cost levers on time per text"
    return figures.over_time(title, list(panels.items()), "time per text, to the best before", line=1.0)


def draw_search(search: SearchReport) -> str:
    """Return the score of every trial of a search, and the best so far; hollow: the recipe as it was."""
    trail, dots, best = list[Mark](), list[Mark](), -math.inf
    for trial in search.trials:
        if trial.score is None:
            continue
        score, best = 100 * trial.score, max(best, 100 * trial.score)
        trail.append(Mark("best so far", best, best, best, trial.number, f"{best:.2f} %", "good", False, group="best"))
        shown = f"{score:.2f} %"
        dots.append(
            Mark(f"trial {trial.number}", score, score, score, trial.number, shown, filled=trial.origin != RECIPE)
        )
    panels = [("each trial", dots), ("best so far", trail)]
    return figures.over_time("Scores of a search's trials", panels, "score on valid, %", height=90, below="trial")


def draw_profile(profile: Profile) -> dict[str, str]:
    """Return the parts of a call and the top operators of its model, as bars."""
    parts = [
        ("tokenize", profile.parts.tokenize), ("model", profile.parts.model),
        ("Python: batching, softmax, labels", profile.parts.python),
    ]  # fmt: skip
    operators = [(operator.name, operator.share) for operator in profile.operators]
    return {
        "profile-parts": figures.bars("Parts of a call", [(name, part, f"{100 * part:.1f} %") for name, part in parts]),
        "profile-operators": figures.bars(
            "Operators, by share of the model's time",
            [(name, part, f"{100 * part:.1f} %") for name, part in operators], "champion",
        ),
    }  # fmt: skip


def _effect_mark(effect: Effect, shown: str, found: Interval) -> Mark:
    word = "kept" if effect.kept else "dropped"
    name = f"iteration {effect.iteration}, {word}"
    return Mark(
        name,
        found.value,
        found.low,
        found.high,
        effect.iteration,
        shown,
        "good" if effect.kept else "past",
        effect.kept,
    )
