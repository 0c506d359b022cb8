"""The data report's fixed sentences: verdicts, and what the findings' codes of annotations mean."""

from tasks.report.wording import MEANINGS

VERDICTS: dict[str, tuple[str, str]] = {
    "ready": (
        "Usable as it is",
        "The numbers give no cause to wait: train with it, and let the model's own report tell what to add.",
    ),
    "look": (
        "Usable, but look first",
        "A model can be trained with it. The points below cost little to look at now, and much to find out later.",
    ),
    "unusable": (
        "Not usable as it is",
        "A model cannot be trained or tested with it. Follow the points below, then read the data again.",
    ),
}
"""Per verdict: the words, and what they mean."""

TASKS = {
    "classification": "labels of whole images (classification)",
    "detection": "boxes around objects (detection)",
    "anomaly": "normal images, and what is not normal (anomaly)",
}
MODES = {
    "open": "open: images without boxes are true negatives, and limits are wide",
    "aws": "aws: only what Amazon Rekognition Custom Labels accepts",
}

ANNOTATION_MEANINGS = {
    **MEANINGS,
    "ERROR_BOUNDING_BOX_TOO_SMALL": "A box is no larger than a pixel once its image is scaled to 1280 pixels.",
    "ERROR_DUPLICATE_IMAGE_ID": "Several images have one id, so their annotations cannot be told apart.",
    "ERROR_EMPTY_MANIFEST": "The manifest is empty.",
    "ERROR_IMAGE_SIZE_DIFFERS": "The boxes were drawn on a picture of another size.",
    "ERROR_INSUFFICIENT_IMAGES_PER_LABEL_FOR_AUTOSPLIT": "A label has too few images to set some aside for testing.",
    "ERROR_INSUFFICIENT_LABEL_OVERLAP": "Fewer than half of the labels that are trained on are tested.",
    "ERROR_INSUFFICIENT_USABLE_LABEL_OVERLAP": "Fewer than half of the usable labels that are trained on are tested.",
    "ERROR_INVALID_ANNOTATION": "An annotation cannot be used; the others of its image are.",
    "ERROR_INVALID_ANNOTATION_FILE": "The annotation file cannot be read.",
    "ERROR_INVALID_BOUNDING_BOX": "A box lies off its image, or its coordinates are no numbers.",
    "ERROR_INVALID_CATEGORY": "A category has no usable name or id.",
    "ERROR_INVALID_CONFIDENCE": "A confidence is no number from 0 to 1.",
    "ERROR_INVALID_IMAGE_ID": "An image has no usable id.",
    "ERROR_INVALID_JSON_LINE": "The line is not JSON.",
    "ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT": "The label attribute is not built as its type asks.",
    "ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT": "The label attribute's metadata is not built as its type asks.",
    "ERROR_INVALID_LABEL_NAME_LENGTH": "The label's name is too long.",
    "ERROR_INVALID_MASK": "The mask is no mask: a photograph, or a file whose pixels name no class.",
    "ERROR_INVALID_SEGMENTATION": "An outline cannot be read.",
    "ERROR_INVALID_SOURCE_REF_FORMAT": "The reference to the image cannot be followed.",
    "ERROR_LINE_TOO_LONG": "The line is longer than accepted.",
    "ERROR_MANIFEST_INACCESSIBLE_OR_UNSUPPORTED_FORMAT": "The manifest's name has no extension.",
    "ERROR_MANIFEST_ROWS_EXCEEDS_MAXIMUM": "The manifest has more lines than accepted.",
    "ERROR_MANIFEST_SIZE_TOO_LARGE": "The manifest is larger than accepted.",
    "ERROR_MANIFEST_TOO_FEW_LABELS": "There are fewer labels than a model needs.",
    "ERROR_MANIFEST_TOO_FEW_USABLE_LABELS": "Too few labels are on lines that can be used.",
    "ERROR_MANIFEST_TOO_MANY_LABELS": "There are more labels than accepted.",
    "ERROR_MASK_SIZE": "The mask has another size than its image.",
    "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE": "There are fewer confidences than boxes.",
    "ERROR_MISSING_CLASS_MAP_ID": "A box's class has no name in the class map.",
    "ERROR_MISSING_SOURCE_REF": "The line names no image.",
    "ERROR_MISSING_SPLIT": "A split that the source names is not there.",
    "ERROR_NO_LABEL_ATTRIBUTES": "The line has no label attribute with its metadata.",
    "ERROR_NO_VALID_ANNOTATIONS": "None of the image's annotations is valid.",
    "ERROR_NO_VALID_LABEL_ATTRIBUTES": "None of the line's label attributes is valid.",
    "ERROR_TOO_MANY_BOUNDING_BOXES": "The image has more boxes than allowed.",
    "ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST": "More than a fifth of the lines are invalid.",
    "ERROR_TOO_MANY_LABELS_PER_IMAGE": "The image has more labels than accepted.",
    "ERROR_TOO_MANY_RECORDS_IN_ERROR": "More than a fifth of the lines would never enter a dataset.",
    "ERROR_UNKNOWN_IMAGE_ID": "An annotation belongs to no image.",
    "ERROR_UNSUPPORTED_USE_CASE_TYPE": "The label attribute is of a type that is not supported.",
    "WARNING_CLASS_COUNT": "The number of classes stated is not that of their names.",
    "WARNING_CROWD_REGION": "A region of many objects gives no box.",
    "WARNING_DUPLICATE_SOURCE_REF": "The image is named more than once.",
    "WARNING_EMPTY_MASK": "The mask gives no box, so the image counts as having none.",
    "WARNING_INVALID_CONFIDENCE": "A confidence that cannot be used counts as 1.",
    "WARNING_INVALID_MASK": "The mask cannot be used; the image's boxes are known without it.",
    "WARNING_INVALID_ROWS_IN_MANIFEST": "Some lines are invalid, but not too many.",
    "WARNING_LABELS_WITHOUT_IMAGE": "A label file belongs to no image.",
    "WARNING_LABEL_WITHOUT_BOX": "A label of the whole image stands beside boxes; detection leaves it aside.",
    "WARNING_LINKS_SPLITS": "The image shows or belongs with what another split holds, so it was left out.",
    "WARNING_NEAR_DUPLICATE": "The image shows what another shows; both are in one split.",
    "WARNING_NEAR_DUPLICATE_ACROSS_SPLITS": "Two images of earlier versions show the same in different splits.",
    "WARNING_NEAR_DUPLICATE_LABELS": "Two images show the same and are labelled differently.",
    "WARNING_NOT_IN_FORMAT": "Something that the format written has no place for.",
    "WARNING_NO_ANNOTATIONS": "Somebody looked at the image, and drew no box.",
    "WARNING_NO_ATTRIBUTE_ANNOTATIONS": "A label attribute holds no annotation.",
    "WARNING_NO_GROUP": "No group was found for some images; each stands alone.",
    "WARNING_OTHER_USE_CASE": "The line is of another kind than most, and was passed over.",
    "WARNING_RENAMED_FILE": "The image was written under another name, for two would have had one.",
    "WARNING_ROUNDED_BOX": "A box lay between pixels and went to the nearest ones.",
    "WARNING_SECOND_MASK": "Of several masks of the image the first is read.",
    "WARNING_SEGMENTATION_AS_BOXES": "Outlines became boxes.",
    "WARNING_SMALL_COMPONENT": "Specks of the mask are too small for a box.",
    "WARNING_UNANNOTATED_FILE": "The image stands in the folder, and no annotation names it.",
    "WARNING_UNMATCHED_PIXELS": "Pixels of the mask are of no class.",
    "WARNING_UNSUPPORTED_USE_CASE_TYPE": "An attribute of a kind that is not read was passed over.",
    "WARNING_ZERO_BASED_BOXES": "The boxes count pixels from 0, against the format's own rule.",
}

_PLURALS = {"box": "boxes", "copy": "copies"}


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, `1 box` or `1,024 boxes`."""
    return f"{count:,} {noun if count == 1 else _PLURALS.get(noun, noun + 's')}"
