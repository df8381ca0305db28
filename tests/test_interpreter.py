"""The collector looks at nothing again and again, and loses nothing by that."""

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from service import interpreter


class Node:
    other: "Node"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    thresholds, callbacks, interval = gc.get_threshold(), list(gc.callbacks), sys.getswitchinterval()
    yield
    gc.callbacks[:] = callbacks
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)
    gc.unfreeze()


def test_what_a_long_round_has_left_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is still freed as soon as nobody refers to it."""
    interpreter.settle()
    many = [Node() for _ in range(1000)]
    last = weakref.ref(many[-1])
    monkeypatch.setattr(interpreter, "LONG", 0.0)
    gc.collect()
    assert not any(isinstance(one, Node) for one in gc.get_objects())
    del many
    assert last() is None


def test_a_short_round_sets_nothing_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do those of the young: in quiet times cycles are collected as ever, however old they are."""
    interpreter.settle()
    monkeypatch.setattr(interpreter, "LONG", 60.0)
    one = Node()
    one.other = one
    gone = weakref.ref(one)
    frozen = gc.get_freeze_count()
    gc.collect()
    monkeypatch.setattr(interpreter, "LONG", 0.0)
    gc.collect(0)
    gc.collect(1)
    monkeypatch.setattr(interpreter, "LONG", 60.0)
    assert gc.get_freeze_count() <= frozen
    del one
    gc.collect()
    assert gone() is None
