"""The model code that MLflow logs with every version (models-from-code): texts in, outputs and confidences out.

It runs wherever the version is loaded, with the artifact's runtime, tokenizers and the shipped `serving` package: no
torch, no pickle.
"""

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from serving.loading import load_predictor


class ServedModel(PythonModel):  # type: ignore[misc]
    """The pyfunc form of a model artifact."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the artifact that was logged with the version."""
        self._predictor = load_predictor(context.artifacts["model"])

    # MLflow reads the annotations and warns of Any, so the answer has none.
    def predict(self, context, model_input: list[str], params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Return one `{"output": ..., "confidence": ...}` per text."""
        predictions = self._predictor.predict(model_input)
        rows = zip(predictions.outputs, predictions.scores.tolist(), strict=True)
        return [{"output": output, "confidence": confidence} for output, confidence in rows]


set_model(ServedModel())
