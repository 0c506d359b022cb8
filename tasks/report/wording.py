"""The report's fixed sentences: verdicts, how to read the figures, what the findings' codes mean."""

VERDICTS: dict[str, tuple[str, str, str]] = {
    "staged": (
        "Staged",
        "This version passed the gate and the inference test, and carries the alias “staging”.",
        "Look at the mistakes and the advice below, then try it on new parts. Promote it when its answers there agree "
        "with your own.",
    ),
    "registered": (
        "Registered",
        "This version passed the gate and the inference test. It does not stand in staging, because that was not asked "
        "for, because a person has to say yes, or because another move was faster.",
        "Look at the mistakes and the advice below; to try it in service: keeneye promote NAME --to staging.",
    ),
    "rejected": (
        "Rejected",
        "This version did not reach what was asked of it. It is kept in the registry for comparison, without an alias.",
        "Do not judge parts with it. Follow the advice below, most important first, and train again.",
    ),
}
"""Per status: the word, what it means, what to do."""

SEVERITIES = {"high": "Important", "medium": "Worth doing", "low": "For information"}

CLASSIFICATION_FIGURES = (
    (
        "confusion_matrix",
        "Confusion matrix",
        "Each row holds the test images of one true label, each column those that got one answer: numbers on the "
        "diagonal are right, all others are mistakes.",
    ),
    (
        "per_label",
        "Figures per label",
        "Long bars are good; where the mark (cross-validated) lies far from the bar (test), few test images make the "
        "bar uncertain.",
    ),
    (
        "precision_recall",
        "Precision and recall",
        "Moving right, the threshold falls: more of the label's images are found (recall), and more wrong ones with "
        "them (precision falls); a line that stays at the top is good.",
    ),
    (
        "roc",
        "Receiver operating characteristic",
        "The line shows how many images of a label are found for each share of others wrongly given it; a line along "
        "the left and upper edge, with an area near 1, is good.",
    ),
    (
        "calibration",
        "Calibration",
        "On the dashed line a confidence of 0.8 is right 8 times in 10; below it confidences promise too much, above "
        "it too little. Expected calibration error: {metrics.calibration_error:.3f} (0 is best).",
    ),
)
MULTI_LABEL_FIGURES = (
    (
        "outcomes",
        "Found, missed, false",
        "Of each label, the test images that carry it and were given it, those that were not, and those given it "
        "without carrying it.",
    ),
    CLASSIFICATION_FIGURES[1],
    (
        "labels_together",
        "Labels together",
        "How many test images carry the label of the row and that of the column; on the diagonal, all of a label.",
    ),
    (
        "answers_together",
        "Answers together",
        "The same of the labels given. Pairs that are much darker here than beside are given together too readily.",
    ),
    *CLASSIFICATION_FIGURES[2:4],
    (
        "calibration",
        "Calibration",
        "Every label of every test image is an answer. On the dashed line a label given a confidence of 0.8 is carried "
        "by 8 images in 10. Expected calibration error: {metrics.calibration_error:.3f} (0 is best).",
    ),
)
DETECTION_FIGURES = (
    (
        "confusion_matrix",
        "Confusion matrix",
        "Each row holds the true boxes of one label, each column the boxes given one: numbers on the diagonal are "
        "right. The last column holds boxes that were missed, the last row boxes given where nothing is.",
    ),
    (
        "per_label",
        "Figures per label",
        "Long bars are good; where the mark (cross-validated) lies far from the bar (test), few test boxes make the "
        "bar uncertain.",
    ),
    (
        "precision_recall",
        "Precision and recall",
        "Moving right, the threshold falls: more of the label's boxes are found (recall), and more false alarms with "
        "them (precision falls); the area under the line is the label's AP50, a line that stays at the top is good.",
    ),
    (
        "size",
        "Average precision by box size",
        "Small boxes have less than 32 by 32 pixels of the image, large ones 96 by 96 or more. Where small ones fare "
        "much worse, a larger input size may help.",
    ),
    (
        "places",
        "Where boxes lie",
        "The test images laid over each other, as if all had one size. True boxes that are missed in one region only, "
        "or false alarms that gather in one, point to something that region has: an edge, a reflection, a label.",
    ),
)
ANOMALY_FIGURES = (
    (
        "confidences",
        "Confidences of the test images",
        "Normal images belong on the left of the threshold, abnormal ones on its right. Where the two overlap, no "
        "threshold tells them apart; where a gap lies beside the threshold, another one would do better.",
    ),
    (
        "roc",
        "Receiver operating characteristic of images",
        "The line shows how many abnormal images are found for each share of normal ones called abnormal; a line along "
        "the left and upper edge, with an area near 1, is good.",
    ),
    (
        "pixels",
        "Pixels and regions",
        "The same of pixels, over normal images and those with a mask. The dashed line counts every region alike, "
        "however small; PRO is its mean left of the upright line.",
    ),
)
"""Name of the file, title, how to read it."""

SEVERITY_MEANINGS = {
    "error": "The file was left out because something is wrong with it.",
    "warning": "Something about the file deserves a look.",
}
MEANINGS = {
    "ERROR_EMPTY_FILE": "The file has no content.",
    "ERROR_FILE_TOO_LARGE": "The file is larger than allowed and was left out unread.",
    "ERROR_INVALID_FILE_NAME": "The file's name is not valid text.",
    "ERROR_INVALID_IMAGE": "The content is no image of a known format.",
    "ERROR_INVALID_IMAGE_DIMENSION": "The image has too few or too many pixels.",
    "ERROR_INVALID_LABEL_NAME": "The label's name is too long or cannot be printed.",
    "ERROR_OUTSIDE_SOURCE": "The file, or a reference to it, leads out of the source.",
    "ERROR_TRUNCATED_IMAGE": "The image file is cut short or damaged.",
    "ERROR_UNREADABLE_FILE": "The file could not be read.",
    "WARNING_CONFLICTING_LABELS": "The same bytes stand under different labels; none of the copies is used.",
    "WARNING_DUPLICATE_IMAGE": "The same bytes stand in another file of the same label; one of them is used.",
    "WARNING_IGNORED_FILE": "The file is not named like an image and was not read.",
    "WARNING_IMAGE_IN_TEST_SOURCE": "The image also stands in the test source; it is tested on, not trained on.",
    "ERROR_TOO_MANY_LABELS_PER_IMAGE": "The image has several labels, where one was asked for.",
    "WARNING_MASK_WITHOUT_IMAGE": "A defect mask belongs to no image.",
    "WARNING_RARE_LABEL": "A split holds no image of the label.",
    "WARNING_UNANNOTATED_RECORD": "Nothing usable is said of the image.",
    "WARNING_WRONG_SUFFIX": "The file's ending does not fit its content; the image is used.",
}
