"""An ONNX graph that runs."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tasks.errors import BundleError

Outputs = dict[str, NDArray[np.float32]]
"""By name, in the graph's order; a row for each image."""


class OnnxNetwork:
    """An ONNX graph with one input and one or more outputs."""

    def __init__(self, model: bytes, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that wait actively for their part of a run make it a third faster; when it ends they must not go on,
        # for they would take the cores from whatever else wants them, torch in training among it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            # From bytes, so that a graph cannot pull weights from files outside the bundle.
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own unexported exception types
            raise BundleError(f"ONNX Runtime refuses the network: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; returns the last output."""
        return self._run(batch, self._outputs[-1:])[0]

    def run_all(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch; returns all outputs by name, in the graph's order."""
        return dict(zip(self._outputs, self._run(batch, self._outputs), strict=True))

    def _run(self, batch: NDArray[np.float32], outputs: list[str]) -> list[NDArray[np.float32]]:
        return [np.asarray(values, np.float32) for values in self._session.run(outputs, {self._input: batch})]
