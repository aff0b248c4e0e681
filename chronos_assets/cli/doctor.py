"""`doctor`: what stands in the way of a run."""

from __future__ import annotations

from pathlib import Path

from chronos_assets.cli.common import DataOption, dagster_home, open_group, settings_for


def doctor(data: DataOption = None) -> int:
    """Report what would keep a run from succeeding, before anything is launched."""
    from chronos_assets.cli.copying import folder_problem
    from chronos_assets.platforms.checkup import Finding, any_failed, render

    settings = settings_for(data)
    if settings.deployment == "aws":
        from chronos_assets.platforms.aws import doctor as aws_doctor
        from chronos_assets.platforms.aws.clients import clients_of

        findings = aws_doctor.examine(settings, clients_of(settings))
    else:
        from chronos_assets.platforms.local import doctor as local_doctor

        findings = local_doctor.examine(settings)
    from chronos_assets.defs.checkup import examine_instance
    from chronos_assets.pipeline import checkup

    if data is not None:
        problem = folder_problem(data)
        findings.append(
            Finding("data", "failed" if problem else "ok", problem or f"{data} has a folder of train files")
        )
    findings += checkup.examine_model(settings)
    if not any_failed(findings):
        findings += examine_instance(dagster_home(settings))
    # Opening a store that isn't there would make it.
    is_there = settings.deployment == "aws" or Path(settings.store).is_dir()
    if is_there and not any_failed(findings):
        findings += checkup.examine(open_group(settings))
    print(render(findings))
    return int(any_failed(findings))
