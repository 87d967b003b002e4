"""Command-line flags made from a config class: the only reader of absl flags.

    if __name__ == "__main__":
        flags.run(ExperimentConfig, main)  # main takes the config

Each field of the config class, and of the sections within it, becomes one flag of
the field's name, with the field's default and help. Flags are defined when `run` is
called, not on import, so that tests can import an entry point.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import logging
import os
import pathlib
import re
import shlex
import shutil
import sys
import textwrap
import traceback
import types
import typing
from typing import Any, Callable, Iterator, Sequence, TypeVar

from absl import app
from absl import flags as absl_flags
from absl import logging as absl_logging

from trainer.messages import did_you_mean, message
from trainer import config as config_lib
from trainer import caches, exit_codes, storage, wording
from trainer.runtime.interruptions import Preempted, WorkerLost

Config = TypeVar("Config")

_HELP_COLUMNS = 100
# What pathlib says, wherever a path is expanded.
_NO_HOME = "Could not determine home directory."

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
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        absl_flags.DEFINE(
            _NumberOrWord(),
            name,
            default,
            help_text,
            flag_values=flag_values,
            serializer=absl_flags.ArgumentSerializer(),
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


class _NumberOrWord(absl_flags.ArgumentParser[int | str]):
    """A whole number, or a word: the config says which words there are."""

    syntactic_help = "a whole number or a word"

    def parse(self, argument: int | str) -> int | str:
        """Takes anything; the config refuses what it does not know."""
        try:
            return int(argument)
        except ValueError:
            return argument

    def flag_type(self) -> str:
        """What --helpfull and --helpxml call it."""
        return "int or string"


def read(config_class: type[Config], flag_values: absl_flags.FlagValues) -> Config:
    """The config that the parsed flags say.

    Raises:
      ValueError: the settings do not go together, or cannot be written down.
    """
    nested = config_lib.sections(config_class)
    arguments: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):  # type: ignore[arg-type]
        if field.name in nested:
            arguments[field.name] = read(nested[field.name], flag_values)
        else:
            value = flag_values[field.name].value
            _refuse_unwritable(field.name, value)
            arguments[field.name] = tuple(value) if isinstance(value, list) else value
    return config_class(**arguments)


def _refuse_unwritable(name: str, value: Any) -> None:
    """Raises ValueError for text that neither a file of settings nor a path can hold.

    On a command line bytes that are no UTF-8 come as surrogates; a flagfile may have
    null characters.
    """
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and re.search("[\0\ud800-\udfff]", text):
            raise ValueError(
                message(
                    f"--{name} must be text in UTF-8 without null characters",
                    received=ascii(text),
                )
            )


def run(config_class: type[Config], main: Callable[[Config], object]) -> None:
    """Parses the command line, calls `main` with its config, and exits.

    A mistake of the user's ends with its message alone, on the command line as in the
    data, as do training that diverged and a run that is to be started again; everything
    else ends with its traceback. See `exit_codes`.
    """
    flag_values = absl_flags.FLAGS
    caches.settle()
    define(config_class, flag_values)
    # absl defines its own help once, which ours then stands for.
    app.define_help_flags()
    absl_flags.DEFINE_flag(_HelpFlag(config_class), flag_values)
    _set_up_logging()

    def config_of(arguments: Sequence[str]) -> Config:
        with _exit_codes(flag_values):
            return _parse(config_class, flag_values, arguments)

    def absl_main(config: Config) -> None:
        with _exit_codes(flag_values):
            main(config)
            _flush_standard_output()

    # Not absl's own parser, which ends with 1: launchers would take that for a crash.
    app.run(absl_main, flags_parser=config_of)


def _flush_standard_output() -> None:
    """Flushes while an error can still have its line and its exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it wants no more of it. Python flushes once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(
    config_class: type[Config],
    flag_values: absl_flags.FlagValues,
    arguments: Sequence[str],
) -> Config:
    """The config of a command line, the program's name first.

    Raises:
      ValueError: a mistake on the command line, or in a flagfile.
    """
    try:
        rest = flag_values(arguments)[1:]
    except SystemExit:
        # Only flags that show a help exit here; absl's do it with 1.
        sys.exit(0)
    except absl_flags.UnrecognizedFlagError as error:
        raise ValueError(_refusal_of_unknown(error.flagname, flag_values)) from error
    except absl_flags.CantOpenFlagFileError as error:
        raise ValueError(
            message(
                "--flagfile must be a text file that can be read",
                received=error.__context__,
                mend=f"name it as seen from {os.getcwd()}, or by its full path",
            )
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            message(
                "--flagfile must be a text file in UTF-8",
                received=error,
                mend="save it as UTF-8",
            )
        ) from error
    # Some flags of absl's own raise a ValueError.
    except (absl_flags.Error, ValueError) as error:
        raise ValueError(
            message("every flag must have a value as --help says", received=error)
        ) from error
    if rest:
        raise ValueError(_refusal_of_positional(rest))
    return read(config_class, flag_values)


def _refusal_of_unknown(flag: str, flag_values: absl_flags.FlagValues) -> str:
    """What is said of a flag that is not defined."""
    # A line of a flagfile is one argument: there a blank does not end the name.
    name, blank, _ = flag.partition(" ")
    is_known = bool(blank) and name in flag_values
    return message(
        "every flag must be one that --help shows",
        received=f"--{flag}{'' if is_known else did_you_mean(flag, flag_values)}",
        mend="write '=' between name and value" if is_known else "",
    )


def _refusal_of_positional(arguments: Sequence[str]) -> str:
    """What is said of arguments that are no flags, and of what follows the first."""
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
    first = words[0] if words else arguments[0]
    if os.path.isfile(first) or first.endswith(".flags"):
        mend = f"if it is a file of flags, write {shlex.quote(f'--flagfile={first}')}"
    else:
        mend = "write the dashes and the '=', and quote a value that has blanks"
    return message(
        "every setting is a flag, --name=value",
        received=shlex.join(words or arguments),
        mend=mend,
    )


@contextlib.contextmanager
def _exit_codes(flag_values: absl_flags.FlagValues) -> Iterator[None]:
    """Ends the process by what the block raises, with a line for the user."""
    try:
        yield
    except ValueError as error:
        if not _is_raised_by_this_package(error):
            raise
        _say(f"error: {error}")
        sys.exit(exit_codes.USER_ERROR)
    except OSError as error:
        refusal = _refusal_of_place(error, flag_values)
        if refusal is None:
            raise
        _say(f"error: {refusal}")
        sys.exit(exit_codes.USER_ERROR)
    except RuntimeError as error:
        unknown = _unknown_homes(flag_values)
        if not unknown or str(error) != _NO_HOME:
            raise
        rule = "a path that begins with ~ must name a user of this machine"
        mend = "write the path in full"
        _say(f"error: {message(rule, received=', '.join(unknown), mend=mend)}")
        sys.exit(exit_codes.USER_ERROR)
    except FloatingPointError as error:
        _say(f"error: {error}")
        sys.exit(exit_codes.DIVERGED)
    except (Preempted, WorkerLost) as error:
        _say(f"stopped: {error}; start it again to resume")
        _exit_now(exit_codes.RESTART)
    except KeyboardInterrupt:
        _say(
            "stopped; a training run, and predicting to a file, continues when its "
            "command is given again"
        )
        sys.exit(exit_codes.INTERRUPTED)


def _unknown_homes(flag_values: absl_flags.FlagValues) -> list[str]:
    """The flags whose paths begin with the home of nobody, with their values."""
    return [
        f"--{name}={value}"
        for name in flag_values
        if isinstance(value := flag_values[name].value, str)
        and value.startswith("~")
        and os.path.expanduser(value) == value
    ]


def _say(line: str) -> None:
    """Writes the last line to standard error, and lets go of both streams.

    One that is on a full disk would raise here, or at Python's end, and the process
    would end with another code than its launcher goes by.
    """
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{line}\n")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refusal_of_place(error: OSError, flag_values: absl_flags.FlagValues) -> str | None:
    """What is said of a place that the system refuses; None: it is another error."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # Without a name it may be a socket's.
    if error.errno not in storage.MENDS or not (error.filename or is_full):
        return None
    place = str(error.filename or "standard output, or a temporary file")
    flag = _flag_of_place(place, flag_values)
    return message(
        f"{flag or 'a file'} must be in a place that can be read and written",
        received=os.strerror(error.errno)
        + ("" if flag.endswith(f"={place}") else f": {place}"),
        mend=storage.MENDS[error.errno],
    )


def _flag_of_place(place: str, flag_values: absl_flags.FlagValues) -> str:
    """The flag, with its value, that names a place or where it is; "": none does."""
    named = {}
    for name in flag_values:
        value = flag_values[name].value
        if value and isinstance(value, str):
            path = os.path.abspath(os.path.expanduser(value))
            named[path] = named[os.path.realpath(path)] = f"--{name}={value}"
    # The file itself, one in the folder, or one beside it: a.csv.partial.
    above = [
        path
        for path in named
        if re.match(rf"{re.escape(path)}([/.]|$)", os.path.abspath(place))
    ]
    return named[max(above, key=len)] if above else ""


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
