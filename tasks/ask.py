"""Ask: what the agent wanted to know goes to the queue, what was answered to the label store.

The last step of a retrain, so that a retrain that is killed and started again finds the data as it first found them.
The questions are written last: with them the answers count (watchkeeper/labels.py), and the retrain is done.
"""

from tasks import runs
from tasks.rows import read_snapshot
from tasks.step import step
from tasks.train_agent import questions_of
from watchkeeper.clock import to_microseconds
from watchkeeper.labels import write_labels
from watchkeeper.lake import Lake
from watchkeeper.records import Asked, Prepared, Question, Trained
from watchkeeper.watch import Watch


@step(retries=2)
def ask(lake_uri: str, watch: Watch, prepared: Prepared, candidate: Trained) -> Asked:
    """Publish the agent's questions and the answers it got."""
    lake = Lake(lake_uri)
    run = runs.run_key(watch, prepared.snapshot)
    items = questions_of(lake, candidate)
    questions = [Question(**item) for item in items]
    answered = [question for question in questions if question.answer is not None]
    if answered:
        events = []
        for question in answered:
            start, end = to_microseconds(question.start), to_microseconds(question.end)
            events.append((question.series, start, end, int(question.answer or 0)))
        when = read_snapshot(lake, watch.name, prepared.snapshot).end
        write_labels(lake, watch.name, events, "oracle", "answered", when, run)
    if questions:
        lake.put_json(f"queue/{watch.name}/{run}.json", items)
    return Asked(questions=len(questions), answered=len(answered))
