"""What a try is given beside recipe and snapshot: a judge of generated rows, a model to learn from, unlabelled texts.

A lever changes nothing but its own stage: what other stages were given stays as it was when the best so far was made.
"""

from collections.abc import Collection
from dataclasses import replace

from flows.outcome import Contender
from flows.project import Project
from tasks import stages
from tasks.build import fitted
from tasks.compress.sequence import READING, reads_texts
from tasks.data.augmentation.keep_label import used_teacher
from tasks.given import Given
from tasks.records import Candidate, Snapshot, Table
from tasks.specs import Recipe
from tasks.train.methods import FineTune, learns_from_champion, reads_unlabelled

TRAINING = ("train", "base", "search")  # the stages of levers that change how a model is trained
COMPRESSING = ("compress", "compress_search")


def given_for(
    project: Project, best: Contender, recipe: Recipe, stage: str, snapshot: Snapshot, texts: Table | None
) -> Given:
    """Return what the recipe, which a lever of the stage made of the best so far, is built with.

    `data` is the stage of a champion's own recipe on new data. A part that the recipe does not ask for is None.
    """
    judge = best.candidate if stage in ("data", "augment") else best.given.teacher
    return Given(
        used_teacher(recipe.augment, judge),
        _parent(project, best, recipe.train, stage, snapshot),
        _unlabelled(best, recipe, stage, texts),
    )


def given_for_passes(best: Contender, kinds: Collection[str], texts: Table | None) -> Given:
    """Return what a search over passes of these kinds is given: what the best so far was, and texts to learn from."""
    if set(READING).isdisjoint(kinds):
        return best.given
    return replace(best.given, unlabelled=_texts_of_passes(best, texts))


def given_for_trials(
    project: Project, best: Contender, varied: Collection[str], snapshot: Snapshot, texts: Table | None
) -> Given:
    """Return what the trials of a search from the best so far are given: whatever one of them may ask for.

    `varied` are the fields of `train` that the search varies. A fit takes of it what its own method asks for, so that
    what the search finds is built with the same as a try with `given_for`.
    """
    method, asked = best.recipe.train, set(varied)
    learns = learns_from_champion(method) or not asked.isdisjoint({"start", "distil"})
    reads = reads_unlabelled(method) or not asked.isdisjoint({"adapt", "distil"})
    return Given(
        best.given.teacher,
        _torch_model(project, best, snapshot) if learns else None,
        texts if reads else None,
    )


def _parent(project: Project, best: Contender, method: FineTune, stage: str, snapshot: Snapshot) -> Candidate | None:
    """Return the torch model that training starts from or learns the answers of: that of the best so far.

    On new data a champion that starts from its predecessor goes on from itself, while one that learnt from a teacher
    keeps it.
    """
    if not learns_from_champion(method):
        return None
    if stage in TRAINING or (stage == "data" and method.start == "champion"):
        return _torch_model(project, best, snapshot)
    return best.given.parent


def _torch_model(project: Project, best: Contender, snapshot: Snapshot) -> Candidate:
    """Return the best so far before compression: stored, or made again of what it was made of."""
    return fitted(stages, project.store, best.recipe, best.snapshot or snapshot, best.given)


def _unlabelled(best: Contender, recipe: Recipe, stage: str, texts: Table | None) -> Table | None:
    """Return the texts without labels for training and for passes that learn; passes alone do not change a training's.

    A recipe of which only the passes change keeps the texts that it was trained with, where it was with any.
    """
    if not reads_unlabelled(recipe.train) and not reads_texts(recipe.compress):
        return None
    if stage in COMPRESSING:
        return _texts_of_passes(best, texts)
    return texts if stage in (*TRAINING, "data") else best.given.unlabelled


def _texts_of_passes(best: Contender, texts: Table | None) -> Table | None:
    """Return the texts that passes learn from: those that training read, where it did, so that it stays as it is."""
    return best.given.unlabelled if reads_unlabelled(best.recipe.train) else best.given.unlabelled or texts
