"""Enter rates by hand (`python -m service set-rate`): validated as those of a bank, and accepted by the operator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from service.cli.commands import QUIET, source_of, with_store
from service.cli.maintenance import Confirm, listed
from service.cli.output import console
from service.clock import Clock
from service.domain.bounds import LONGEST_NAME, date_errors, is_name, rate_errors, summary
from service.domain.fixing import Fixing
from service.errors import SettingsError, StoreError, TickerError, safe
from service.observability.logging import configure
from service.polling.stored import StoredValidation
from service.settings import Settings
from service.sources import manual
from service.sources.adapter import RawResponse
from service.sources.registry import validate
from service.storage.repository import Store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, Verdict, fixing_to_publish


@dataclass(frozen=True)
class EnteredRates:
    """What an operator enters: rates of a date such as `USD=475.09` or `USD=470/480`, or a CSV file with dates."""

    author: str
    day: date | None = None
    rates: Sequence[str] = ()
    file: Path | None = None

    def text(self, longest: int) -> bytes:
        """Return the entered text, of at most `longest` bytes; raise `TickerError` if there is none."""
        if self.file is None:
            if self.day is None or not self.rates:
                raise SettingsError("nothing to enter: give a date and rates like USD=475.09, or --csv FILE")
            return manual.document(self.day, self.rates)
        if self.day or self.rates:
            raise SettingsError("--csv takes the place of a date and rates: give one or the other")
        try:
            with self.file.open("rb") as file:
                body = file.read(longest + 1)
        except OSError as error:
            raise TickerError(f"{self.file}: cannot be read: {error.strerror or error}") from None
        if len(body) > longest:
            raise TickerError(f"{self.file}: has more than {longest} bytes (client.max_bytes); split it")
        return body


def set_rates(settings: Settings, key: str, entry: EnteredRates, confirm: Confirm) -> None:
    """Publish entered rates. A running service picks them up.

    Rates that would be quarantined are printed with the reasons and published if `confirm` returns True. Raises
    `TickerError` without any change if the text has an error, if rates cannot be published whoever accepts them, or if
    they are not confirmed; with the dates that are published if the store fails meanwhile.
    """
    configure(QUIET)
    source = source_of(validate(settings), key)
    if not source.is_manual:
        manual_keys = ", ".join(each for each, other in settings.sources.items() if other.is_manual) or "none"
        raise SettingsError(f'{key} is polled: rates are entered for sources with adapter = "manual" ({manual_keys})')
    if not is_name(entry.author):
        raise SettingsError(f"--by must be a name of at most {LONGEST_NAME} printable characters")
    clock = Clock()
    now = clock().replace(microsecond=0)
    response = RawResponse(key, source.base, source.url, entry.text(settings.client.max_bytes), now)
    try:
        fixings = manual.parse(response, entry.author)
    except TickerError as error:
        if entry.file is None:  # the arguments are wrong
            raise SettingsError(str(error)) from None
        raise

    async def enter(store: Store) -> list[str]:
        _check(fixings, store.last_date(key))
        validation = StoredValidation(settings, store, key, clock)
        judged = await validation.judge(fixings, fixings[0].date, fixings[-1].date, entered=True)
        held = [judgement for judgement in judged if judgement.held]
        if held and not confirm(_question(held)):
            raise TickerError(f"{key}: not confirmed, nothing was changed; publish these rates with --accept")
        await _publish(store, validation, response, judged)
        await _check_published(store, judged)
        return [f"{key} {each.fixing.date}: {listed(each.fixing)}: {_outcome(each)}" for each in judged]

    output = console(soft_wrap=True)
    for line in with_store(settings, enter):
        output.print(safe(line))


def _check(fixings: Sequence[Fixing], last: date) -> None:
    """Raise `TickerError` if rates cannot be published, whoever accepts them."""
    errors = [
        f"{fixing.date}: {error}"
        for fixing in fixings
        for error in (*date_errors(fixing.date, last), *_rate_errors(fixing))
    ]
    if errors:
        raise TickerError(f"{fixings[0].source} {summary(errors)}; nothing was changed")


def _rate_errors(fixing: Fixing) -> Iterator[str]:
    """Yield the errors of entered rates. A bank may quote its base at 1, but nobody enters it on purpose."""
    errors = rate_errors(fixing)
    yield from errors.values()
    if fixing.base in fixing.rates and fixing.base not in errors:
        yield f"the base {fixing.base} is quoted in itself; the rates of other currencies are entered"


def _question(held: Sequence[Judgement]) -> str:
    """Return what would be quarantined, with the reasons, and the question whether to publish it."""
    parts = [
        f"{judgement.fixing.source} {judgement.fixing.date}: {listed(judgement.held)}"
        + "".join(f"\n  {reason}" for reason in judgement.reasons)
        for judgement in held
        if judgement.held
    ]
    return "\n".join(["These rates would be quarantined, or not shown:", *parts, "Publish all entered rates?"])


async def _publish(
    store: Store, validation: StoredValidation, response: RawResponse, judged: Sequence[Judgement]
) -> None:
    """Publish the rates of all dates, after their text. A repetition completes what a failure of the store has left.

    Rates that would not be quarantined are written in one transaction, the others in one per date.
    """
    free, held = [each for each in judged if not each.held], [each for each in judged if each.held]
    published = list[date]()
    try:
        if held or any(judgement.publish for judgement in free):
            await store.save_raw(validation.key, response.digest, response.body, validation.settings.store.keep_raw)
        await validation.write([(response, judgement.fixing) for judgement in free], free)
        published += [judgement.fixing.date for judgement in free]
        for judgement in held:
            await _accept(store, judgement, response.fetched_at)
            published.append(judgement.fixing.date)
    except StoreError as error:
        dates = ", ".join(map(str, sorted(published))) or "none"
        raise TickerError(
            f"{error}; dates that are certainly published: {dates}; run the same command again to publish all"
        ) from None


async def _accept(store: Store, judgement: Judgement, now: datetime) -> None:
    """Publish the rates of a date with the decision to accept those that would be quarantined, in one transaction."""
    fixing, held = judgement.fixing, judgement.held
    assert held is not None  # noqa: S101 - only such judgements are accepted
    decision = QuarantineDecision(QuarantinedFixing(held, judgement.reasons, now), Outcome.ACCEPTED, now)
    publish = fixing_to_publish(fixing, fixing.rates, await store.fixing(fixing.source, fixing.date))
    if publish:
        await store.save(publish, decision=decision)
    else:
        await store.record_decision(decision)


async def _check_published(store: Store, judged: Sequence[Judgement]) -> None:
    """Raise `TickerError` if another entry has replaced rates meanwhile."""
    for fixing in (judgement.fixing for judgement in judged):
        stored = await store.fixing(fixing.source, fixing.date)
        if stored is None or not fixing.is_part_of(stored):
            later = listed(stored) if stored else "nothing"
            raise TickerError(f"{fixing.source} {fixing.date}: not published, a later version is stored: {later}")


def _outcome(judgement: Judgement) -> str:
    if judgement.held:
        return "accepted"
    return "already published" if judgement.verdict is Verdict.KNOWN else judgement.verdict
