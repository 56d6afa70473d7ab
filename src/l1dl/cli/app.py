"""The application: its commands, and how errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import logging
import shlex
import signal
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from l1dl import __version__
from l1dl.cli import (
    architectures,
    build,
    compare,
    data,
    deploy,
    doctor,
    emulate,
    export,
    fit,
    prove,
    run,
    scan,
    seu,
    stages,
)
from l1dl.cli import place as placement
from l1dl.cli.signals import STOPPED
from l1dl.errors import L1dlError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What standard output fails with where it is a file on a full disk."""

BUG, INTERRUPTED, BROKEN_PIPE = 70, 128 + signal.SIGINT, 128 + signal.SIGPIPE
"""Exit codes of a bug in l1dl (EX_SOFTWARE of sysexits.h), of Ctrl-C, and of standard output closed by its reader."""

app = typer.Typer(
    name="l1dl",
    help="""From a quantised network to proved trigger firmware, on a laptop.

    l1dl trains a model of QKeras or HGQ2, converts it with hls4ml, compiles it to pipelined Verilog and shows that
    Keras, the C++ of hls4ml, the exact emulator and the RTL agree in every output bit.
    """,
    epilog="Exit codes: 0 good, 1 mismatch or broken budget, 2 bad input, 3 tool missing or failed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data", help="Make and check data sets.")
run.add_to(app)
deploy.add_to(app)
stages.add_to(app)
emulate.add_to(app)
export.add_to(app)
compare.add_to(app)
architectures.add_to(app)
prove.add_to(app)
build.add_to(app)
seu.add_to(app)
placement.add_to(app)
fit.add_to(app)
scan.add_to(app)
doctor.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"l1dl {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the log, with what the libraries say.")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.DEBUG if verbose else logging.WARNING)
    for noisy in ("matplotlib", "jax", "h5py", "numba"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def invoke(arguments: Sequence[str]) -> int:  # noqa: PLR0911
    """Run one command and return its exit code; errors are printed as one line."""
    command_line = shlex.join(["l1dl", *arguments])
    try:
        result = app(args=list(arguments), prog_name="l1dl", standalone_mode=False, obj=command_line)
    except L1dlError as error:
        _say(f"error: {error}", "red")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except MemoryError:
        _say("error: not enough memory; use fewer events, or another machine", "red")
        return 2
    except SystemExit as end:  # what `stop` raises, and typer where standard output was closed
        if end.code not in STOPPED:
            return BROKEN_PIPE
        result = end.code
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        _say(f"error: cannot write standard output: {error.strerror}", "red")
        return 2
    except Exception as error:  # noqa: BLE001  the last resort: whatever comes here is a bug
        if not _is_usage_error(error):
            traceback.print_exc()
            _say(f"this is a bug in l1dl {__version__}; please report it with the lines above", "red")
            return BUG
        if type(error).__name__ != "NoArgsIsHelpError":  # the help was shown
            help_command = getattr(getattr(error, "ctx", None), "command_path", "l1dl")
            _say(f"error: {error.format_message().rstrip('.')}. See {help_command} --help", "red")  # type: ignore[attr-defined]
        return 2
    if result in (INTERRUPTED, *STOPPED):
        _say("interrupted; what is finished is kept: run the same command again to go on", "yellow")
    return result if isinstance(result, int) else 0


def _is_usage_error(error: Exception) -> bool:
    """Say whether an error is one of the command line's parser (typer's own click, or the package click)."""
    return isinstance(error, typer.BadParameter.__mro__[1:3])


def _say(text: str, colour: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        typer.secho(text, err=True, fg=colour)
