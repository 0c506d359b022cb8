"""What advice on a classifier of any number of labels rests on: held-out images with the labels given and missed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.report.facts import HeldOutImage, ImageFacts, held_out_images
from tasks.report.inputs import ReportInputs


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """An image judged by a model that had not seen it, with the labels that its confidences reach, the surest first."""

    image: HeldOutImage
    given: tuple[str, ...]

    @property
    def missed(self) -> tuple[str, ...]:
        """True labels that are not given."""
        return tuple(label for label in self.image.truth if label not in self.given)

    @property
    def false(self) -> tuple[str, ...]:
        """Labels given that are not true."""
        return tuple(label for label in self.given if label not in self.image.truth)

    @property
    def is_right(self) -> bool:
        """Whether its labels and no others are given."""
        return not self.missed and not self.false


class MultiLabelFacts(ImageFacts[MultiLabelMetrics]):
    """What several rules need, computed once; all labels are given at the thresholds of the model."""

    def __init__(self, inputs: ReportInputs[MultiLabelMetrics]) -> None:
        super().__init__(inputs)
        thresholds = {label: figures.threshold for label, figures in inputs.metrics.per_label.items()}
        self.answers = [_answered(image, thresholds) for image in held_out_images(inputs)]
        self.crossed = [one.image for one in self.answers if not one.image.tested]

    @cached_property
    def carried(self) -> Counter[str]:
        """Held-out images per true label."""
        return Counter(label for one in self.answers for label in one.image.truth)

    @cached_property
    def missed(self) -> Counter[str]:
        """Held-out images per true label that they were not given."""
        return Counter(label for one in self.answers for label in one.missed)


def _answered(image: HeldOutImage, thresholds: Mapping[str, float]) -> AnsweredImage:
    ranked = sorted(image.confidences.items(), key=lambda item: -item[1])
    return AnsweredImage(image, tuple(label for label, value in ranked if value >= thresholds[label]))
