"""The command line: `keeneye COMMAND --group.field value`, from the same model as the form and the Python call.

stdout carries one JSON line, the result; everything told on the way goes to stderr. Parses before it imports
Prefect, MLflow or torch, so that `--help` and a slip of the pen cost no time.
"""

import argparse
import atexit
import difflib
import errno
import gc
import json
import logging
import operator
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliSettingsSource, PydanticBaseSettingsSource

from flows.commands import COMMANDS, Command, imported
from tasks.errors import EnvironmentFailed, KeeneyeError, RequestError, in_one_sentence, is_of_server
from tasks.ingest.sources import require_source
from tasks.stores.disk import full_disk, is_nearly_full
from tasks.stores.home import Home

EXIT_DONE, EXIT_NO, EXIT_INTERRUPTED = 0, 1, 130
LIST_ITEMS_SHOWN = 8


def run() -> NoReturn:
    """Be the process of a command: `main`, then an end at once.

    The interpreter would look through all that was imported once more and take it apart, which takes a second or two.
    """
    code = 1

    def leave() -> None:
        logging.shutdown()
        try:
            sys.stdout.flush()
        except OSError as error:
            os._exit(code or _unwritten(error))
        os._exit(code)

    atexit.register(leave)  # the first that is registered, so that it is called last
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    except OSError as error:  # all others are told in `main`: the result is longer than what waits to be written
        code = _unwritten(error)
        sys.exit(code)


def _unwritten(error: OSError) -> int:
    """Say that a result cannot be written, and return the exit code; who reads a part of it has seen enough."""
    if isinstance(error, BrokenPipeError):
        return EXIT_DONE
    with suppress(OSError):
        sys.stderr.write(
            f"keeneye: the result cannot be written to stdout: {error.strerror}; it is done all the same\n"
        )
        sys.stderr.flush()
    return EnvironmentFailed.exit_code


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a flow from the command line and end with its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in ([], ["-h"], ["--help"]):
        sys.stdout.write(_overview())
        sys.exit(EXIT_DONE)
    try:
        command, config = parse(arguments)
        result = _run(command, config)
    except KeeneyeError as error:
        sys.exit(_refuse(full_disk(error, Home.from_environment().root) or error))
    except KeyboardInterrupt:
        sys.stderr.write("keeneye: stopped; the same command goes on where it was\n")
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        sys.exit(_refuse(_unexpected(error)))
    shows_table = command.is_table and not getattr(config, "as_json", False)
    sys.stdout.write((result.table() if shows_table else result.model_dump_json()) + "\n")
    _end(EXIT_NO if result.status == "rejected" else EXIT_DONE, is_flow=command.is_flow)


def _end(code: int, *, is_flow: bool) -> NoReturn:
    if is_flow:
        sys.exit(code)
    # The endpoint's threads may wait for a registry that says nothing, or decode what nobody waits for any more;
    # the interpreter would join them, for minutes. Everything of it is closed, and nothing is left to be written.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def parse(arguments: Sequence[str]) -> tuple[Command, BaseModel]:
    """Return the command and its config, from `--config FILE` and `--group.field value`; the latter win.

    Raises:
        RequestError: an unknown command or field, a value outside its limits, an unreadable file; one sentence each.
    """
    name, *rest = arguments
    if name not in COMMANDS:
        raise RequestError(f"there is no command {name!r}{_nearest(name, COMMANDS)}; `keeneye --help` lists them")
    command = COMMANDS[name]
    fields = _field_names(command.model)
    rest = [_as_option(word, fields) for word in rest]
    if command.positional and rest and not rest[0].startswith("-"):
        rest.insert(0, f"--{command.positional}")
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config", metavar="FILE", help="YAML file with the same groups and fields")
    try:
        known, rest = first.parse_known_args(rest)
    except argparse.ArgumentError as error:
        raise RequestError(f"{error}; name a YAML file after --config") from error
    values = _read_yaml(Path(known.config)) if known.config else {}
    for group in values:  # before they become arguments, of which some have a meaning of their own
        if group not in command.model.model_fields and group not in fields:
            raise RequestError(
                f"there is no field {group}{_nearest(str(group), fields)}; the fields are {_listed(fields)}"
            )
    parser = _Parser(
        prog=f"keeneye {name}",
        usage=_usage(name, command, fields),
        description=command.purpose,
        epilog=command.examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[first],
        fields=fields,
    )
    return command, _validated(command.model, parser, rest, values)


def _usage(name: str, command: Command, fields: Sequence[str]) -> str:
    first = f" {command.positional.upper()}" if command.positional else ""
    option = "--group.field" if any("." in field for field in fields) else "--field"
    return f"keeneye {name}{first} [--config FILE] [{option} VALUE ...]"


def _as_option(word: str, fields: Sequence[str]) -> str:
    """Read `--max-pending 5` like `--max_pending 5`."""
    option, equals, value = word.partition("=")
    spelt = option[2:].replace("-", "_")
    return f"--{spelt}{equals}{value}" if option.startswith("--") and spelt in fields else word


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, with the nearest field that exists."""

    def __init__(self, *, fields: Iterable[str] = (), **settings: Any) -> None:  # noqa: ANN401 - passed through
        super().__init__(**settings)
        self._fields = [f"--{field}" for field in fields]

    def error(self, message: str) -> NoReturn:
        unknown, _, names = message.partition("unrecognized arguments: ")
        if not unknown and names:
            first = names.split()[0]
            raise RequestError(
                f"there is no option {first}{_nearest(first.partition('=')[0], self._fields)}; "
                f"`{self.prog} --help` lists them"
            )
        raise RequestError(f"{message}; see `{self.prog} --help`")


def _validated(model: type[BaseModel], parser: _Parser, arguments: Sequence[str], values: dict[str, Any]) -> BaseModel:
    class Settings(BaseSettings, model):  # type: ignore[misc, valid-type]  # the base is chosen at run time
        @classmethod
        def settings_customise_sources(  # type: ignore[override]
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # Neither the environment nor .env files: a variable named DATA must not change a run.
            return (init_settings,)

    options: CliSettingsSource[Any] = CliSettingsSource(
        Settings, root_parser=parser, cli_avoid_json=True, cli_implicit_flags=True, cli_use_class_docs_for_groups=True
    )
    try:
        found = CliApp.run(Settings, cli_args=list(arguments), cli_settings_source=options, **values)
    except ValidationError as error:
        raise RequestError(_first_problem(error, _field_names(model))) from error
    return model.model_validate(found.model_dump())


def _run(command: Command, config: BaseModel) -> Any:  # noqa: ANN401 - each flow has its own result
    for field in command.sources:
        source = operator.attrgetter(field)(config)
        if source:
            require_source(source)
    Home.from_environment().root.mkdir(parents=True, exist_ok=True)
    if not command.is_flow:
        return _loaded(command)(config)
    _prepare_environment()
    groups = [name for name in type(config).model_fields if name != "as_json"]
    return _loaded(command)(**{group: getattr(config, group) for group in groups})


def _loaded(command: Command) -> Callable[..., Any]:
    """Import what a command runs, without looking for garbage meanwhile: a fifth of the time.

    Prefect, MLflow and torch make a million objects that stay.
    """
    gc.disable()
    try:
        return imported(command.entrypoint)  # type: ignore[no-any-return]  # whatever the address names
    finally:
        gc.enable()


def _prepare_environment() -> None:
    """Keep the embedded Prefect's files in Keeneye's home, unless this machine has a Prefect of its own."""
    from flows.orphans import claim_servers, end_orphaned_servers

    has_own = any(name in os.environ for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE"))
    if not has_own and not (Path.home() / ".prefect" / "profiles.toml").exists():
        prefect_home = Home.from_environment().root / "prefect"
        prefect_home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(prefect_home)
    end_orphaned_servers()
    claim_servers()
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # of the client too, whose server may be somebody else's
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    warnings.filterwarnings("ignore", category=FutureWarning)


def _refuse(error: KeeneyeError) -> int:
    sys.stderr.write(f"keeneye: {error.message}\n")
    if error.exit_code != RequestError.exit_code:
        record = {"status": "failed", "error": type(error).__name__, "message": error.message}
        if error.findings_path:
            record["findings_path"] = error.findings_path
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    return error.exit_code


def _unexpected(error: Exception) -> KeeneyeError:
    """Turn what nobody foresaw into one sentence, its traceback kept in a file."""
    root = Home.from_environment().root
    full = full_disk(error, root) or (full_disk(OSError(errno.ENOSPC, ""), root) if is_nearly_full(root) else None)
    if full:
        return full
    sentence = in_one_sentence(error)
    if isinstance(error, OSError):
        return EnvironmentFailed(f"{sentence}; see to it and try again")
    log = root / "logs" / f"failure-{os.getpid()}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return EnvironmentFailed(sentence)
    if is_of_server(error):
        return EnvironmentFailed(f"a server does not answer as it should ({sentence}); details are in {log}")
    return KeeneyeError(f"this should not happen: {sentence}; details are in {log}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"the config file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"the config file {path} is no YAML: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RequestError(f"the config file {path} holds a {type(values).__name__}; give groups such as `data:`")
    return values


def _field_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _field_names(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + (field.alias or name))
    return names


def _first_problem(error: ValidationError, fields: Sequence[str]) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"there is no field {place}{_nearest(place, fields)}; the fields are {_listed(fields)}"
    if not place:  # a rule about several fields, whose own sentence names them
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{place} is not given; `--help` says what it is"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{place} = {first['input']!r} is not accepted: {message}"


def _listed(fields: Sequence[str]) -> str:
    shown = ", ".join(fields[:LIST_ITEMS_SHOWN])
    return f"{shown} and {len(fields) - LIST_ITEMS_SHOWN} more" if len(fields) > LIST_ITEMS_SHOWN else shown


def _nearest(word: str, words: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(words), n=1)
    return f", did you mean {found[0]}" if found else ""


def _overview() -> str:
    rows = "\n".join(f"  {name:<14}{command.purpose}" for name, command in COMMANDS.items())
    return (
        "usage: keeneye COMMAND [--config FILE] [--group.field VALUE ...]\n\n"
        "From a folder of images to a versioned, gated, promoted recognition model.\n\n"
        f"commands:\n{rows}\n\n`keeneye COMMAND --help` shows every field with its default.\n"
    )


if __name__ == "__main__":
    run()
