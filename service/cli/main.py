"""Serve and operate the currency ticker.

Exit status: 0 for success, 1 for a failure, 2 for invalid settings or usage.
"""

# Each command imports only what it needs: the time of the imports is part of a restart's downtime.
# ruff: noqa: PLC0415

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from signal import SIG_BLOCK, SIGHUP, SIGTERM, pthread_sigmask, signal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Abort
from typer.core import TyperGroup
from typer.exceptions import TyperException

from service import __version__, runtime
from service.errors import SettingsError, TickerError, safe
from service.runtime import gc_tuning
from service.runtime.program import SCRIPT, program

if TYPE_CHECKING:
    from service.settings import Settings


class _Commands(TyperGroup):
    """The commands; a wrong usage is reported as one line, like any other error."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        is_help = not (sys.argv[1:] if args is None else args)

        def run(*, standalone_mode: bool) -> object:
            return super(_Commands, self).main(
                args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra
            )

        if is_help or not standalone_mode:
            return run(standalone_mode=standalone_mode)
        try:
            status = run(standalone_mode=False)
        except TyperException as error:
            from pydantic import ValidationError

            from service.settings.wording import problem

            if isinstance(error.__cause__, ValidationError):
                error.message = problem(error.__cause__.errors()[0])
            context = getattr(error, "ctx", None)
            command = context.command_path if context else program()
            message = error.format_message().rstrip(".")
            typer.echo(f"error: {safe(message[:1].lower() + message[1:])}; see: {command} --help", err=True)
            sys.exit(2)
        except (Abort, KeyboardInterrupt):
            sys.exit(130)
        sys.exit(status if isinstance(status, int) else 0)


cli = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=program() == SCRIPT,  # a shell completes the name of a command, not `python -m service`
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=__doc__,
)
Config = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (TOML); overrides the default settings.")
]


OPERATOR = "operator"
"""Who enters rates if no name is given. Not the login: receipts are public."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _Stop:
    """Exit on SIGTERM until the application installs its own handler, and remember the signal.

    A `SystemExit` raised inside a callback of a C library is lost there; `obey` exits in that case.
    """

    requested = False

    def __call__(self, *_: object) -> None:
        self.requested = True
        sys.exit(0)

    def obey(self) -> None:
        if self.requested:
            sys.exit(0)


@contextmanager
def _reported_errors(stop: _Stop | None = None) -> Iterator[None]:
    """Print an error as one line on standard error, and exit with its status.

    An unexpected error of a command is named by its type and place; the service logs the traceback.
    """
    try:
        yield
    except TickerError as error:
        if stop:
            stop.obey()
        typer.echo(f"error: {safe(str(error))}", err=True)
        raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if stop or sys.flags.dev_mode:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
        typer.echo(f"error: internal error ({place}); PYTHONDEVMODE=1 shows the traceback, please report it", err=True)
        raise typer.Exit(1) from None


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"{SCRIPT} {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _date(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter("must be a date like 2026-04-02") from None


def _complete_source(incomplete: str) -> list[str]:
    """Return the source keys of the default settings, and of the file that TICKER_CONFIG names."""
    from service.settings import load

    try:
        return [key for key in load().sources if key.startswith(incomplete)]
    except TickerError:
        return []


def _settings(config: Path | None, **overrides: dict[str, Any]) -> "Settings":
    from service.settings import load

    settings = load(config, overrides={key: value for key, value in overrides.items() if value})
    runtime.configure(settings.runtime)
    return settings


Source = Annotated[str, typer.Argument(help="Source key.", autocompletion=_complete_source)]


@cli.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Poll the sources and serve the ticker, until SIGTERM or Ctrl-C."""
    signal(SIGTERM, stop := _Stop())
    has_terminal = sys.stdin is not None and sys.stdin.isatty()
    if not has_terminal:
        pthread_sigmask(SIG_BLOCK, [SIGHUP])  # it waits until the application serves, instead of ending the process
    gc_tuning.pause_while_loading()
    with _reported_errors(stop):
        from service.storage.embedded_valkey import embedded

        listen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}

        def read() -> "Settings":
            return _settings(config, http=listen)

        settings = read()
        server = embedded(settings.store, exclusive=True)
        if server:
            server.begin()  # it starts while the application is imported
        from service import app

        app.serve(settings, server, stop.obey, None if has_terminal else read)


@cli.command()
def show(
    ticker: Annotated[str | None, typer.Argument(help="Ticker id (default: the first ticker).")] = None,
    config: Config = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON of the API.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Print it again at each change, until Ctrl-C.")] = False,
) -> None:
    """Print the current state of a ticker.

    If no service is running, the banks are polled first.
    """
    from service.cli import commands

    with _reported_errors():
        commands.show(_settings(config), ticker, as_json=as_json, watch=watch)


@cli.command()
def poll(source: Source, config: Config = None, *, as_json: Json = False) -> None:
    """Poll a source once and print its rates and their validation against stored rates. Nothing is stored."""
    from service.cli import commands

    with _reported_errors():
        commands.poll(_settings(config), source, as_json=as_json)


@cli.command()
def check_config(
    file: Annotated[Path | None, typer.Argument(help="Configuration file (default: that of --config).")] = None,
    config: Config = None,
) -> None:
    """Check the configuration, without the store and the banks. Exit status 2 if it is invalid."""
    from service.cli import check

    with _reported_errors():
        check.check_config(_settings(file or config))


source_commands = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List the sources, or try one without code."
)
cli.add_typer(source_commands, name="sources")


@source_commands.callback()
def sources(
    context: typer.Context,
    config: Config = None,
    *,
    as_json: Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print all known sources as Markdown (docs/sources.md).")
    ] = False,
) -> None:
    """List the sources with their latest publication and the result of their last poll."""
    if context.invoked_subcommand is not None:
        return
    with _reported_errors():
        if markdown:
            from service.cli import source_catalogue

            typer.echo(source_catalogue.markdown(_settings(config)), nl=False)
            return
        from service.cli import commands

        commands.sources(_settings(config), as_json=as_json)


@source_commands.command(name="try")
def try_(
    file: Annotated[Path, typer.Argument(help="Configuration file with the source.")],
    source: Annotated[str | None, typer.Option(help="Source key (default: the only one without code).")] = None,
    on: Annotated[
        date | None, typer.Option("--date", parser=_date, metavar="DATE", help="Date to request (default: today).")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Fetch the document of a source without code once; print each rate and the cells it came from. Store nothing."""
    from service.cli import trial

    with _reported_errors():
        trial.try_source(file, source, on, as_json=as_json)


@cli.command()
def backfill(
    source: Source,
    since: Annotated[date, typer.Option("--from", parser=_date, metavar="DATE", help="First effective date.")],
    until: Annotated[
        date | None,
        typer.Option("--to", parser=_date, metavar="DATE", help="Last effective date (default: today)."),
    ] = None,
    pause: Annotated[
        float | None, typer.Option(min=0, help="Seconds between requests (default: the setting client.pause).")
    ] = None,
    config: Config = None,
) -> None:
    """Fetch historical fixings. Can be interrupted and resumed."""
    from datetime import timedelta

    from service.cli import maintenance

    with _reported_errors():
        request_pause = None if pause is None else timedelta(seconds=pause)
        maintenance.backfill(_settings(config), source, since, until, request_pause)


@cli.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write, e.g. fixings.ndjson.gz; - is standard output.")],
    config: Config = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that is not an export, or has more records.")
    ] = False,
    keep: Annotated[
        int, typer.Option(min=0, max=1000, help="Earlier files to keep as FILE.1 (the newest), FILE.2, ...")
    ] = 0,
) -> None:
    """Export all fixings, quarantined fixings and decisions to a file, as a backup or for another installation.

    A file with more records is not overwritten if it would shrink by more than 5 %.
    """
    from service.cli import maintenance

    with _reported_errors():
        maintenance.export(_settings(config), file, force=force, keep=keep)


@cli.command(name="import")
def import_(file: Annotated[Path, typer.Argument(help="File written by export.")], config: Config = None) -> None:
    """Import fixings, quarantined fixings and decisions from a file. Stored records are not changed."""
    from service.cli import maintenance

    with _reported_errors():
        maintenance.load(_settings(config), file)


@cli.command()
def check(
    config: Config = None,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move invalid records to aside:<source>; nothing is deleted.")
    ] = False,
) -> None:
    """List stored records that are unreadable or out of bounds. Exit status 1 if any remain."""
    from service.cli import check

    with _reported_errors():
        check.check(_settings(config), repair=repair)


quarantine_commands = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List and resolve quarantined rates."
)
cli.add_typer(quarantine_commands, name="quarantine")
Day = Annotated[date, typer.Argument(parser=_date, metavar="DATE", help="Effective date.")]
Which = Annotated[
    list[str] | None,
    typer.Argument(help="Currencies (default: all of that date), or the digest.", metavar="CURRENCY"),
]
Currencies = Annotated[
    list[str] | None, typer.Argument(help="Currencies (default: all of that date).", metavar="CURRENCY")
]
Digest = Annotated[str | None, typer.Option(help="Digest printed by `quarantine`; skips the confirmation.")]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")]


def _codes(which: list[str] | None, digest: str | None) -> tuple[list[str], str | None]:
    """Split the arguments into currency codes and a digest, which may be given with or without `--digest`."""
    words = which or []
    digests = [word for word in words if len(word) > 3]
    return [word.upper() for word in words if len(word) <= 3], digest or next(iter(digests), None)


def _confirm(question: str) -> bool:
    """Prompt for confirmation on standard error, so that output can be redirected. End of input means no."""
    typer.echo(f"{safe(question)} [y/N]: ", nl=False, err=True)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        return False


@quarantine_commands.callback()
def quarantine(
    context: typer.Context,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """List quarantined rates with their reasons, and the latest decisions."""
    from service.cli import maintenance

    if context.invoked_subcommand is None:
        with _reported_errors():
            maintenance.quarantine(_settings(config), as_json=as_json)


@quarantine_commands.command()
def accept(
    source: Source,
    day: Day,
    which: Which = None,
    config: Config = None,
    digest: Digest = None,
    *,
    is_break: Annotated[
        bool, typer.Option("--break", help="Record a redenomination: the currency has a new unit from that date on.")
    ] = False,
) -> None:
    """Accept and publish quarantined rates."""
    from service.cli import maintenance
    from service.validation.quarantine import Outcome

    codes, shown_digest = _codes(which, digest)
    with _reported_errors():
        maintenance.decide(
            _settings(config), source, day, Outcome.ACCEPTED, _confirm, codes, shown_digest, is_break=is_break
        )


@quarantine_commands.command()
def reject(source: Source, day: Day, which: Which = None, config: Config = None, digest: Digest = None) -> None:
    """Keep quarantined rates unpublished, and stop reporting them. `accept` reverses it."""
    from service.cli import maintenance
    from service.validation.quarantine import Outcome

    codes, shown_digest = _codes(which, digest)
    with _reported_errors():
        maintenance.decide(_settings(config), source, day, Outcome.REJECTED, _confirm, codes, shown_digest)


@cli.command()
def retract(
    source: Source, day: Day, currencies: Currencies = None, config: Config = None, *, yes: Yes = False
) -> None:
    """Retract published rates of a date. They are not published again."""
    from service.cli import maintenance

    with _reported_errors():
        maintenance.retract(
            _settings(config),
            source,
            day,
            [code.upper() for code in currencies or []],
            (lambda _: True) if yes else _confirm,
        )


quarantine_commands.command(name="retract")(retract)


@cli.command()
def set_rate(
    source: Source,
    day: Annotated[date | None, typer.Argument(parser=_date, metavar="DATE", help="Effective date.")] = None,
    rates: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CODE=VALUE",
            help="Rates in the base of the source: USD=475.09; with buying/selling USD=470/480 or USD=475.09:470/480.",
        ),
    ] = None,
    config: Config = None,
    file: Annotated[
        Path | None,
        typer.Option("--csv", help="CSV file with the columns date, code, value, perhaps buying, selling, nominal."),
    ] = None,
    author: Annotated[str, typer.Option("--by", metavar="NAME", help="Who enters them; receipts show it.")] = OPERATOR,
    *,
    is_accepted: Annotated[
        bool, typer.Option("--accept", help="Publish rates that would be quarantined, without a confirmation.")
    ] = False,
) -> None:
    """Enter rates of a source with `adapter = "manual"`. One error rejects all; after a failure, repeat the command."""
    from service.cli import entry

    with _reported_errors():
        entered = entry.EnteredRates(author, day, rates or (), file)
        entry.set_rates(_settings(config), source, entered, (lambda _: True) if is_accepted else _confirm)


webhook_commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List webhooks, and send a test event to them."
)
cli.add_typer(webhook_commands, name="webhooks")
Name = Annotated[str, typer.Argument(help="Name, URL, or number from 1.", metavar="WEBHOOK")]


@webhook_commands.command(name="list")
def list_(
    config: Config = None, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the webhooks with the events that wait and the result of the last deliveries."""
    from service.cli import webhooks

    with _reported_errors():
        webhooks.list_all(_settings(config), as_json=as_json)


@webhook_commands.command(name="test")
def send_test(
    which: Annotated[
        str | None, typer.Argument(help="Name, URL, or number from 1 (default: all).", metavar="WEBHOOK")
    ] = None,
    config: Config = None,
) -> None:
    """Send a signed test event and print the response. A cache is sent a purge of the first ticker."""
    from service.cli import webhooks

    with _reported_errors():
        webhooks.send_test(_settings(config), which)


@webhook_commands.command()
def resume(which: Name, config: Config = None) -> None:
    """Resume a webhook whose receiver has refused all events by status 410."""
    from service.cli import webhooks

    with _reported_errors():
        webhooks.resume(_settings(config), which)
