"""Amazon Resource Names of projects and their versions, as Rekognition Custom Labels writes them.

A project is a registered model, a version one of its MLflow versions. An alias may stand in a version's place:

    arn:aws:rekognition:REGION:ACCOUNT:project/NAME/CREATED_MS
    arn:aws:rekognition:REGION:ACCOUNT:project/NAME/version/3/CREATED_MS
    arn:aws:rekognition:REGION:ACCOUNT:project/NAME/version/production/ANY_DIGITS

Source of the form: the patterns of `ProjectArn` and `ProjectVersionArn` in the service's model.
"""

import re
from dataclasses import dataclass

PARTITION = "aws"
_NAME = r"[a-zA-Z0-9_.\-]{1,255}"
_START = r"arn:([a-z0-9-]+):rekognition:([a-z0-9-]+):([0-9]{12})"
_PROJECT = re.compile(rf"{_START}:project/({_NAME})/([0-9]+)")
_VERSION = re.compile(rf"{_START}:project/({_NAME})/version/({_NAME})/([0-9]+)")
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
_MAX_NUMBER = 2**31 - 1
"""MLflow keeps version numbers in 32 bits; a database refuses to look for more."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an ARN is: partition (`aws`), region and account (12 digits)."""

    region: str
    account: str
    partition: str = PARTITION

    def __str__(self) -> str:
        return f"arn:{self.partition}:rekognition:{self.region}:{self.account}"


@dataclass(frozen=True, slots=True)
class ProjectArn:
    """The address of a project; `digits` are the ms since 1970 at which the registered model was made."""

    owner: Owner
    name: str
    digits: str

    def __str__(self) -> str:
        return f"{self.owner}:project/{self.name}/{self.digits}"


@dataclass(frozen=True, slots=True)
class VersionArn:
    """The address of a version.

    Attributes:
        owner: partition, region and account.
        name: of the project.
        qualifier: a version number such as `3`, or an alias such as `production`.
        digits: the ms since 1970 at which the numbered version was made; of an alias whatever was given.
    """

    owner: Owner
    name: str
    qualifier: str
    digits: str

    def __str__(self) -> str:
        return f"{self.owner}:project/{self.name}/version/{self.qualifier}/{self.digits}"


def parse_project_arn(text: str) -> ProjectArn:
    """Read a project's ARN.

    Raises:
        ValueError: when it has another form.
    """
    found = _PROJECT.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:200]!r} is no project's ARN (arn:aws:rekognition:REGION:ACCOUNT:project/NAME/DIGITS)")
    partition, region, account, name, digits = found.groups()
    return ProjectArn(Owner(region, account, partition), name, digits)


def parse_version_arn(text: str) -> VersionArn:
    """Read a version's ARN.

    Raises:
        ValueError: when it has another form.
    """
    found = _VERSION.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text[:200]!r} is no version's ARN "
            "(arn:aws:rekognition:REGION:ACCOUNT:project/NAME/version/NUMBER_OR_ALIAS/DIGITS)"
        )
    partition, region, account, name, qualifier, digits = found.groups()
    return VersionArn(Owner(region, account, partition), name, qualifier, digits)


def fits_arn(name: str) -> bool:
    """Whether a model's name or an alias can stand in an ARN."""
    return re.fullmatch(_NAME, name) is not None


def is_number(qualifier: str) -> bool:
    """Whether a qualifier is a version number that a registry may hold; every other qualifier is an alias."""
    return _NUMBER.fullmatch(qualifier) is not None and int(qualifier) <= _MAX_NUMBER
