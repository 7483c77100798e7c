"""Reading ahead in threads: order, errors in their places, bounded waiting, and threads that end."""

import threading
import time
from collections.abc import Iterator

import pytest

from picscribe.batches import read_ahead
from picscribe.errors import InputError, PicscribeError


def readers() -> int:
    return sum(thread.name.startswith("picscribe-reading") for thread in threading.enumerate())


def of_number(number: int) -> int:
    if number % 5 == 3:
        raise InputError(f"{number} is broken")
    time.sleep((number % 3) / 500)  # later ones are ready before earlier ones
    return number * number


@pytest.mark.parametrize(("ahead", "workers"), [(1, 1), (4, 1), (1, 3), (7, 4), (100, 8)])
def test_results_come_in_order_and_errors_in_their_places(ahead: int, workers: int) -> None:
    found = list(read_ahead(range(40), of_number, ahead, workers))
    assert len(found) == 40
    for number, result in enumerate(found):
        if number % 5 == 3:
            assert isinstance(result, PicscribeError) and str(number) in str(result)
        else:
            assert result == number * number
    assert readers() == 0


def test_nothing_to_read() -> None:
    assert list(read_ahead([], of_number, 3, 2)) == []


def test_endless_sources_wait_to_be_asked_for() -> None:
    drawn = 0

    def endless() -> Iterator[int]:
        nonlocal drawn
        while True:
            yield 2 * drawn - drawn
            drawn += 1

    reading = read_ahead(endless(), lambda number: number, ahead=4, workers=2)
    for taken in range(50):
        assert next(reading) == taken
        assert drawn <= taken + 6
    reading.close()
    assert readers() == 0, "threads end when the iterator is closed early"


def test_an_unexpected_error_is_raised_and_ends_the_threads() -> None:
    def fail(number: int) -> int:
        raise ZeroDivisionError(number)

    with pytest.raises(ZeroDivisionError):
        list(read_ahead(range(100), fail, 5, 3))
    assert readers() == 0


def test_a_source_that_fails_is_raised_and_ends_the_threads() -> None:
    def sources() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(read_ahead(sources(), of_number, 5, 2))
    assert readers() == 0


def test_pending_reads_are_dropped_on_close() -> None:
    begun: list[int] = []

    def slowly(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return number

    reading = read_ahead(range(1000), slowly, 100, 1)
    assert next(reading) == 0
    reading.close()
    assert len(begun) < 100
