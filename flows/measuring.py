"""The measuring of a comparison's candidates: the race says whose turn it is, a task measures one fold."""

from contextlib import ExitStack

from flows.compare_config import CompareConfig
from flows.config import EvaluationConfig, TrainConfig
from tasks.compare.race import Race, Turn
from tasks.compare.records import Standing
from tasks.errors import in_one_sentence, is_of_environment
from tasks.manifest.records import Manifest
from tasks.stores.home import Home
from tasks.train.fold_task import measure_fold, shared_pixels
from tasks.train.records import MeasuredFold, StoppedFold
from tasks.train.requirements import require_classifiable


def measure_candidates(home: Home, manifest: Manifest, config: CompareConfig) -> list[Standing]:
    """Measure all candidates on the same folds of train and validation images, as far as the budget goes.

    Whatever a candidate raises, and the libraries behind it, ends that candidate alone.

    Raises:
        DataError: when no classifier can be learned from the data.
        Exception: what a disk or a server raised, when no candidate is left.
    """
    require_classifiable(manifest)
    race = Race(config.candidates, config.folds, config.budget_seconds)
    requests: dict[str, TrainConfig] = {}
    failures: list[Exception] = []
    with ExitStack() as kept:
        for turn in race.turns():
            try:
                if turn.candidate not in requests:
                    requests[turn.candidate] = _request(config, turn.candidate)
                    kept.enter_context(shared_pixels(home, manifest, requests[turn.candidate]))
                request = requests[turn.candidate]
                race.measured(turn, _measure(home, manifest, config, request, turn, race.until))
            except Exception as error:
                failures.append(error)
                race.failed(turn, in_one_sentence(error))
    gone = [error for error in failures if is_of_environment(error)]
    if gone and len(failures) == len(config.candidates):
        raise gone[-1]
    return race.standings()


def _request(config: CompareConfig, candidate: str) -> TrainConfig:
    return config.request_of(candidate).model_copy(update={"evaluation": EvaluationConfig(folds=config.folds)})


def _measure(
    home: Home, manifest: Manifest, config: CompareConfig, request: TrainConfig, turn: Turn, until: float
) -> MeasuredFold | StoppedFold:
    return measure_fold(
        home,
        manifest,
        request,
        turn.candidate,
        turn.fold + 1,
        trials=config.trials_of(turn.candidate),
        until=until,
        # Who does without views takes the images' own features from those of who does not.
        with_views=config.training.views,
    )
