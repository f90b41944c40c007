"""Commands around training processes: what runs, and how to stop it."""

from __future__ import annotations

from typing import Annotated

import typer

from emsam.cli.console import AsJson, emit, progress, table
from emsam.metrics.as_text import number

app = typer.Typer(
    invoke_without_command=True,
    help="Training jobs: running and recent ones; stop one.",
    epilog="Example: emsam jobs --json",
)


@app.callback()
def jobs(
    context: typer.Context,
    recent: Annotated[int, typer.Option(min=0, help="Ended jobs that are shown, too.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List running and recent jobs with device, step, speed, time left and last loss."""
    if context.invoked_subcommand:
        return
    from dataclasses import asdict

    from emsam.launch.jobs import Job, list_jobs
    from emsam.settings import Settings

    settings = Settings()

    def row(job: Job) -> list[str]:
        steps = f"{job.step}/{job.steps}" if job.steps else str(job.step)
        speed = f"{job.steps_per_second:.2f}" if job.steps_per_second else "-"
        return [job.id, job.state, ",".join(job.slots) or "-", steps, speed,
                _duration(job.seconds_left), number(job.loss), job.note[:60]]  # fmt: skip

    found = list_jobs(settings, recent)
    columns = ["job", "state", "device", "step", "steps/s", "left", "loss", "note"]
    title = f"jobs in {settings.runs_root}"
    emit([asdict(job) for job in found], as_json, table(title, columns, [row(j) for j in found]))


@app.command(epilog="Example: emsam jobs stop ca1-neurites-emsam-1a2b3c4d")
def stop(
    job: Annotated[str, typer.Argument(metavar="ID", help="Name of a run, or its directory.")],
    as_json: AsJson = False,
) -> None:
    """Stop a job: it finishes its step, saves, and the same command goes on from there."""
    from dataclasses import asdict

    from emsam.launch.jobs import stop_job
    from emsam.settings import Settings

    with progress(f"stopping {job}"):
        stopped = stop_job(job, Settings())
    emit(asdict(stopped), as_json, [f"{stopped.run}: {stopped.state} at step {stopped.step}"])


def _duration(seconds: float | None) -> str:
    """``1:02:03``, ``2:03``; a dash where nothing is known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
