"""Summary and annotated manifests, in the shape of the managed service (the reference, 1.10)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config import GroundTruthConfig
from tasks.dataset.entries import SPLITS
from tasks.errors import RequestError
from tasks.export.task import require_exportable
from tasks.export.validation import TESTING_FILE, TRAINING_FILE
from tasks.stores.home import Home
from tests.homes import home_at
from tests.makers import paint_class_folders, paint_mvtec
from tests.tasks.export.exporting import Exported, export, lines_of
from tests.tasks.ground_truth.manifest_lines import boxes, line, single

PARTS = {
    "use_case": str,
    "total_json_lines": int,
    "valid_json_lines": int,
    "invalid_json_lines": int,
    "ignored_json_lines": int,
    "error_json_line_indices": list,
    "errors": list,
}
S3 = "s3://bucket/photos/"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_at(tmp_path_factory.mktemp("home") / "home")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return paint_class_folders(tmp_path / tmp_path.name, ("round", "square"), 10, side=64)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    return paint_mvtec(tmp_path / tmp_path.name, good_train=6, good_test=2, images_per_defect=6, side=64)


def codes(holder: dict, key: str = "errors") -> list[str]:
    for verdict in holder.get(key, ()):
        assert set(verdict) == {"code", "message"}
    return [verdict["code"] for verdict in holder.get(key, ())]


def by_name(lines: list[dict]) -> dict[str, dict]:
    return {Path(one["source-ref"]).name: one for one in lines if "source-ref" in one}


def found(exported: Exported) -> set[tuple[str, str]]:
    return {(finding.code, Path(finding.source_ref).name) for finding in exported.findings}


def require_reconciled(exported: Exported) -> None:
    """The summary has the service's shape, and its counts are those of the annotated lines."""
    summary = exported.summary
    assert set(summary) == {"statistics", "errors"}
    assert set(summary["statistics"]) == {"training", "testing"}
    for name, lines in (("training", exported.training), ("testing", exported.testing)):
        statistics = summary["statistics"][name]
        assert {key: type(value) for key, value in statistics.items()} == PARTS
        judged = ("valid_json_lines", "invalid_json_lines", "ignored_json_lines")
        assert statistics["total_json_lines"] == len(lines) == sum(statistics[key] for key in judged)
        with_errors = [number for number, one in enumerate(lines, start=1) if '"errors":' in json.dumps(one)]
        assert statistics["error_json_line_indices"] == with_errors


def test_clean_folder_has_nothing_to_say(home: Home, photos: Path, tmp_path: Path) -> None:
    exported = export(home, photos, tmp_path / "out")
    require_reconciled(exported)
    assert len(exported.training) + len(exported.testing) == 20
    assert exported.summary["statistics"]["training"]["use_case"] == "IMAGE_LEVEL_LABELS"
    written = [json.loads(text) for text in (exported.folder / "test.manifest").read_text().splitlines()]
    assert exported.testing == written
    assert (exported.record.reasons, exported.findings) == ((), [])


def test_negatives_are_valid_in_open_mode(home: Home, masked: Path, tmp_path: Path) -> None:
    exported = export(home, masked, tmp_path / "out")
    require_reconciled(exported)
    for statistics in exported.summary["statistics"].values():
        assert statistics["use_case"] == "OBJECT_LOCALIZATION"
        assert statistics["valid_json_lines"] == statistics["total_json_lines"]


@pytest.mark.parametrize("prefix", ["", S3], ids=["relative", "s3"])
def test_images_that_were_left_out_have_their_errors(home: Home, photos: Path, tmp_path: Path, prefix: str) -> None:
    (photos / "round" / "000.png").write_bytes(b"no image")
    (photos / "square" / "001.png").write_bytes(b"")
    (photos / "round" / "notes.txt").write_text("not an image at all")
    exported = export(home, photos, tmp_path / "out", reference_prefix=prefix)
    require_reconciled(exported)
    faulty = {one["source-ref"]: codes(one) for one in exported.training if "errors" in one}
    assert faulty == {
        f"{prefix}round/000.png": ["ERROR_INVALID_IMAGE"],
        f"{prefix}square/001.png": ["ERROR_EMPTY_FILE"],
    }
    assert exported.summary["statistics"]["training"]["invalid_json_lines"] == 2
    assert all(one["source-ref"].startswith(f"{prefix}round/0") for one in exported.testing if one["label"] == 0)


def test_bad_masks_are_errors_of_their_images(home: Home, masked: Path, tmp_path: Path) -> None:
    (masked / "ground_truth" / "ring" / "003_mask.png").write_bytes(b"no mask")
    exported = export(home, masked, tmp_path / "out")
    require_reconciled(exported)
    faulty = {one["source-ref"]: codes(one) for one in exported.training if "errors" in one}
    assert faulty == {"test/ring/003.png": ["ERROR_INVALID_IMAGE"]}
    assert exported.record.findings == {"ERROR_INVALID_IMAGE": 1}


def test_findings_of_annotation_files_make_no_lines(home: Home, photos: Path, tmp_path: Path) -> None:
    rows = ["image,label", *(f"{path.relative_to(photos)},{path.parent.name}" for path in photos.rglob("*.png")), "x"]
    (photos / "labels.csv").write_text("\n".join(rows) + "\n")
    exported = export(home, photos, tmp_path / "out")
    require_reconciled(exported)
    assert exported.record.findings == {"ERROR_INVALID_ANNOTATION": 1}
    assert len(exported.training) + len(exported.testing) == 20


def test_warnings_stand_at_their_images(home: Home, masked: Path, tmp_path: Path) -> None:
    (masked / "test" / "ring" / "000.png").rename(masked / "test" / "ring" / "000.jpg")
    exported = export(home, masked, tmp_path / "out")
    warned = [one for one in (*exported.training, *exported.testing) if '"warnings":' in json.dumps(one)]
    assert [one["source-ref"] for one in warned] == ["test/ring/000.jpg"]
    assert codes(warned[0]["boxes"], "warnings") == ["WARNING_WRONG_SUFFIX"]


# The managed service's rules.


@pytest.mark.parametrize("data", [{}, {"split": "80/20"}], ids=["three splits", "two splits"])
def test_good_classification_set_passes_the_services_rules(
    home: Home, photos: Path, tmp_path: Path, data: dict
) -> None:
    exported = export(home, photos, tmp_path / "out", data={"rules": "aws", **data}, reference_prefix=S3)
    require_reconciled(exported)
    assert exported.record.reasons == ()
    assert exported.findings == []
    assert exported.summary["errors"] == []
    for name in ("training", "testing"):
        assert exported.summary["statistics"][name]["errors"] == []
        assert exported.summary["statistics"][name]["invalid_json_lines"] == 0
    assert all(one["source-ref"].startswith(S3) for one in exported.testing)
    assert not any("keeneye-metadata" in one for one in (*exported.training, *exported.testing))


def test_relative_references_are_rejected_with_reasons(home: Home, photos: Path, tmp_path: Path) -> None:
    exported = export(home, photos, tmp_path / "out", data={"rules": "aws"})
    require_reconciled(exported)
    wanted = (
        "ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST of the training manifest: 16 of 16 lines are invalid, more than 20%"
    )
    assert wanted in exported.record.reasons
    assert len(set(exported.record.reasons)) == len(exported.record.reasons) >= 4
    assert {code for one in exported.training for code in codes(one)} == {"ERROR_INVALID_SOURCE_REF_FORMAT"}
    assert [finding.code for finding in exported.findings] == ["ERROR_INVALID_SOURCE_REF_FORMAT"]
    assert "20 of 20 lines" in exported.findings[0].message
    assert "reference_prefix" in exported.findings[0].message
    assert (exported.folder / "train.manifest").is_file()


def test_negatives_that_the_service_passes_over_are_told(home: Home, masked: Path, tmp_path: Path) -> None:
    exported = export(home, masked, tmp_path / "out", data={"rules": "aws"}, reference_prefix=S3)
    require_reconciled(exported)
    ignored = sum(part["ignored_json_lines"] for part in exported.summary["statistics"].values())
    assert ignored == sum(exported.manifest.negatives.values()) == 8
    assert exported.record.findings == {"WARNING_NO_ANNOTATIONS": 1}
    assert "8 of 20 lines" in exported.findings[0].message


# A source with manifests of its own: its lines are annotated, not ours.


def named(ref: str, label: str, **changes: object) -> str:
    return json.dumps(line(single(label=label, **changes), ref=ref))


def boxed(ref: str, *placed: tuple[int, ...]) -> str:
    return json.dumps(line(boxes(*placed, size=(64, 64)), ref=ref))


def refs_of(photos: Path) -> list[str]:
    return sorted(f"{S3}{path.relative_to(photos).as_posix()}" for path in photos.rglob("*.png"))


def labels_of(photos: Path) -> list[str]:
    return [named(ref, ref.split("/")[-2]) for ref in refs_of(photos)]


@pytest.fixture
def stated(photos: Path, tmp_path: Path) -> Callable[..., Exported]:
    """Write manifests of a folder of images, and export them."""

    def run(home: Home, manifests: dict[str, list[str]], mode: str = "open", **options: object) -> Exported:
        folder = tmp_path / "manifests"
        for name, lines in manifests.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("\n".join(lines) + "\n")
        data = {
            "image_root": str(photos),
            "rewrite": (f"{S3}=",),
            "rules": mode,
            "name": tmp_path.name,
            "max_invalid_fraction": 0.9,
        }
        return export(home, folder, tmp_path / "out", data=data, **options)

    return run


BAD_LINES = {
    "no JSON": ("{", "ERROR_INVALID_JSON_LINE"),
    "no source-ref": ('{"a": 1}', "ERROR_MISSING_SOURCE_REF"),
    "no file": (named(f"{S3}round/none.png", "round"), "ERROR_INVALID_IMAGE"),
    "outside": (named("../../etc/passwd", "round"), "ERROR_OUTSIDE_SOURCE"),
    "elsewhere": (named("s3://other/round/000.png", "round"), "ERROR_INVALID_SOURCE_REF_FORMAT"),
    "no reference": (named("", "round"), "ERROR_INVALID_SOURCE_REF_FORMAT"),
}


@pytest.mark.parametrize(("text", "code"), BAD_LINES.values(), ids=BAD_LINES)
def test_own_lines_are_annotated(
    home: Home, photos: Path, stated: Callable[..., Exported], text: str, code: str
) -> None:
    good = labels_of(photos)
    is_bad_line = code != "ERROR_INVALID_IMAGE"
    exported = stated(home, {"all.manifest": [*good[:3], text, *good[3:]]})
    require_reconciled(exported)
    assert not (exported.folder / TESTING_FILE).exists()
    lines = exported.training
    assert len(lines) == 21
    assert codes(lines.pop(3)) == [code]
    assert lines == [json.loads(one) for one in good]
    assert exported.summary["statistics"]["training"]["error_json_line_indices"] == [4]
    assert exported.record.findings == {code: 1} | ({"WARNING_INVALID_ROWS_IN_MANIFEST": 1} if is_bad_line else {})


def test_manifests_for_testing_are_annotated_apart(home: Home, photos: Path, stated: Callable[..., Exported]) -> None:
    lines = labels_of(photos)
    (photos / "square" / "009.png").write_bytes(b"no image")
    exported = stated(
        home,
        {"train.manifest": lines[0::2], "validation.manifest": lines[1:7:2], "test.manifest": [*lines[7::2], "{"]},
    )
    require_reconciled(exported)
    assert [one["source-ref"] for one in exported.training] == [
        json.loads(one)["source-ref"] for one in (*lines[0::2], *lines[1:7:2])
    ]
    faulty = [codes(one) for one in exported.testing if "errors" in one]
    assert faulty == [["ERROR_INVALID_IMAGE"], ["ERROR_INVALID_JSON_LINE"]]
    assert exported.summary["statistics"]["testing"]["invalid_json_lines"] == 2


def test_boxes_that_were_left_out_stand_at_their_attribute(
    home: Home, photos: Path, stated: Callable[..., Exported]
) -> None:
    lines = [boxed(ref, (0, 4, 5, 20, 21)) for ref in refs_of(photos)]
    lines[2] = boxed(refs_of(photos)[2], (0, 4, 5, 20, 21), (5, 60, 60, 20, 20))
    lines[3] = boxed(refs_of(photos)[3], (0, 60, 60, 20, 20))
    exported = stated(home, {"all.manifest": lines})
    require_reconciled(exported)
    annotations = exported.training[2]["bolts"]["annotations"]
    assert [codes(one) for one in annotations] == [[], ["ERROR_INVALID_BOUNDING_BOX"]]
    assert "errors" in exported.training[3]
    assert exported.summary["statistics"]["training"]["valid_json_lines"] == 19
    assert sum(exported.manifest.totals.values()) == 19


def test_lines_that_the_service_drops_in_silence_are_told(
    home: Home, photos: Path, stated: Callable[..., Exported]
) -> None:
    lines = labels_of(photos)
    long = json.loads(named(f"{S3}round/000.png", "round")) | {"padding": "x" * 100_000}
    dropped = [lines[5], json.dumps(long), named("photo.png", "round"), '{"species": 0}']
    exported = stated(home, {"all.manifest": [*lines, *dropped]}, mode="aws", reference_prefix=S3)
    require_reconciled(exported)
    assert {code for code, _ in found(exported)} == {
        "WARNING_DUPLICATE_SOURCE_REF",
        "ERROR_LINE_TOO_LONG",
        "ERROR_INVALID_SOURCE_REF_FORMAT",
        "ERROR_MISSING_SOURCE_REF",
        "WARNING_INVALID_ROWS_IN_MANIFEST",
    }
    messages = [finding.message for finding in exported.findings]
    assert sum(any(f"line {number}: " in message for message in messages) for number in (21, 22, 23, 24)) == 4
    assert exported.record.reasons == ()
    assert exported.summary["statistics"]["training"]["invalid_json_lines"] == 3
    assert exported.summary["statistics"]["training"]["ignored_json_lines"] == 1


def test_lines_of_the_other_kind_are_passed_over(home: Home, photos: Path, stated: Callable[..., Exported]) -> None:
    lines = labels_of(photos)
    lines[4] = boxed(refs_of(photos)[4], (0, 4, 5, 20, 21))
    exported = stated(home, {"all.manifest": lines}, mode="aws", reference_prefix=S3)
    require_reconciled(exported)
    assert codes(exported.training[4], "warnings") == ["WARNING_OTHER_USE_CASE"]
    assert exported.record.findings == {"WARNING_OTHER_USE_CASE": 1}
    assert sum(exported.manifest.totals.values()) == 19


def test_source_that_breaks_the_services_rules_is_rejected(
    home: Home, photos: Path, stated: Callable[..., Exported]
) -> None:
    lines = [named(ref, "round") for ref in refs_of(photos)]
    exported = stated(home, {"train.manifest": lines[:15], "test.manifest": lines[15:]}, mode="aws")
    require_reconciled(exported)
    assert [reason.partition(":")[0] for reason in exported.record.reasons] == [
        "ERROR_MANIFEST_TOO_FEW_LABELS of the training manifest"
    ]


def test_written_lines_keep_the_references_that_the_service_needs(
    home: Home, photos: Path, stated: Callable[..., Exported]
) -> None:
    lines = [named(ref, Path(ref).parent.name) for ref in refs_of(photos)]
    exported = stated(home, {"one.manifest": lines}, mode="aws")
    assert exported.record.reasons == ()
    written = [one["source-ref"] for split in SPLITS for one in lines_of(exported.folder / f"{split}.manifest")]
    assert sorted(written) == sorted(json.loads(one)["source-ref"] for one in lines)
    assert all(ref.startswith(S3) for ref in written)


def test_annotated_copy_is_a_source_too(
    home: Home, photos: Path, stated: Callable[..., Exported], tmp_path: Path
) -> None:
    first = stated(home, {"all.manifest": [*labels_of(photos), "{"]})
    data = {"image_root": str(photos), "rewrite": (f"{S3}=",), "name": tmp_path.name}
    again = export(home, first.folder / TRAINING_FILE, tmp_path / "again", data=data)
    assert {split: {one.sha256 for one in again.divided[split]} for split in SPLITS} == {
        split: {one.sha256 for one in first.divided[split]} for split in SPLITS
    }
    assert [codes(one) for one in again.training if "errors" in one] == [["ERROR_MISSING_SOURCE_REF"]]


@pytest.mark.parametrize("name", ["test.manifest", "my-testing.manifest", "test/output.manifest"])
def test_manifest_named_for_testing_as_ingest_takes_it(
    home: Home, photos: Path, stated: Callable[..., Exported], name: str
) -> None:
    lines = labels_of(photos)
    train = name.replace("testing", "training").replace("test", "train")
    exported = stated(home, {train: lines[:16], name: lines[16:]})
    require_reconciled(exported)
    assert (len(exported.training), len(exported.testing)) == (16, 4)


def test_manifest_that_is_alone_is_trained_on(home: Home, photos: Path, stated: Callable[..., Exported]) -> None:
    exported = stated(home, {"test.manifest": labels_of(photos)})
    require_reconciled(exported)
    assert (len(exported.training), len(exported.testing)) == (20, 0)


@pytest.mark.parametrize("has_own", ["source", "test source"])
def test_one_of_two_sources_has_manifests(home: Home, photos: Path, tmp_path: Path, has_own: str) -> None:
    folder = paint_class_folders(tmp_path / "folder" / tmp_path.name, ("round", "square"), 3, side=64, seed=7)
    (photos / "all.manifest").write_text("\n".join([*labels_of(photos), "{"]) + "\n")
    source, test_source = (photos, folder) if has_own == "source" else (folder, photos)
    data = {"test_source": str(test_source), "rewrite": (f"{S3}=",)}
    exported = export(home, source, tmp_path / "out", data=data)
    require_reconciled(exported)
    own, ours = (exported.training, exported.testing) if has_own == "source" else (exported.testing, exported.training)
    assert (len(own), len(ours)) == (21, 6)
    assert codes(own[20]) == ["ERROR_INVALID_JSON_LINE"]
    assert {Path(one["source-ref"]).parts[0] for one in ours} == {"round", "square"}


def test_findings_of_a_test_source_are_not_those_of_a_source_with_the_same_names(
    home: Home, photos: Path, tmp_path: Path
) -> None:
    tested = paint_class_folders(tmp_path / "tested", images_per_label=4, seed=9)
    (tested / "round" / "000.png").write_bytes(b"no image")
    exported = export(home, photos, tmp_path / "out", data={"test_source": str(tested)})
    require_reconciled(exported)
    assert [codes(one) for one in exported.training if "errors" in one] == []
    faulty = [one["source-ref"] for one in exported.testing if "errors" in one]
    assert faulty == ["round/000.png"]
    assert exported.summary["statistics"]["testing"]["invalid_json_lines"] == 1
    (finding,) = [one for one in exported.findings if one.severity == "error"]
    assert finding.in_test_source


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"format": "voc", "reference_prefix": "s3://b/"}, "no references", id="prefix without references"),
        pytest.param({"data": {"group_by": "part-(("}}, "is no regular expression", id="pattern"),
    ],
)
def test_impossible_requests_are_refused_before_any_work(options: dict, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        require_exportable(GroundTruthConfig(**options))
