"""The challenger against the champion: both answer the same test images, and the difference has an interval."""

from collections.abc import Iterator, Sequence

from tasks.bundle.predictor import Prediction
from tasks.bundle_export.records import ExportSource
from tasks.metrics.answers import headline, headline_of_resamples, measure_answers
from tasks.metrics.bootstrap import draw_resamples, percentile_interval
from tasks.promote.disagreements import Disagreement, Disagreements, agree
from tasks.promote.held_out import (
    HeldOutSet,
    Report,
    Version,
    answers_of,
    choose_held_out,
    held_out_of,
    labels_differ,
)
from tasks.promote.overlap import PlacedImage, find_overlap
from tasks.promote.records import (
    FIGURE_OF_TASK,
    FIGURES_IN_WORDS,
    ComparisonRules,
    Overlap,
    Strictness,
    VersionComparison,
    VersionFigures,
    counted,
)
from tasks.stores.content import ContentStore

MAX_TOLD = 100
"""References of disagreements in a record."""
ROUNDING = 1e-9

Answers = Sequence[Prediction]


def _silent(_done: int, _total: int) -> None:
    return None


def compare(
    store: ContentStore,
    champion: ExportSource | None,
    challenger: ExportSource,
    *,
    strictness: Strictness = "strict",
    min_difference: float = -0.02,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    report: Report = _silent,
) -> VersionComparison:
    """Measure both versions on the same test images; every rule that is broken becomes a reason.

    Without a champion the challenger is measured on its own test set, and passes. Answers are kept in the store: what
    was compared before takes milliseconds.

    Args:
        store: keeps the answers, and holds the thumbnails of ingest.
        champion: the version that stands in the environment now; None when nothing does.
        challenger: the version to be moved there.
        strictness: refuse what may be worse than that (`strict`), or only what surely is (`lenient`).
        min_difference: of challenger minus champion; -1 to 1.
        resamples: of the bootstrap.
        confidence: of its interval, 0 to 1.
        seed: of its draws.
        report: told of answers that have to be made.

    Raises:
        BundleError: when a bundle is damaged.
        SourceChanged: when a test image is gone, or its bytes are others.
        DataError: when a manifest cannot be read.
    """
    rules = ComparisonRules(
        strictness=strictness, min_difference=min_difference, resamples=resamples, confidence=confidence, seed=seed
    )
    new = Version.of(challenger)
    if champion is None:
        return _alone(store, new, rules, report)
    old = Version.of(champion)
    if old.card.task != new.card.task:
        reason = (
            f"{new.uri} is made for {new.card.task} and {old.uri}, which it would replace, for {old.card.task}; "
            "register it under a name of its own"
        )
        return _alone(store, new, rules, report).model_copy(update={"reasons": (reason,)})
    held_out = choose_held_out(old, new)
    if not held_out.entries:
        why = {"labels_changed": True, "needs_person": _change_in_words(old, new, held_out)}
        return _alone(store, new, rules, report).model_copy(update=why)
    return _side_by_side(store, held_out, old, new, rules, report)


def disagreements_between(store: ContentStore, champion: ExportSource, challenger: ExportSource) -> Disagreements:
    """Return the test images that both versions answer differently; none where they cannot be compared.

    Raises as `compare` does; after it, the answers are in the store.
    """
    old, new = Version.of(champion), Version.of(challenger)
    held_out = choose_held_out(old, new)
    cases: tuple[Disagreement, ...] = ()
    if old.card.task == new.card.task:
        cases = _differing(held_out, *(answers_of(store, version, held_out, _silent) for version in (old, new)))
    return Disagreements(old.uri, new.uri, held_out.root, cases, held_out.is_detection)


def _alone(store: ContentStore, new: Version, rules: ComparisonRules, report: Report) -> VersionComparison:
    held_out = held_out_of(new, set(new.card.labels))
    return VersionComparison(
        metric=FIGURE_OF_TASK[held_out.owner.card.task],
        rules=rules,
        test_set=held_out.told(),
        challenger=_figures(new, held_out, answers_of(store, new, held_out, report)),
    )


def _side_by_side(
    store: ContentStore, held_out: HeldOutSet, old: Version, new: Version, rules: ComparisonRules, report: Report
) -> VersionComparison:
    overlap = find_overlap(
        store, new.source.manifest, [PlacedImage(held_out.root, entry) for entry in held_out.entries]
    )
    before, after = (answers_of(store, version, held_out, report) for version in (old, new))
    champion, challenger = _figures(old, held_out, before), _figures(new, held_out, after)
    lower, upper = _interval(held_out, (old, before), (new, after), rules)
    differing = [case.entry.source_ref for case in _differing(held_out, before, after)]
    are_changed = labels_differ(old, new)
    compared = VersionComparison(
        metric=FIGURE_OF_TASK[held_out.owner.card.task],
        rules=rules,
        test_set=held_out.told(),
        challenger=challenger,
        champion=champion,
        difference=challenger.figure - champion.figure,
        lower=lower,
        upper=upper,
        # Equal versions give equal evidence, whether or not the search was made before.
        overlap=overlap.model_copy(update={"reused": False}),
        labels_changed=are_changed,
        disagreement_count=len(differing),
        disagreements=tuple(differing[:MAX_TOLD]),
        needs_person=_change_in_words(old, new, held_out) if are_changed else "",
    )
    reasons = (*_difference_reasons(compared, lower, upper), *_overlap_reasons(compared, overlap))
    return compared.model_copy(update={"reasons": reasons})


def _figures(version: Version, held_out: HeldOutSet, answers: Answers) -> VersionFigures:
    metrics = measure_answers(version.card, held_out.entries, answers, None)
    return VersionFigures(
        model_uri=version.uri,
        bundle_digest=version.source.bundle_digest,
        figure=headline(metrics),
        per_label=dict(metrics.per_label),
    )


def _interval(
    held_out: HeldOutSet, old: tuple[Version, Answers], new: tuple[Version, Answers], rules: ComparisonRules
) -> tuple[float, float]:
    counts = draw_resamples(len(held_out.entries), rules.resamples, rules.seed)
    champion, challenger = (
        headline_of_resamples(version.card, held_out.entries, answers, counts) for version, answers in (old, new)
    )
    return percentile_interval(challenger - champion, rules.confidence)


def _differing(held_out: HeldOutSet, before: Answers, after: Answers) -> tuple[Disagreement, ...]:
    cases = (Disagreement(*case) for case in zip(held_out.entries, before, after, strict=True))
    return tuple(
        case for case in cases if not agree(case.champion, case.challenger, is_detection=held_out.is_detection)
    )


def _difference_reasons(compared: VersionComparison, lower: float, upper: float) -> Iterator[str]:
    rules, figure = compared.rules, FIGURES_IN_WORDS[compared.metric]
    limit = f"min_difference {rules.min_difference:+g}"
    if rules.strictness == "strict" and lower < rules.min_difference - ROUNDING:
        yield (
            f"{figure} may fall too far: {compared.difference_in_words}, whose lower end must not lie below {limit}; "
            "improve the challenger or, where so few images cannot tell, loosen min_difference in the environment's "
            f"policy and {_by_number(compared)}"
        )
    if rules.strictness == "lenient" and upper < rules.min_difference - ROUNDING:
        yield (
            f"{figure} falls too far: {compared.difference_in_words}, which must not lie wholly below {limit}; improve "
            f"the challenger, or loosen min_difference in the environment's policy and {_by_number(compared)}"
        )


def _by_number(compared: VersionComparison) -> str:
    return f"promote {compared.challenger.model_uri} by its number (--version)"


def _overlap_reasons(compared: VersionComparison, overlap: Overlap) -> Iterator[str]:
    if overlap.copies or overlap.near_duplicates:
        first = overlap.examples[0]
        yield (
            f"{compared.challenger.model_uri} learned from {counted(overlap.copies, 'copy', 'copies')} and "
            f"{counted(overlap.near_duplicates, 'near-duplicate')} of the test images of {compared.test_set.of} "
            f"(first: {first.learned_ref} of its {first.split} images shows {first.test_ref}), so the comparison would "
            "flatter it; train it as the next version of the same dataset (data.name), which keeps these for the test"
        )


def _change_in_words(old: Version, new: Version, held_out: HeldOutSet) -> str:
    added = sorted(set(new.card.labels) - set(old.card.labels))
    lost = sorted(set(old.card.labels) - set(new.card.labels))
    changes = [f"{verb} {', '.join(map(repr, some))}" for verb, some in (("adds", added), ("lacks", lost)) if some]
    change = f"the labels changed: {new.uri} {' and '.join(changes)} compared with {old.uri}"
    images = len(held_out.entries)
    if not images:
        return f"{change}; no test image of {new.uri} carries only labels that both know, so nothing was compared"
    return (
        f"{change}; both were measured on {images} of the {images + held_out.left_out} test images of {new.uri}, those "
        "whose labels both know"
    )
