"""The request model of `keeneye compare`."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from flows.config import (
    Algorithm,
    ClassifierFeatures,
    DataConfig,
    Duration,
    EvaluationConfig,
    GateConfig,
    RegistryConfig,
    ShardsConfig,
    TrainConfig,
    TrainingConfig,
    idle_fields,
    seconds_of,
)
from flows.group_config import Group
from tasks.errors import RequestError

PLAIN, SEARCHED = "plain", "searched"
_NETWORKS = ("cnn", "transfer", "finetune")
_HEADS = tuple(name for name in get_args(Algorithm) if name not in _NETWORKS)
_FEATURES: tuple[str, ...] = get_args(ClassifierFeatures)
_FORM = rf"^({PLAIN}|({'|'.join(_HEADS)})(:[a-z_]+(\+[a-z_]+)*)?|({'|'.join(_NETWORKS)})(:{SEARCHED})?)$"


def _known(candidate: str) -> str:
    """Refuse what names no way to train, and say what comes nearest."""
    algorithm, colon, rest = candidate.partition(":")
    names = (PLAIN, *_HEADS, *_NETWORKS)
    if algorithm not in names:
        raise ValueError(f"{algorithm!r} names no way to train{_nearest(algorithm, names)}; give {', '.join(names)}")
    if not colon:
        return candidate
    if algorithm in _HEADS:
        wanted = rest.split("+")
        strange = next((name for name in wanted if name not in _FEATURES), None)
        if strange is not None:
            near = _nearest(strange, _FEATURES)
            raise ValueError(f"{strange!r} names no features{near}; give {', '.join(_FEATURES)}")
        if len(set(wanted)) < len(wanted):
            raise ValueError("it names features twice; once is enough")
    elif algorithm == PLAIN or rest != SEARCHED:
        more = "" if algorithm == PLAIN else f" or {algorithm}:{SEARCHED}"
        raise ValueError(f"what {algorithm} sees cannot be chosen; give {algorithm}{more}")
    return candidate


def _nearest(word: str, words: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, words, n=1)
    return f", did you mean {found[0]}" if found else ""


CandidateName = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"pattern": _FORM})]
Budget = Duration
Folds = Annotated[int, Field(ge=2, le=20)]
Trials = Annotated[int, Field(ge=2, le=100)]

CANDIDATES: tuple[CandidateName, ...] = (
    PLAIN,
    *("logistic:embedding", "logistic:stages", "knn:embedding", "knn:stages", "svm:embedding", "svm:stages"),
    *("svm:lbp+colour+hog", "random_forest:embedding", "random_forest:stages"),
    *("ensemble:embedding", "ensemble:stages", "auto"),
    *("transfer", "cnn", "finetune", "transfer:searched", "cnn:searched", "finetune:searched"),
)
"""The default, simple and quick ones first."""


class CompareConfig(Group):
    """Measure many ways to train on the same folds, and say which to prefer."""

    model_config = ConfigDict(validate_by_name=True)

    data: DataConfig = Field(
        default=DataConfig(), description="Where the images come from.", json_schema_extra={"position": 1}
    )
    candidates: tuple[CandidateName, ...] = Field(
        default=CANDIDATES,
        min_length=1,
        max_length=100,
        description="What is compared: an algorithm, with what it sees after a colon (svm:stages, "
        "logistic:embedding+stages), a network, with :searched to try several of its options, or plain, logistic "
        "regression on the embedding alone.",
        json_schema_extra={"position": 2},
    )
    budget: Budget = Field(
        default="30m",
        description="The longest that measuring may take, as 90s, 10m or 2h; what cannot end in time is stopped.",
        json_schema_extra={"position": 3},
    )
    folds: Folds = Field(
        default=5,
        description="Folds that every candidate is measured on; fewer are used when a label has fewer images.",
        json_schema_extra={"position": 4},
    )
    trials: Trials = Field(
        default=8,
        description="Options that a network marked :searched tries in each fold, on images held out inside it.",
        json_schema_extra={"position": 5},
    )
    training: TrainingConfig = Field(
        default=TrainingConfig(),
        description="What all candidates have in common; algorithm and features are the candidates' own.",
        json_schema_extra={"position": 6},
    )
    gate: GateConfig = Field(
        default=GateConfig(), description="What a shipped model must reach.", json_schema_extra={"position": 7}
    )
    registry: RegistryConfig = Field(
        default=RegistryConfig(), description="Where a shipped model goes.", json_schema_extra={"position": 8}
    )
    ship: bool = Field(
        default=False,
        description="Train the recommended candidate at once, through its gate into the registry.",
        json_schema_extra={"position": 9},
    )
    shards: ShardsConfig = Field(
        default=ShardsConfig(),
        description="Who carries out the work on images.",
        json_schema_extra={"position": 10},
    )
    explain: bool = Field(
        default=True,
        description="Show on the page where the recommended candidate looks; takes some seconds.",
        json_schema_extra={"position": 11},
    )
    as_json: bool = Field(
        default=False, alias="json", description="One JSON line instead of a table.", json_schema_extra={"position": 12}
    )

    @property
    def budget_seconds(self) -> float:
        """The budget (seconds)."""
        return seconds_of(self.budget)

    def trials_of(self, candidate: str) -> int:
        """Return how many options a candidate tries in each fold; 1 takes them as they are."""
        return self.trials if candidate.endswith(f":{SEARCHED}") else 1

    def request_of(self, candidate: str, options: Mapping[str, Any] | None = None) -> TrainConfig:
        """Return the training that a candidate stands for.

        Args:
            candidate: its name.
            options: of its network, in place of those of the request.

        Raises:
            RequestError: when no such training can be asked for.
        """
        own = _own_training(candidate)
        training = self.training.model_dump(exclude_defaults=True)
        for field in _not_used(own["algorithm"]):
            _drop(training, field.removeprefix("training.").split("."))
        if options:
            training["network"] = {**training.get("network", {}), **options}
        groups = {
            "data": self.data,
            "evaluation": EvaluationConfig(explain=self.explain),
            "gate": self.gate,
            "registry": self.registry,
            "shards": self.shards,
        }
        try:
            return TrainConfig.model_validate({**groups, "training": training | own})
        except ValidationError as error:
            reasons = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
            raise RequestError(f"{candidate} cannot be trained: {reasons}") from error

    @model_validator(mode="after")
    def _leaves_the_choice_to_the_candidates(self) -> Self:
        given = self.training.model_dump(exclude_defaults=True)
        idle = [
            f"training.{name}" for name in ("algorithm", "features", "detector", "anomaly", "limit") if name in given
        ]
        if idle:
            raise ValueError(
                f"{' and '.join(idle)} {'does' if len(idle) == 1 else 'do'} nothing in a comparison of classifiers; "
                "name what is compared in candidates"
            )
        twice = sorted({name for name in self.candidates if self.candidates.count(name) > 1})
        if twice:
            raise ValueError(f"candidates names {' and '.join(twice)} twice; once is enough")
        return self

    @model_validator(mode="after")
    def _has_a_candidate_that_can_be_trained(self) -> Self:
        reasons = []
        for candidate in self.candidates:
            try:
                self.request_of(candidate)
            except RequestError as error:
                reasons.append(error.message)
            else:
                return self
        raise ValueError("; ".join(reasons))


def _own_training(candidate: str) -> dict[str, Any]:
    """Return the fields of `training` that a candidate's name decides."""
    algorithm, _, rest = candidate.partition(":")
    if candidate == PLAIN:
        return {"algorithm": "logistic", "features": ("embedding",), "views": False}
    if candidate == "auto":
        # Networks are candidates of their own; what is shipped is what was measured.
        return {"algorithm": "auto", "limit": "0s"}
    if rest in ("", SEARCHED):
        return {"algorithm": algorithm}
    return {"algorithm": algorithm, "features": tuple(rest.split("+"))}


def _not_used(algorithm: Algorithm) -> tuple[str, ...]:
    # What a cnn starts from is nothing, whatever the weights of the other networks; `auto` tries no network here.
    others = {"cnn": ("training.weights",), "auto": ("training.device",)}
    return (*idle_fields(algorithm), *others.get(algorithm, ()))


def _drop(values: dict[str, Any], path: Sequence[str]) -> None:
    for name in path[:-1]:
        values = values.get(name, {})
    values.pop(path[-1], None)
