"""Recovery as a pass: what other passes left of a model learns the answers of the model before the first of them."""

import logging
from pathlib import Path

from tasks.artifacts import open_artifact
from tasks.compress.material import Material
from tasks.compress.methods import Recover
from tasks.compress.shaping.relearning import learn_answers
from tasks.errors import ModelError
from tasks.records import Candidate

log = logging.getLogger(__name__)


def recover(method: Recover, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source after training on labels and the origin's answers, as a torch artifact in `folder`.

    All of its weights learn but those that pruning set to zero, which stay so (Sanh et al. 2020, "Movement pruning",
    distil while they prune; here the mask is fixed). Shapes stay as they are.

    Raises:
        ModelError: the source is no torch model, or training diverged.
    """
    _, manifest = open_artifact(source)
    if manifest["runtime"] != "torch":
        raise ModelError(f"compress: recover needs a torch model, not {manifest['runtime']!r}; put it before exports")
    made = learn_answers(method, (), manifest["pooling"], manifest["max_length"], source, folder, material)
    log.info("recover: %s", made.notes)
    return made
