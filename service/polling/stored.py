"""Validate fixings against stored ones and write them: for backfills, and for rates that an operator enters."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from service.clock import Clock
from service.domain.fixing import Fixing, Series
from service.polling.poller import ParsedFixing
from service.runtime.background import run_in_thread
from service.settings import Settings
from service.state.memory import configured_breaks, tolerance, validation_context, witness_of
from service.storage.repository import Store
from service.validation.cross_check import CrossCheck, describe
from service.validation.quarantine import Quarantine
from service.validation.rules import Judgement, judge_all

_BEFORE, _AFTER = timedelta(days=90), timedelta(days=14)
"""Known rates before and after the fixings that are used for validation: offset and spread of two banks come from
them."""
_KEEP: Final = 10_000
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class StoredValidation:
    """Validation of fixings of one source against the store. It may run next to a service, which follows the store."""

    settings: Settings
    store: Store
    key: str
    now: Clock

    async def judge(
        self, fixings: Sequence[Fixing], first: date, last: date, *, entered: bool = False
    ) -> list[Judgement]:
        """Judge fixings, oldest first, that were requested for the dates from `first` to `last`.

        If an operator has `entered` them, rates that would be published and not shown, because other banks refute them,
        are held too: the operator can accept them.
        """
        first_known, last_known = min([first, *(fixing.date for fixing in fixings)]) - _BEFORE, last + _AFTER
        sources, quarantine = self.settings.sources, Quarantine.of([], await self.store.decisions(self.key))
        stored = {source: await self._series(source, first_known, last_known) for source in sources}
        check = CrossCheck(
            {source: witness_of(sources[source], source, series) for source, series in stored.items()},
            tolerance(self.settings.acceptance),
            {self.key: quarantine.accepted},
        )
        breaks = (*configured_breaks(sources[self.key]), *quarantine.breaks)
        context = validation_context(
            self.settings, self.key, self.now(), check, quarantine.rejected, breaks, backfill=True
        )
        judged = await run_in_thread(judge_all, fixings, stored[self.key], context, _KEEP)
        return [_with_refuted(each, check) for each in judged] if entered else judged

    async def _series(self, key: str, first: date, last: date) -> Series:
        days = [first + offset * _DAY for offset in range((last - first).days + 1)]
        return Series(tuple(await self.store.fixings(key, days)))

    async def write(self, parsed: Sequence[ParsedFixing], judged: Sequence[Judgement]) -> int:
        """Write the accepted and the quarantined rates, with the raw responses that they came from.

        Return the number of accepted fixings.
        """
        quarantine = Quarantine.of(await self.store.waiting(self.key), await self.store.decisions(self.key))
        if accepted := [judgement.publish for judgement in judged if judgement.publish]:
            await self.store.save(*accepted)
        quarantined, ended = quarantine.receive(judged, self.now())
        digests = {*(fixing.digest for fixing in accepted), *(entry.fixing.digest for entry in quarantined)}
        for response in {response.digest: response for response, _ in parsed}.values():
            if response.digest in digests:
                await self.store.save_raw(self.key, response.digest, response.body, self.settings.store.keep_raw)
        for decision in ended:
            await self.store.record_decision(decision)
        for entry in quarantined:
            await self.store.quarantine(entry)
        return len(accepted)


def _with_refuted(judgement: Judgement, check: CrossCheck) -> Judgement:
    """Return a judgement that holds also the rates that other banks refute."""
    fixing, held = judgement.fixing, judgement.held.rates if judgement.held else {}
    assessments = {code: check.assess(fixing.source, fixing, code) for code in fixing.rates.keys() - held.keys()}
    refuted = {code: assessment for code, assessment in assessments.items() if assessment.refuted}
    if not refuted:
        return judgement
    reasons = dict(zip(sorted(held), judgement.reasons, strict=True))
    for code, assessment in refuted.items():
        levels = describe(assessment.disagreeing or assessment.awaited)
        reasons[code] = f"{code}: other banks have it elsewhere ({levels})"
    return replace(
        judgement,
        held=fixing.without(fixing.rates.keys() - reasons.keys()),
        reasons=tuple(reasons[code] for code in sorted(reasons)),
    )
