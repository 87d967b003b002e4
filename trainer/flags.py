"""Command-line flags made from a config class: the only reader of absl flags.

    if __name__ == "__main__":
        flags.run(ExperimentConfig, main)  # main takes the config

Each field of the config class, and of the sections within it, becomes one flag of
the field's name, with the field's default and help. Flags are defined when `run` is
called, not on import, so that tests can import an entry point.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import pathlib
import shutil
import sys
import textwrap
import traceback
import typing
from typing import Any, Callable, Sequence, TypeVar

from absl import app
from absl import flags as absl_flags
from absl import logging as absl_logging

from trainer.messages import message
from trainer import config as config_lib
from trainer import caches, exit_codes, wording
from trainer.runtime.interruptions import Preempted, WorkerLost

Config = TypeVar("Config")

_HELP_COLUMNS = 100

# Flags belong to the entry point that calls `run`, whose --help then lists them.
absl_flags.disclaim_key_flags()


def define(config_class: type, flag_values: absl_flags.FlagValues) -> None:
    """Defines a flag for every field of `config_class` and of its sections."""
    nested = config_lib.sections(config_class)
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if field.name in nested:
            define(nested[field.name], flag_values)
        else:
            _define_one(field, hints[field.name], flag_values)


def _define_one(
    field: dataclasses.Field[Any], hint: Any, flag_values: absl_flags.FlagValues
) -> None:
    name, help_text = field.name, field.metadata["help"]
    default: Any = field.default
    if isinstance(default, tuple):
        default = list(default)
    if typing.get_origin(hint) is typing.Literal:
        choices = list(typing.get_args(hint))
        absl_flags.DEFINE_enum(
            name, default, choices, help_text, flag_values=flag_values
        )
        return
    definers: dict[Any, Callable[..., Any]] = {
        bool: absl_flags.DEFINE_boolean,
        int: absl_flags.DEFINE_integer,
        float: absl_flags.DEFINE_float,
        str: absl_flags.DEFINE_string,
        tuple: absl_flags.DEFINE_list,
    }
    define_flag = definers[typing.get_origin(hint) or hint]
    if field.metadata["repeated"]:
        define_flag = absl_flags.DEFINE_multi_string
    define_flag(name, default, help_text, flag_values=flag_values)


def read(config_class: type[Config], flag_values: absl_flags.FlagValues) -> Config:
    """The config that the parsed flags say.

    Raises:
      ValueError: the settings do not go together.
    """
    nested = config_lib.sections(config_class)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        if field.name in nested:
            arguments[field.name] = read(nested[field.name], flag_values)
        else:
            value = flag_values[field.name].value
            arguments[field.name] = tuple(value) if isinstance(value, list) else value
    return config_class(**arguments)


def run(config_class: type[Config], main: Callable[[Config], object]) -> None:
    """Parses the command line, calls `main` with its config, and exits.

    A mistake of the user's (a ValueError raised by this package) and a full disk end
    with their message alone, as do training that diverged and a run that is to be
    started again; everything else ends with its traceback. See `exit_codes`.
    """
    flag_values = absl_flags.FLAGS
    caches.settle()
    define(config_class, flag_values)
    # absl defines its own help once, which ours then stands for.
    app.define_help_flags()
    absl_flags.DEFINE_flag(_HelpFlag(config_class), flag_values)
    _set_up_logging()

    def absl_main(argv: Sequence[str]) -> None:
        try:
            if len(argv) > 1:
                raise ValueError(
                    message(
                        "every setting is a flag, --name=value",
                        received=f"{' '.join(argv[1:])}",
                    )
                )
            main(read(config_class, flag_values))
        except ValueError as error:
            if not _is_raised_by_this_package(error):
                raise
            sys.stderr.write(f"error: {error}\n")
            sys.exit(exit_codes.USER_ERROR)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            sys.stderr.write(f"error: {error}; make room, and start again\n")
            sys.exit(exit_codes.USER_ERROR)
        except FloatingPointError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(exit_codes.DIVERGED)
        except (Preempted, WorkerLost) as error:
            sys.stderr.write(f"stopped: {error}; start it again to resume\n")
            _exit_now(exit_codes.RESTART)
        except KeyboardInterrupt:
            sys.stderr.write(
                "stopped; a training run, and predicting to a file, continues when its "
                "command is given again\n"
            )
            sys.exit(exit_codes.INTERRUPTED)

    app.run(absl_main)


class _HelpFlag(absl_flags.BooleanFlag):
    """--help: this program's flags in groups, where absl lists them by alphabet."""

    def __init__(self, config_class: type) -> None:
        super().__init__(
            "help", False, "show this help", short_name="?", allow_override=True
        )
        self._config_class = config_class

    def parse(self, argument: Any) -> None:
        """Shows the help and exits, if it is asked for."""
        if self._parse(argument):
            columns = min(shutil.get_terminal_size().columns, _HELP_COLUMNS)
            print(help_text(self._config_class, columns=columns))
            sys.exit(0)


def help_text(config_class: type, *, columns: int = _HELP_COLUMNS) -> str:
    """What --help shows: how to call the program, and its settings by section."""
    nested = config_lib.sections(config_class)
    lines = [(sys.modules["__main__"].__doc__ or "").strip()]
    # The machine comes after what is wanted of it.
    for name in sorted(nested, key=lambda name: name == "runtime"):
        lines += ["", name.capitalize(), *_help_of(nested[name], columns)]
    lines += ["", "Other" if nested else "Flags", *_help_of(config_class, columns)]
    lines += _paragraph("--flagfile=FILE", "A file of flags, one a line.", columns)
    lines += _paragraph("--helpfull", "Shows the flags of absl, too.", columns)
    return "\n".join(lines)


def _help_of(config_class: type, columns: int) -> list[str]:
    """The class's own settings, without those of its sections."""
    nested, hints = config_lib.sections(config_class), typing.get_type_hints(
        config_class
    )
    lines: list[str] = []
    for field in dataclasses.fields(config_class):
        if field.name in nested:
            continue
        no = "[no]" if isinstance(field.default, bool) else ""
        is_choice = typing.get_origin(hints[field.name]) is typing.Literal
        choices = typing.get_args(hints[field.name]) if is_choice else ()
        flag = f"--{no}{field.name}{'=' if choices else ''}{'|'.join(choices)}"
        heading = f"{flag}: {_default_in_words(field)}"
        lines += _paragraph(heading, field.metadata["help"], columns)
    return lines


def _default_in_words(field: dataclasses.Field[Any]) -> str:
    """ "default 32", or what the help says that a sentinel stands for."""
    default, explanation = field.default, field.metadata["help"]
    if explanation.endswith("Required."):
        return "required"
    if isinstance(default, bool):
        return f"default {'on' if default else 'off'}"
    meaning = wording.meaning_in(explanation, default)
    if default == () or default == "":
        return f"by default {meaning}" if meaning else "by default none"
    if isinstance(default, float):
        default = f"{default:g}"
    shown = ", ".join(default) if isinstance(default, tuple) else default
    return f"default {shown}, {meaning}" if meaning else f"default {shown}"


def _paragraph(heading: str, text: str, columns: int) -> list[str]:
    return [
        *textwrap.wrap(heading, columns, initial_indent="  ", subsequent_indent="    "),
        *textwrap.wrap(
            text,
            columns,
            initial_indent="      ",
            subsequent_indent="      ",
            break_on_hyphens=False,
        ),
    ]


def _exit_now(code: int) -> None:
    """Ends without TensorFlow's goodbyes, which wait for workers that are gone."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _set_up_logging() -> None:
    """Shows this package's messages, and other libraries' from warnings on."""
    logging.getLogger(__package__).setLevel(logging.INFO)
    handler = absl_logging.get_absl_handler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    handler.addFilter(
        lambda record: record.levelno >= logging.WARNING
        or record.name.startswith(f"{__package__}.")
    )


def _is_raised_by_this_package(error: BaseException) -> bool:
    package = pathlib.Path(__file__).resolve().parent
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return package in pathlib.Path(raised_in).resolve().parents
