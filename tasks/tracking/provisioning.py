"""What an MLflow has before its first run: experiments, registered models, and users with no more than they need."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from tasks.stores.home import Home
from tasks.tracking.client import answered, connect
from tasks.tracking.role_passwords import PASSWORDS
from tasks.tracking.runs import find_or_make_experiment

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient
    from mlflow.server.auth.entities import Role

WORKSPACE = "default"
PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    "train": {"workspace": "USE", "experiment": "EDIT", "registered_model": "EDIT"},
    "serve": {"experiment": "READ", "registered_model": "READ"},
}
"""By role, what it may do with each kind of thing. MLflow 3.17 lets every user make new experiments and models."""
Permission = tuple[str, str, str]
"""A kind of thing, the names that it holds for, and what is allowed."""


def _wanted(role: str) -> set[Permission]:
    return {(kind, "*", allowed) for kind, allowed in PERMISSIONS[role].items()}


def has_experiment(home: Home, name: str) -> bool:
    """Whether there is an experiment of this name. Raises as `connect` does."""
    client = connect(home)
    with answered(home):
        return client.get_experiment_by_name(name) is not None


def make_experiment(home: Home, name: str) -> None:
    """Make an experiment. Raises as `connect` does."""
    client = connect(home)
    with answered(home):
        find_or_make_experiment(home, client, name)


def has_model(home: Home, name: str) -> bool:
    """Whether a model of this name is registered. Raises as `connect` does."""
    client = connect(home)
    with answered(home):
        return bool(client.search_registered_models(f"name = '{name}'", max_results=1))


def make_model(home: Home, name: str) -> None:
    """Register a model without a version. Raises as `connect` does."""
    client = connect(home)
    with answered(home):
        client.create_registered_model(name)


@dataclass(frozen=True, slots=True)
class Roles:
    """The users of an MLflow that asks for passwords, one for each role."""

    home: Home
    passwords: Mapping[str, str]

    @classmethod
    def of_environment(cls, home: Home) -> "Roles":
        """Return the roles whose passwords the environment holds; none of an MLflow without a server."""
        if not home.tracking_uri.startswith("http"):
            return cls(home, {})
        passwords = {role: os.environ.get(variable, "") for role, variable in PASSWORDS.items()}
        return cls(home, {role: password for role, password in passwords.items() if password})

    @property
    def names(self) -> tuple[str, ...]:
        """The roles."""
        return tuple(self.passwords)

    def is_there(self, role: str) -> bool:
        """Whether the user of a role gets in with its password, and may do just what it should.

        Raises as `connect` does.
        """
        with answered(self.home):
            found = self._role(role)
            if found is None or self._permissions(found) != _wanted(role):
                return False
            return self._gets_in(role) and self._is_assigned(role, found)

    def make(self, role: str) -> None:
        """Make what is missing of a role: itself, its permissions, its user and password. Raises as `connect` does."""
        client = self._client()
        with answered(self.home):
            if not self._has_user(role):
                client.create_user(role, self.passwords[role])
            elif not self._gets_in(role):
                client.update_user_password(role, self.passwords[role])
            found = self._role(role) or client.create_role(WORKSPACE, f"keeneye-{role}")
            for permission in client.list_role_permissions(found.id):
                client.remove_role_permission(permission.id)
            for permission in sorted(_wanted(role)):
                client.add_role_permission(found.id, *permission)
            if not self._is_assigned(role, found):
                client.assign_role(role, found.id)

    def _client(self) -> "AuthServiceClient":
        # It imports the whole server, whose own use of its libraries is no news to who asks for a user.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow.server.auth.client import AuthServiceClient

        return AuthServiceClient(self.home.tracking_uri)

    def _role(self, role: str) -> "Role | None":
        return next((one for one in self._client().list_roles(WORKSPACE) if one.name == f"keeneye-{role}"), None)

    def _permissions(self, role: "Role") -> set[Permission]:
        found = self._client().list_role_permissions(role.id)
        return {(one.resource_type, one.resource_pattern, one.permission) for one in found}

    def _is_assigned(self, name: str, role: "Role") -> bool:
        return role.id in {one.id for one in self._client().list_user_roles(name)}

    def _gets_in(self, name: str) -> bool:
        credentials = get_default_host_creds(self.home.tracking_uri)
        credentials.username, credentials.password, credentials.token = name, self.passwords[name], None
        answer = http_request(credentials, "/api/2.0/mlflow/users/current", "GET")
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            return False
        verify_rest_response(answer, "/api/2.0/mlflow/users/current")
        return True

    def _has_user(self, name: str) -> bool:
        try:
            self._client().get_user(name)
        except (RestException, MlflowException) as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return False
            raise
        return True
