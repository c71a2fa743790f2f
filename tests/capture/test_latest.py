"""The one-slot mailbox: newest wins, errors and the end reach the reader."""

from __future__ import annotations

import threading

import pytest

from capture.latest import Latest


def test_the_newest_value_wins_and_the_rest_are_counted():
    mailbox: Latest[int] = Latest()
    for value in range(5):
        mailbox.put(value)
    assert mailbox.read() == 4
    assert mailbox.num_dropped == 4


def test_take_gives_an_unread_value_once_and_peek_keeps_it():
    mailbox: Latest[str] = Latest()
    assert mailbox.take() is None
    assert mailbox.peek() is None
    mailbox.put("a")
    assert mailbox.peek() == "a"
    assert mailbox.take() == "a"
    assert mailbox.take() is None
    assert mailbox.peek() == "a"


def test_read_waits_for_a_value_from_another_thread():
    mailbox: Latest[int] = Latest()
    reading = threading.Event()
    got: list[int | None] = []

    def read() -> None:
        reading.set()
        got.append(mailbox.read())

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait()
    mailbox.put(7)
    reader.join(10)
    assert got == [7]


def test_an_empty_mailbox_times_out():
    with pytest.raises(TimeoutError):
        Latest[int]().read(timeout_s=0.0)


def test_the_writers_error_is_raised_at_the_reader_even_over_an_unread_value():
    mailbox: Latest[int] = Latest()
    mailbox.put(1)
    mailbox.fail(ValueError("broken"))
    for look in (mailbox.read, mailbox.take, mailbox.peek):
        with pytest.raises(ValueError, match="broken"):
            look()


def test_close_gives_the_unread_value_then_the_end_and_refuses_more():
    mailbox: Latest[int] = Latest()
    mailbox.put(1)
    mailbox.close()
    mailbox.put(2)
    mailbox.fail(ValueError("too late"))
    assert mailbox.read() == 1
    assert mailbox.read() is None
    assert mailbox.closed


def test_close_wakes_a_waiting_reader():
    mailbox: Latest[int] = Latest()
    got: list[int | None] = []
    reader = threading.Thread(target=lambda: got.append(mailbox.read()))
    reader.start()
    mailbox.close()
    reader.join(10)
    assert got == [None]
