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
}
MODES = {
    "open": "open: images without boxes are true negatives, and limits are wide",
    "aws": "aws: only what Amazon Rekognition Custom Labels accepts",
}

ANNOTATION_MEANINGS = {
    **MEANINGS,
    "ERROR_BOUNDING_BOX_TOO_SMALL": "A box is no larger than a pixel once its image is scaled to 1280 pixels.",
    "ERROR_INVALID_BOUNDING_BOX": "A box lies off its image, or its coordinates are no numbers.",
    "ERROR_INVALID_JSON_LINE": "The line is not JSON.",
    "ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT": "The label attribute is not built as its type asks.",
    "ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT": "The label attribute's metadata is not built as its type asks.",
    "ERROR_INVALID_LABEL_NAME_LENGTH": "The label's name is too long.",
    "ERROR_INVALID_MASK": "The mask is no mask: a photograph, or a file whose pixels name no class.",
    "ERROR_INVALID_SOURCE_REF_FORMAT": "The reference to the image cannot be followed.",
    "ERROR_MASK_SIZE": "The mask has another size than its image.",
    "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE": "There are fewer confidences than boxes.",
    "ERROR_MISSING_CLASS_MAP_ID": "A box's class has no name in the class map.",
    "ERROR_MISSING_SOURCE_REF": "The line names no image.",
    "ERROR_NO_LABEL_ATTRIBUTES": "The line has no label attribute with its metadata.",
    "ERROR_NO_VALID_ANNOTATIONS": "None of the image's annotations is valid.",
    "ERROR_NO_VALID_LABEL_ATTRIBUTES": "None of the line's label attributes is valid.",
    "ERROR_TOO_MANY_BOUNDING_BOXES": "The image has more boxes than allowed.",
    "ERROR_UNSUPPORTED_USE_CASE_TYPE": "The label attribute is of a type that is not supported.",
    "WARNING_DUPLICATE_SOURCE_REF": "The image is named more than once.",
    "WARNING_NO_ANNOTATIONS": "Somebody looked at the image, and drew no box.",
    "WARNING_NO_ATTRIBUTE_ANNOTATIONS": "A label attribute holds no annotation.",
    "WARNING_UNANNOTATED_FILE": "The image stands in the folder, and no annotation names it.",
}

_PLURALS = {"box": "boxes", "copy": "copies"}


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, `1 box` or `1,024 boxes`."""
    return f"{count:,} {noun if count == 1 else _PLURALS.get(noun, noun + 's')}"
