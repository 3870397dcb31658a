"""Distillation as a pass: a shallower or another student learns the answers of the model before the first pass."""

import logging
from pathlib import Path

from tasks.artifacts import open_artifact
from tasks.compress.material import Material
from tasks.compress.methods import DistilInto
from tasks.compress.shaping.relearning import learn_answers
from tasks.errors import ModelError
from tasks.records import Candidate

log = logging.getLogger(__name__)

ANY_POOLING = "mean"  # which suits every base: the first token of a decoder sees no other


def distil_into(method: DistilInto, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the student, trained on labels and the origin's answers, as a torch artifact in `folder`.

    A student of layers starts from the source's weights, as earlier passes left them: what pruning set to zero in it
    stays zero. Hinton et al. 2015, "Distilling the knowledge in a neural network"; its layers are the teacher's own as
    in Sanh et al. 2019, "DistilBERT".

    Raises:
        ModelError: the source is no torch model, the student cannot be opened, or training diverged.
    """
    _, manifest = open_artifact(source)
    if manifest["runtime"] != "torch":
        raise ModelError(f"compress: distil needs a torch model, not {manifest['runtime']!r}; put it before exports")
    pooling = manifest["pooling"] if isinstance(method.student, tuple) else ANY_POOLING
    made = learn_answers(method, method.student, pooling, manifest["max_length"], source, folder, material)
    log.info("distil: %s of the origin's %s bytes, %s", made.size_bytes, material.origin.size_bytes, made.notes)
    return made
