"""A classifier in OpenVINO on the CPU. Imports neither torch nor MLflow, and tells nobody that it is used."""

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from serving.artifact import ArtifactInvalid
from serving.classes import classes_of, encodable, first_line, open_tokenizer, predict_classes, softmax, tokenize_with
from serving.predictors import Predictions

SHORTEST = 16  # tokens of the shortest graph of fixed length
ONE_BY_ONE = 4  # texts in a call that are answered sooner one by one than as a batch of another shape


def import_openvino() -> Any:
    """Return the package `openvino`, its telemetry switched off: to import it alone sends an event over the network.

    Raises:
        ImportError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # then its silent stand-in is used
    import openvino

    return openvino


class Graphs:
    """The model compiled for one fixed shape of its inputs each, and for any shape. Threads may share it.

    A graph of fixed shape answers two to four times as fast as one that meets another length with every call. Each is
    compiled when it is first needed.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], threads: int | None = None, profiled: bool = False
    ) -> None:
        self._path = Path(folder) / manifest["openvino"]
        try:
            self.openvino = import_openvino()
        except ImportError as error:
            raise ArtifactInvalid(f"{folder}: needs OpenVINO; `pip install openvino` ({error})") from error
        self._options = _options(manifest, threads, profiled)
        self._lock = Lock()
        self._compiled: dict[tuple[int, int] | None, Any] = {}
        try:
            self._core = self.openvino.Core()
            self._model = self._core.read_model(str(self._path))
            keep_embeddings_narrow(self._model)
            self.inputs = [port.any_name for port in self._model.inputs]
        except Exception as error:  # its exceptions share no other class
            raise self._refusal("open", error) from error

    def compiled(self, shape: tuple[int, int] | None = None) -> Any:
        """Return the compiled model for inputs of a shape `(texts, tokens)`; None: for any.

        Raises:
            ArtifactInvalid: OpenVINO cannot compile the model.
        """
        with self._lock:
            if shape not in self._compiled:
                self._compiled[shape] = self._compile(shape)
            return self._compiled[shape]

    def _compile(self, shape: tuple[int, int] | None) -> Any:
        try:
            model = self._model.clone()  # shares its weights
            if shape is not None:
                model.reshape({name: list(shape) for name in self.inputs})
            return self._core.compile_model(model, "CPU", self._options)
        except Exception as error:  # its exceptions share no other class
            raise self._refusal("compile", error) from error

    def _refusal(self, verb: str, error: Exception) -> ArtifactInvalid:
        return ArtifactInvalid(f"{self._path}: OpenVINO cannot {verb} it ({first_line(error)}); build it again")


def _options(manifest: dict[str, Any], threads: int | None, profiled: bool) -> dict[str, Any]:
    """Return how to compile: float32 unless the artifact says bf16, which the plugin would take by itself."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # else the threads of all processes share the same few cores
        "INFERENCE_PRECISION_HINT": "bf16" if manifest.get("precision") == "bf16" else "f32",
        **({} if threads is None else {"INFERENCE_NUM_THREADS": threads}),
        **({"PERF_COUNT": True} if profiled else {}),
    }


def keep_embeddings_narrow(model: Any) -> None:
    """Let int8 embeddings be looked up before they are scaled to float, not after: the same numbers.

    Else each compiled graph would hold the whole table in float32, 47 MB for a vocabulary of 30,522 and 384 numbers.
    They become int32 in between: what the plugin makes of int8 that becomes float at once, before layers in float,
    reads memory that is not its own, and answers wrong numbers or none.
    """
    from openvino import opset8

    for node in [node for node in model.get_ops() if node.get_type_name() == "Gather"]:
        scaled = node.input_value(0).get_node()
        if scaled.get_type_name() != "Multiply":
            continue
        table, scale = (scaled.input_value(side).get_node() for side in (0, 1))
        if (table.get_type_name(), scale.get_type_name()) != ("Convert", "Constant"):
            continue
        rows, axis = node.input_value(1), node.input_value(2)
        shape = scale.get_output_shape(0)
        if axis.get_node().get_type_name() != "Constant" or axis.get_node().get_data().item() != 0 or len(shape) != 2:
            continue
        found = opset8.gather(table.input_value(0), rows, axis)
        wide = opset8.convert(opset8.convert(found, "i32"), scale.get_element_type())
        factor = opset8.gather(scale.output(0), rows, axis).output(0) if shape[0] > 1 else scale.output(0)
        node.output(0).replace(opset8.multiply(wide, factor).output(0))


class _Slot:
    """A request for one text of at most `length` tokens, with the memory that it reads and writes."""

    def __init__(self, graphs: Graphs, length: int, labels: int, pad_id: int) -> None:
        self.length = length
        tensor = graphs.openvino.Tensor
        self._request = graphs.compiled((1, length)).create_infer_request()
        self._pad_id = pad_id
        self._arrays = {name: np.zeros((1, length), np.int64) for name in graphs.inputs}
        self._logits = np.zeros((1, labels), np.float32)
        for name, array in self._arrays.items():
            self._request.set_tensor(name, tensor(array, shared_memory=True))
        self._request.set_output_tensor(0, tensor(self._logits, shared_memory=True))

    def logits(self, tokens: dict[str, np.ndarray]) -> np.ndarray:
        """Return the logits `[1, labels]` of one text's tokens; what is behind them is masked."""
        for name, array in self._arrays.items():
            given = tokens[name]
            length = given.shape[1]
            array[:, :length] = given
            array[:, length:] = self._pad_id if name == "input_ids" else 0
        self._request.infer()
        return self._logits.copy()  # another call will write there


class OpenVinoPredictor:
    """A text classifier in OpenVINO on the CPU: tokenizer, graphs and label list. Threads may share it."""

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int | None = None) -> None:
        self._labels: list[str] = manifest["labels"]
        self._longest: int = manifest["max_length"]
        tokenizer = open_tokenizer(folder, self._longest)
        self._tokenize, self._pad_id = tokenize_with(tokenizer), tokenizer.padding["pad_id"]
        self._graphs = Graphs(folder, manifest, threads)
        self._slots: dict[int, list[_Slot]] = {}  # by length, those that no thread uses now
        self._requests: list[Any] = []  # for batches, likewise
        self._give_slot(
            self._take_slot(SHORTEST)
        )  # a model that does not compile is found here, and the first answer is quicker

    def predict(self, texts: Sequence[str]) -> Predictions:
        """Return the most probable label of each text with its probability."""
        if 1 < len(texts) <= ONE_BY_ONE:
            rows = [self.logits(self._tokenize([encodable(text)])) for text in texts]
            return classes_of(softmax(np.concatenate(rows)), self._labels)
        return predict_classes(texts, self._labels, self._tokenize, self.logits)

    def logits(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Return the logits `[texts, labels]` of token arrays `[texts, tokens]`."""
        texts, tokens = batch["input_ids"].shape
        if texts == 1:
            slot = self._take_slot(tokens)
            answer = slot.logits(batch)
            self._give_slot(slot)
            return answer
        try:
            request = self._requests.pop()
        except IndexError:
            request = self._graphs.compiled().create_infer_request()
        logits: np.ndarray = request.infer({name: batch[name] for name in self._graphs.inputs}, share_inputs=True)[0]
        self._requests.append(request)
        return logits

    def _take_slot(self, tokens: int) -> _Slot:
        length = SHORTEST
        while length < tokens:
            length *= 2
        length = min(length, self._longest)
        try:
            return self._slots.setdefault(length, []).pop()
        except IndexError:  # all are in use
            return _Slot(self._graphs, length, len(self._labels), self._pad_id)

    def _give_slot(self, slot: _Slot) -> None:
        self._slots[slot.length].append(slot)
