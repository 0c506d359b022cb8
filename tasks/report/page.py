"""What all reports need to make a page: templates, the page's own script, findings by code."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.dataset.findings import Finding
from tasks.report.wording import SEVERITY_MEANINGS

FOLDER = Path(__file__).parent
SCRIPT = "enlarge.js"
MAX_LISTED = 200
"""Rows of a list of files; what is beyond is counted."""


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """All findings of one code."""

    code: str
    severity: str
    meaning: str
    files: tuple[Finding, ...]


def page_environment() -> Environment:
    """Return the templates' environment: all text is escaped, an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_script() -> tuple[str, str]:
    """Return the page's script, and its SHA-256 as a content security policy states it."""
    script = (FOLDER / SCRIPT).read_text(encoding="utf-8")
    return script, base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def findings_by_code(findings: Sequence[Finding], meanings: Mapping[str, str]) -> list[FindingGroup]:
    """Group findings by code; errors first, for those images are missing."""
    ordered = sorted(findings, key=lambda one: (one.severity, one.code, one.source_ref, one.message))
    return [
        FindingGroup(code, severity, meanings.get(code, SEVERITY_MEANINGS[severity]), tuple(members))
        for (severity, code), members in groupby(ordered, key=lambda one: (one.severity, one.code))
    ]
