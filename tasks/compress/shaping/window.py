"""The pass that lets tokens attend to their neighbours only. The weights stay as they are; trains nothing."""

import logging
from pathlib import Path

from tasks.compress.material import Material
from tasks.compress.methods import Window
from tasks.compress.shaping.shaped import open_source, seal_shaped
from tasks.errors import ModelError
from tasks.records import Candidate

log = logging.getLogger(__name__)


def set_attention_window(method: Window, source: Candidate, folder: Path, material: Material) -> Candidate:
    """Return the source with a window of so many tokens in the layers that can slide, as an artifact in `folder`.

    Where some layers slide already and others see all, as in ModernBERT, the others go on seeing all. Texts no longer
    than half the window are answered as before.

    Raises:
        ModelError: the source is no torch model, its family offers no window, or it has one as narrow already.
    """
    from tasks.train.bases.rebuild import narrow_window

    origin, manifest, model = open_source(source, method.kind)
    try:
        model.encoder = narrow_window(model.encoder, method.tokens)
    except ModelError as error:
        raise ModelError(f"compress: window: {str(error).removeprefix('recipe.base: ')}") from error
    model.config = model.encoder.config
    log.info("window: a token sees %d tokens in the layers that slide", method.tokens)
    return seal_shaped(folder, model, origin, manifest, {"window": method.tokens})
