"""Text of a bank is printed as it is: square brackets are no markup of the terminal library."""

import asyncio
from dataclasses import replace

from service.settings import Settings
from service.state.memory import SourceState
from service.storage.repository import Store
from service.validation.quarantine import QuarantinedFixing
from tests.support.cli import command
from tests.support.fixings import FETCHED, day, fixing

BRACKETS = "a redirect to [/] and [red]https://bank.example/[1]"


async def test_brackets_are_printed(settings: Settings) -> None:
    store_url = settings.store.url.get_secret_value()
    environ = {"TICKER_STORE__URL": store_url, "TICKER_STORE__PREFIX": settings.store.prefix}
    quarantined = QuarantinedFixing(fixing(day(2), USD="475.09"), (f"USD {BRACKETS}",), FETCHED)
    async with Store(store_url, settings.store.prefix) as store:
        await store.save_state("nbk", replace(SourceState(FETCHED), error=BRACKETS, failing_since=FETCHED, failures=1))
        await store.quarantine(quarantined)
    for arguments in (["sources"], ["quarantine"]):
        result = await asyncio.to_thread(command, environ, *arguments)
        printed = "".join(character for character in result.output if character not in "│ \n")
        assert BRACKETS.replace(" ", "") in printed
