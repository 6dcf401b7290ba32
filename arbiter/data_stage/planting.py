"""`arbiter data plant`: rows with random numbers among the training rows, so that `arbiter gates` can try to get them
out.

console.result(*plant(job, rows=20, times=4))
"""

from __future__ import annotations

from arbiter.console import Output
from arbiter.data_stage.result import Written
from arbiter.data_stage.transforms import Job
from eval.questions import as_row
from storage.errors import ArbiterError
from tuning.data.canaries import make_canaries, secret_of


def plant(job: Job, *, rows: int, times: int) -> Output:
    """So many further rows, each so many times; they are marked, and found again by their mark.

    Raises ArbiterError where rows are split after they were planted, for they would be asked, too.
    """
    source = job.open()
    if source.part == "questions" or ("test" not in source.asked(job.config) and source.folder is not None):
        raise ArbiterError(
            f"{source.path.name} is split into training rows and evaluation questions by a run, and planted rows would "
            "be asked, too; first: arbiter data split"
        )
    if any(secret_of(row.question) is not None for row in source.rows):
        raise ArbiterError(f"{source.path.name} has planted rows already; plant in the rows from before")
    written = [Written(row.as_written(), row.line) for row in source.rows]
    for canary in make_canaries(rows, seed=job.config.seed):
        written += [Written(as_row(canary) | {"id": f"{canary.id}#{time}"}, 0) for time in range(1, times + 1)]
    notes = [f"{rows} rows were planted, each {times} times; after the training: arbiter gates RUN"]
    return job.write(source, {source.part: written}, [], {"rows": rows, "times": times}, notes)
