"""The command line. Exit status 0, 1 for what failed, 2 for bad settings or usage."""

# Every command loads only what it needs: a service that restarts is missed for as long as its imports take.
# ruff: noqa: PLC0415

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from signal import SIGTERM, signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service import runtime
from service.errors import SettingsError, TickerError
from service.runtime import gc_tuning

if TYPE_CHECKING:
    from service.settings import Settings

cli = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file laid over config/default.toml.")]


class _Stop:
    """What SIGTERM does until the application has its own handler: an end, and a note of it.

    Raised inside a callback of a library in C the end is swallowed there; then the note counts.
    """

    asked = False

    def __call__(self, *_: object) -> None:
        self.asked = True
        sys.exit(0)

    def obey(self) -> None:
        if self.asked:
            sys.exit(0)


@contextmanager
def _told(stop: _Stop | None = None) -> Iterator[None]:
    """Turn our errors into one line and an exit status."""
    try:
        yield
    except TickerError as error:
        if stop:
            stop.obey()
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None


def _settings(config: Path | None, **overrides: dict[str, Any]) -> "Settings":
    from service.settings import load

    settings = load(config, overrides={key: value for key, value in overrides.items() if value})
    runtime.configure(settings.runtime)
    return settings


@cli.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on.")] = None,
) -> None:
    """Poll the banks and serve the ticker, until SIGTERM or Ctrl-C."""
    signal(SIGTERM, stop := _Stop())
    gc_tuning.pause_while_loading()
    with _told(stop):
        from service.storage.embedded_valkey import embedded

        said = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        settings = _settings(config, http=said)
        server = embedded(settings.store, exclusive=True)
        if server:
            server.begin()  # it reads its file while we load the rest
        from service import app

        app.serve(settings, server, stop.obey)


@cli.command()
def show(
    ticker: Annotated[str | None, typer.Argument(help="A ticker's id; the first one without.")] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="As the service serves it.")] = False,
) -> None:
    """Print a ticker from what is stored, as the service would serve it now."""
    from service.cli import commands

    with _told():
        commands.show(_settings(config), ticker, as_json=as_json)


@cli.command()
def poll(source: Annotated[str, typer.Argument(help="A source's key.")], config: Config = None) -> None:
    """Ask one source once and print what would be stored; nothing is."""
    from service.cli import commands

    with _told():
        commands.poll(_settings(config), source)


@cli.command()
def sources(
    config: Config = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All that are known, as a document (docs/sources.md).")
    ] = False,
) -> None:
    """Print every source and how its polls go."""
    with _told():
        if markdown:
            from service.cli import source_catalogue

            typer.echo(source_catalogue.markdown(_settings(config)), nl=False)
            return
        from service.cli import commands

        commands.sources(_settings(config))


@cli.command()
def backfill(
    source: Annotated[str, typer.Argument(help="A source's key.")],
    since: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first effective date.")],
    until: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last one; today without.")
    ] = None,
    pause: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait after each request; `client.pause` without.")
    ] = None,
    config: Config = None,
) -> None:
    """Ask a source for its past. Cut off at any time, it goes on where it was when run again."""
    from datetime import timedelta

    from service.cli import maintenance

    with _told():
        wait = None if pause is None else timedelta(seconds=pause)
        maintenance.backfill(_settings(config), source, since.date(), until.date() if until else None, wait)


@cli.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write it: fixings.ndjson.gz")], config: Config = None
) -> None:
    """Write all fixings to one file, for another installation or to keep."""
    from service.cli import maintenance

    with _told():
        maintenance.export(_settings(config), file)


@cli.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="What export has written.", exists=True)], config: Config = None
) -> None:
    """Take in the fixings of a file; what is known already stays as it is."""
    from service.cli import maintenance

    with _told():
        maintenance.load(_settings(config), file)


@cli.command()
def check(
    config: Config = None,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move bad records to aside:<source>; nothing is lost.")
    ] = False,
) -> None:
    """List stored records that cannot be read or are out of bounds. Exit status 1 where one is left."""
    from service.cli import check

    with _told():
        check.check(_settings(config), repair=repair)


waits = typer.Typer(invoke_without_command=True, rich_markup_mode=None, help="List and resolve quarantined rates.")
cli.add_typer(waits, name="quarantine")
Source = Annotated[str, typer.Argument(help="A source's key.")]
Day = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The effective date.")]
Which = Annotated[
    list[str] | None,
    typer.Argument(help="Currencies to decide on (default: all of that date), or the digest.", metavar="[CURRENCY]..."),
]
Digest = Annotated[str | None, typer.Option(help="The digest that `quarantine` printed; then nothing is asked.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _codes(which: list[str] | None, digest: str | None) -> tuple[list[str], str | None]:
    """Return the currencies, and the digest also where it was given without its option's name."""
    words = which or []
    digests = [word for word in words if len(word) > 3]
    return [word.upper() for word in words if len(word) <= 3], digest or next(iter(digests), None)


def _confirm(question: str) -> bool:
    """Ask on standard error, so that output can be redirected; no input means no."""
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        return False


@waits.callback()
def quarantine(
    context: typer.Context,
    config: Config = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what is in quarantine, with the reasons, and the latest decisions."""
    from service.cli import maintenance

    if context.invoked_subcommand is None:
        with _told():
            maintenance.quarantine(_settings(config), as_json=as_json)


@waits.command()
def accept(
    source: Source,
    day: Day,
    which: Which = None,
    config: Config = None,
    digest: Digest = None,
    *,
    is_break: Annotated[
        bool, typer.Option("--break", help="The currency is in a new unit from that date on (a redenomination).")
    ] = False,
) -> None:
    """Accept and publish quarantined rates."""
    from service.cli import maintenance
    from service.validation.quarantine import Outcome

    codes, seen = _codes(which, digest)
    with _told():
        maintenance.decide(
            _settings(config), source, day.date(), Outcome.ACCEPTED, _confirm, codes, seen, is_break=is_break
        )


@waits.command()
def reject(source: Source, day: Day, which: Which = None, config: Config = None, digest: Digest = None) -> None:
    """Reject quarantined rates: they are never published, and not reported again."""
    from service.cli import maintenance
    from service.validation.quarantine import Outcome

    codes, seen = _codes(which, digest)
    with _told():
        maintenance.decide(_settings(config), source, day.date(), Outcome.REJECTED, _confirm, codes, seen)


@cli.command()
def retract(source: Source, day: Day, which: Which = None, config: Config = None, *, yes: Yes = False) -> None:
    """Take back published rates of a date; they are not published again."""
    from service.cli import maintenance

    with _told():
        maintenance.retract(
            _settings(config),
            source,
            day.date(),
            [code.upper() for code in which or []],
            (lambda _: True) if yes else _confirm,
        )


waits.command(name="retract")(retract)
