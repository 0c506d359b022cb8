"""What a comparison of two versions tells the flow, and people: figures, difference, shared images, broken rules."""

import html
from typing import Literal

from pydantic import BaseModel, Field

from tasks.bundle.format import Task
from tasks.dataset.entries import Split
from tasks.evaluate.records import GateVerdict
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.classification import LabelMetrics
from tasks.metrics.detection import BoxLabelMetrics
from tasks.stores.content import StageRecord

Strictness = Literal["strict", "lenient"]
FigureName = Literal["macro_f1", "map_50", "image_auroc"]
FIGURES_IN_WORDS: dict[FigureName, str] = {"macro_f1": "macro-F1", "map_50": "mAP50", "image_auroc": "image AUROC"}
FIGURE_OF_TASK: dict[Task, FigureName] = {
    "classification": "macro_f1",
    "detection": "map_50",
    "anomaly": "image_auroc",
}


class SharedImage(BaseModel, frozen=True, extra="forbid"):
    """An image that a version learned from and is measured on all the same.

    Attributes:
        split: whose image it is, of the version's own dataset.
        learned_ref: reference of the image learned from.
        test_ref: reference of the test image.
        is_copy: the two files hold the same bytes; else they are near-duplicates, confirmed on pixels.
    """

    split: Split
    learned_ref: str
    test_ref: str
    is_copy: bool


class Overlap(StageRecord, frozen=True):
    """What the images that a version learned from share with a test set.

    Attributes:
        copies: number of images learned from whose bytes are those of a test image.
        near_duplicates: number of further ones that are a near-duplicate of a test image.
        examples: some of them, copies first.
    """

    copies: int = 0
    near_duplicates: int = 0
    examples: tuple[SharedImage, ...] = ()


class VersionFigures(BaseModel, frozen=True, extra="forbid"):
    """A version measured on the images of the comparison.

    Attributes:
        model_uri: its `models:/` address.
        bundle_digest: of its bundle.
        figure: macro-F1 of a classifier, mAP50 of a detector, image AUROC of an anomaly model; 0 to 1.
        per_label: figures of every label that it knows.
    """

    model_uri: str
    bundle_digest: str
    figure: float
    per_label: dict[str, LabelMetrics | BoxLabelMetrics]


class ComparisonRules(BaseModel, frozen=True, extra="forbid"):
    """How two versions are compared, and when the challenger may pass.

    Attributes:
        strictness: a `strict` comparison refuses what may be too much worse, a `lenient` one only what surely is.
        min_difference: the interval of challenger minus champion must not lie below it: strict not with its lower
            end, lenient not as a whole; -1 to 1.
        resamples: of the bootstrap.
        confidence: share of the resamples within its interval, 0 to 1.
        seed: of its draws.
    """

    strictness: Strictness = "strict"
    min_difference: float = Field(default=-0.02, ge=-1, le=1)
    resamples: int = Field(default=1000, ge=1, le=100_000)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class ComparedImages(BaseModel, frozen=True, extra="forbid"):
    """The images that the versions are measured on.

    Attributes:
        of: address of the version whose test set it is.
        digest: SHA-256 of its test manifest.
        images: number of images measured on.
        left_out: number of the manifest's images that carry a label not both versions know.
    """

    of: str
    digest: str
    images: int
    left_out: int = 0


class VersionComparison(StageRecord, frozen=True):
    """The challenger, side by side with the champion where there is one, on the same test images.

    Attributes:
        metric: what is compared.
        rules: how.
        test_set: on which images.
        challenger: the version to be moved to an environment.
        champion: what stands there now; None when nothing does, or nothing can be compared with it. Without it the
            next three and `overlap` are None.
        difference: the challenger's figure minus the champion's.
        lower: lower end of its bootstrap interval.
        upper: upper end.
        overlap: of the images that the challenger learned from with the test images.
        labels_changed: the two versions do not know the same labels.
        disagreement_count: number of test images that the two answer differently.
        disagreements: references of the first of them.
        reasons: a sentence for every rule that is broken; none when the challenger passes.
        needs_person: why the figures do not tell enough, so that a person must look unless the comparison is lenient;
            empty when they do.
    """

    metric: FigureName
    rules: ComparisonRules
    test_set: ComparedImages
    challenger: VersionFigures
    champion: VersionFigures | None = None
    difference: float | None = None
    lower: float | None = None
    upper: float | None = None
    overlap: Overlap | None = None
    labels_changed: bool = False
    disagreement_count: int = 0
    disagreements: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    needs_person: str = ""

    @property
    def passed(self) -> bool:
        """Whether no rule is broken; a person may have to look all the same: see `asks_person`."""
        return not self.reasons

    @property
    def asks_person(self) -> bool:
        """Whether a person must look, whoever else approves."""
        return bool(self.needs_person) and self.rules.strictness == "strict"

    @property
    def sentence(self) -> str:
        """The outcome, for people."""
        figure = f"{FIGURES_IN_WORDS[self.metric]} {self.challenger.figure:.3f} of {self.challenger.model_uri}"
        if self.champion is None:
            images = counted(self.test_set.images, "test image")
            return f"{figure} on {images} of {self.test_set.of}; compared with no other version"
        return f"{figure} against {self.champion.figure:.3f} of {self.champion.model_uri}: {self.difference_in_words}"

    @property
    def difference_in_words(self) -> str:
        """The difference with its interval, and what it was measured on; empty without a champion."""
        if self.difference is None:
            return ""
        images = counted(self.test_set.images, "test image")
        return (
            f"difference {self.difference:+.3f} on {images} of {self.test_set.of}, "
            f"{100 * self.rules.confidence:g} % interval {self.lower:+.3f} to {self.upper:+.3f}"
        )

    @property
    def markdown(self) -> str:
        """The evidence, for people: the outcome, what speaks against it, and both versions' figures by label."""
        lines = [self.sentence, ""]
        lines += [f"- Refused: {html.escape(reason, quote=False)}" for reason in self.reasons]
        lines += (
            [f"- For a person to look at: {html.escape(self.needs_person, quote=False)}"] if self.needs_person else []
        )
        if self.champion:
            lines += [f"- The two answer {counted(self.disagreement_count, 'image')} differently"]
        return "\n".join([*lines, "", *self._table()])

    def _table(self) -> list[str]:
        versions = [one for one in (self.champion, self.challenger) if one]
        figure = "AP50" if self.metric == "map_50" else "F1"
        names = [f"{figure} of {one.model_uri}" for one in versions]
        labels = sorted({label for one in versions for label in one.per_label})
        rows = [[_cell(label), *(_figure_of(one.per_label.get(label)) for one in versions)] for label in labels]
        return [f"| {' | '.join(row)} |" for row in (["label", *names], ["---"] * (1 + len(names)), *rows)]


class MoveEvidence(BaseModel, frozen=True, extra="forbid"):
    """What was found out of a version before anybody is asked whether it may be moved.

    Attributes:
        inference_test: how it answered, fetched by its address and opened afresh.
        comparison: with what stands there now; None of a rollback, whose version stood there before.
        gate: the verdict of its training; None of a later move, for what failed it is never planned.
    """

    inference_test: InferenceOutcome
    comparison: VersionComparison | None = None
    gate: GateVerdict | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against the move, a sentence each."""
        return (*self.inference_test.reasons, *(self.comparison.reasons if self.comparison else ()))


class StagingOutcome(BaseModel, frozen=True, extra="forbid"):
    """What came of the way to staging of a version that was just trained.

    Attributes:
        stands: whether it stands there now.
        refused: whether a test, the comparison or a person said no; else what does not stand there waits for a
            person, or another move was faster.
        reasons: why it does not stand there, a sentence each.
        replaced: number of the version that stood there before it; empty when none did.
        comparison: with that version; None when it is not known.
    """

    stands: bool
    refused: bool = False
    reasons: tuple[str, ...] = ()
    replaced: str = ""
    comparison: VersionComparison | None = None


def counted(count: int, unit: str, units: str = "") -> str:
    """Return a number with its unit; `units` is the plural where it is not made with an s."""
    return f"{count} {unit if count == 1 else units or unit + 's'}"


def _figure_of(figures: LabelMetrics | None) -> str:
    if figures is None:
        return "unknown label"
    if not figures.support:
        return "not in the test set"
    return f"{figures.average_precision_50 if isinstance(figures, BoxLabelMetrics) else figures.f1:.3f}"


def _cell(text: str) -> str:
    """Return a text that ends no cell and opens no tag."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;")
