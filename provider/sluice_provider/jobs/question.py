"""What a person is to decide when the outcome of a request is unknown, and the possible answers. Plain data."""

from __future__ import annotations

from typing import NamedTuple


class Choice:
    """The answers, as they are written on the buttons."""

    FOUND = "It is there: continue with it"
    SUBMIT_AGAIN = "It is not there: submit again"
    GIVE_UP = "Give up: fail the task"


CHOICES = (Choice.FOUND, Choice.SUBMIT_AGAIN, Choice.GIVE_UP)


class Question(NamedTuple):
    """
    :param subject: one line
    :param text: what was submitted, when, and how to find it in the service
    """

    subject: str
    text: str
