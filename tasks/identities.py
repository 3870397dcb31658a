"""What stands in a content key for the models that methods name: the content of local folders. Opens no model."""

from collections.abc import Sequence
from typing import Any

from tasks.data.named_models import model_fields
from tasks.specs import AugmentMethod, CleanStep
from tasks.train.bases.base import base_identity


def named_models(methods: Sequence[CleanStep | AugmentMethod]) -> list[str]:
    """Return what stands in a key for the models that the methods name: the content of local folders."""
    return [base_identity(getattr(method, name)) for method in methods for name in model_fields(method)]


def student_identity(method: Any) -> str:
    """Return what stands in a key for the bases that students start from: the content of local folders; else ""."""
    stage = getattr(method, "stage", ())
    if isinstance(stage, tuple) and stage:
        return " ".join(filter(None, map(student_identity, stage)))
    distil = getattr(method, "distil", method)
    student = getattr(distil, "student", ())
    return "" if isinstance(student, tuple) else base_identity(student)
