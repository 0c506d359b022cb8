"""When an export is refused: answers that differ where they must not, a failed gate, too much of the metric lost."""

from tasks.bundle_export.records import Comparison, ExportFormat, Parity
from tasks.evaluate.records import GateVerdict

MAX_CONFIDENCE_DIFFERENCE = 1e-4
"""Of a float export; measured 5e-6 with OpenVINO in single precision."""
MAX_EDGE_DIFFERENCE_PIXELS = 0.5
FLOAT_FORMATS: frozenset[ExportFormat] = frozenset({"onnx", "openvino"})
ROUNDING = 1e-9


def reasons_against(
    format_name: ExportFormat, comparison: Comparison, verdict: GateVerdict, max_metric_loss: float
) -> tuple[str, ...]:
    """Return a sentence for each limit that an export misses; none when it may go out.

    Args:
        format_name: 8-bit numbers answer a little differently: for them parity is told, not judged.
        comparison: of the export with the registered bundle.
        verdict: of the gate, on the export's figures.
        max_metric_loss: largest loss of macro-F1 or mAP50 allowed, absolute.
    """
    reasons = _parity_reasons(comparison.parity) if format_name in FLOAT_FORMATS else []
    reasons += [f"gate: {reason}" for reason in verdict.reasons]
    if comparison.metric_loss > max_metric_loss + ROUNDING:
        reasons.append(
            f"{comparison.metric_name} falls by {comparison.metric_loss:.3f}, from {comparison.original.metric:.3f} to "
            f"{comparison.exported.metric:.3f}, more than max_metric_loss {max_metric_loss:g}"
        )
    return tuple(reasons)


def _parity_reasons(parity: Parity) -> list[str]:
    reasons = []
    if not parity.confidence_difference <= MAX_CONFIDENCE_DIFFERENCE:
        reasons.append(
            f"parity: a confidence differs by {parity.confidence_difference:.2g}, more than "
            f"{MAX_CONFIDENCE_DIFFERENCE:g}"
        )
    if not parity.edge_difference_pixels <= MAX_EDGE_DIFFERENCE_PIXELS:
        reasons.append(
            f"parity: an edge differs by {parity.edge_difference_pixels:.2g} pixels, more than "
            f"{MAX_EDGE_DIFFERENCE_PIXELS:g}"
        )
    if parity.unmatched_boxes:
        reasons.append(f"parity: {parity.unmatched_boxes} boxes were found by one of the two models only")
    return reasons
