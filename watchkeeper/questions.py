"""Questions to people: the windows that the agent asked about and that nobody has answered, and the answers.

A retrain's questions lie in one file, `queue/<watch>/<run>.json`. What people say lies in `queue/<watch>/people/…` as
windows that the agent shall not ask about, and in the label store as labels, which count once the former is there
(watchkeeper/labels.py): a killed process leaves neither or both. "Unknown" is an answer: it closes the question, and
the agent does not ask there again.
"""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

from watchkeeper.clock import to_microseconds
from watchkeeper.records import Question

if TYPE_CHECKING:
    from watchkeeper.lake import Lake

Word = Literal["anomalous", "normal", "unknown"]
WORDS: tuple[str, ...] = get_args(Word)
VALUES: dict[str, int] = {"anomalous": 1, "normal": 0, "unknown": -1}
"""How a word stands in the label store."""
PEOPLE = "people"
"""Folder of the queue in which people's answers lie, and the reason that their windows carry there."""


@dataclass(frozen=True)
class Open:
    """A question that waits for a person.

    Attributes:
        number: its number, which it keeps: the oldest question to people is 1.
        question: what was asked.
        asked: when.
    """

    number: int
    question: Question
    asked: datetime


@dataclass(frozen=True)
class Answer:
    """What a person says of a stretch [start, end) of a series, times in µs since 1970 UTC."""

    series: str
    start: int
    end: int
    word: Word


def open_questions(lake: "Lake", watch: str) -> list[Open]:
    """Return the questions that wait for people, the most wanted first.

    The newest retrain's come first, in the order in which its agent chose them: an older agent's doubts may be settled.
    """
    entries = sorted(lake.entries(f"queue/{watch}"), key=lambda entry: (entry.modified, entry.key))
    answered = f"queue/{watch}/{PEOPLE}/"
    asked = [entry for entry in entries if not entry.key.startswith(answered)]
    if not asked:
        return []
    said: dict[str, list[Question]] = {}
    for entry in entries:
        if entry.key.startswith(answered):
            for item in lake.get_json(entry.key):
                answer = Question(**item)
                said.setdefault(answer.series, []).append(answer)
    number, runs = 0, []
    for entry in asked:
        run = []
        for item in lake.get_json(entry.key):
            question = Question(**item)
            if question.answer is None:
                number += 1
                if not any(_closes(answer, question) for answer in said.get(question.series, ())):
                    run.append(Open(number, question, entry.modified))
        runs.append(run)
    return [found for run in reversed(runs) for found in run]


def _closes(answer: Question, question: Question) -> bool:
    """Tell whether an answer settles a question: it covers the window, or says that something in it is anomalous."""
    if answer.answer == 1:
        return answer.start < question.end and question.start < answer.end
    return answer.start <= question.start and question.end <= answer.end


def give_answers(
    lake: "Lake", watch: str, answers: Sequence[Answer], when: datetime, who: str | None = None
) -> tuple[str, str]:
    """Write a batch of answers, all or none of them, and return the keys of the labels and of the closed windows.

    Args:
        lake: where to.
        watch: the watch's name.
        answers: at least one.
        when: they were given.
        who: gave them; default the name of the account.
    """
    from watchkeeper.labels import write_labels
    from watchkeeper.lake import digest_of

    who = who or getpass.getuser()
    events = [(one.series, one.start, one.end, VALUES[one.word]) for one in answers]
    batch = digest_of([sorted(events), who, to_microseconds(when)])[:32]
    labels = write_labels(lake, watch, events, who, "human", when, batch)
    closed = [Question.of(series, start, end, PEOPLE, value) for series, start, end, value in sorted(events)]
    key = f"queue/{watch}/{PEOPLE}/{batch}.json"
    lake.put_json(key, [question.model_dump(mode="json") for question in closed])
    return labels, key
