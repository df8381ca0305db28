"""Which effective dates the store has, and which it has lost."""

from service.storage.inventory import Inventory
from tests.support.fixings import day

APRIL = [day(number) for number in range(1, 11)]


def test_nothing_is_known_before_the_first_sync() -> None:
    inventory = Inventory()
    assert (inventory.count("nbk"), inventory.oldest("nbk"), inventory.lost("nbk")) == (None, None, [])


def test_vanished_dates_are_lost_until_they_return() -> None:
    """They are reported once; those in memory are named."""
    inventory = Inventory()
    assert inventory.update("nbk", APRIL, [], []).dates == []
    loss = inventory.update("nbk", APRIL[3:5], [], APRIL[8:])
    assert (loss.dates, loss.held) == ([*APRIL[:3], *APRIL[5:]], APRIL[8:])
    assert (inventory.count("nbk"), inventory.oldest("nbk")) == (2, day(4))
    assert inventory.update("nbk", APRIL[3:5], [], []).dates == []
    for written in APRIL[8:]:
        inventory.add("nbk", written)
    assert inventory.lost("nbk") == [*APRIL[:3], *APRIL[5:8]]
    assert inventory.update("nbk", APRIL, [], []).dates == []
    assert (inventory.lost("nbk"), inventory.count("nbk"), inventory.oldest("nbk")) == ([], 10, day(1))


def test_loss_that_grows_reports_only_what_is_new() -> None:
    inventory = Inventory()
    inventory.update("nbk", APRIL, [], [])
    inventory.update("nbk", APRIL[1:], [], [])
    assert inventory.update("nbk", APRIL[2:], [], []).dates == [day(2)]
    assert inventory.lost("nbk") == APRIL[:2]


def test_removed_dates_are_not_lost() -> None:
    """An operator retracted them; a date that was retracted in part is still stored."""
    inventory = Inventory()
    inventory.update("nbk", APRIL, [], [])
    assert inventory.update("nbk", APRIL[1:], [day(1), day(2)], []).dates == []
    assert (inventory.lost("nbk"), inventory.count("nbk")) == ([], 9)
    assert inventory.update("nbk", APRIL[2:], [day(1)], []).dates == [day(2)]


def test_written_dates_are_known() -> None:
    """They are lost if they vanish, although they were never read."""
    inventory = Inventory()
    inventory.update("nbk", [], [], [])
    inventory.add("nbk", day(1))
    inventory.add("nbk", day(1))
    assert (inventory.count("nbk"), inventory.oldest("nbk")) == (1, day(1))
    assert inventory.update("nbk", [], [], []).dates == [day(1)]


def test_sources_are_independent() -> None:
    inventory = Inventory()
    inventory.update("nbk", APRIL, [], [])
    inventory.update("cbr", [], [], [])
    assert (inventory.lost("cbr"), inventory.count("cbr")) == ([], 0)
