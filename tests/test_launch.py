"""The files that start jbatch on clusters: what of them can be tried without one."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from jbatch.cli.arguments import split_options
from jbatch.cli.train import Options
from jbatch.run.reopen import load_experiment_file

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = ["again.sh", "tpu_pod.sh", "slurm.sbatch"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash(name):
    subprocess.run(["bash", "-n", LAUNCH / name], check=True)


def commands() -> dict[str, list[str]]:
    """The words after `jbatch train` in each file."""
    job_set = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    pods = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    sky = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())["run"]
    sky = sky.replace("\\\n", " ").replace('"$(echo "$SKYPILOT_NODE_IPS" | head -n 1):8476"', "a:1")
    sky = sky.replace('"$SKYPILOT_NUM_NODES"', "2").replace('"$SKYPILOT_NODE_RANK"', "1")
    found = {
        "gke_jobset.yaml": pods["containers"][0]["command"],
        "skypilot.yaml": sky.split(),
    }
    for name in ("tpu_pod.sh", "slurm.sbatch"):
        comment = next(
            line for line in (LAUNCH / name).read_text().splitlines() if "experiments/" in line
        )
        words = comment.split()
        start = next(index for index, word in enumerate(words) if word.startswith("experiments/"))
        found[name] = ["jbatch", "train", *words[start:], "--distributed"]
    return found


@pytest.mark.parametrize(("name", "command"), commands().items(), ids=commands())
def test_their_commands_are_jbatchs(name, command):
    program, verb, file, variant, *options = command
    assert (Path(program).name, verb) == ("jbatch", "train")
    load_experiment_file(ROOT / file).variant(variant)
    read, rest = split_options(Options, options)
    assert rest == ()
    assert read.distributed
    assert read.run_dir is not None


def test_jobs_are_started_again_after_75_and_not_after_2():
    job_set = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())["spec"]
    [slice_] = job_set["replicatedJobs"]
    job = slice_["template"]["spec"]
    [rule] = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == (
        "FailJob",
        [1, 2, 3, 132, 135, 136, 139],
    )
    assert job_set["failurePolicy"]["rules"][0]["action"] == "FailJobSet"
    assert (job["backoffLimit"], job["parallelism"]) == (0, job["completions"])
    recovery = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())["resources"]["job_recovery"]
    assert recovery == {"max_restarts_on_errors": 0, "recover_on_exit_codes": [75]}


@pytest.fixture
def at_once(tmp_path):
    """An environment where `sleep` takes no time."""
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_again_starts_again_as_long_as_it_is_asked_to(tmp_path, at_once):
    script = (
        f'echo x >> {tmp_path}/starts; [ "$(wc -l < {tmp_path}/starts)" -lt 3 ] && exit 75; exit 3'
    )
    command = [LAUNCH / "again.sh", "sh", "-c", script]
    done = subprocess.run(command, env=at_once, capture_output=True)
    assert done.returncode == 3
    assert (tmp_path / "starts").read_text() == "x\nx\nx\n"


def test_again_gives_up_what_gets_nowhere(tmp_path, at_once):
    command = [LAUNCH / "again.sh", "sh", "-c", f"echo x >> {tmp_path}/starts; exit 75"]
    done = subprocess.run(command, env=at_once, capture_output=True, text=True)
    assert done.returncode == 1
    assert "75 within 400 s five times in a row" in done.stderr
    assert (tmp_path / "starts").read_text() == 5 * "x\n"


def test_again_hands_on_a_request_to_stop(tmp_path):
    script = f"trap 'sleep 0.3; exit 75' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    process = subprocess.Popen([LAUNCH / "again.sh", "bash", "-c", script])
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(600) == 75


def slurm(folder, codes) -> tuple[int, list[str]]:
    """(exit code, commands) of the script where `jbatch` ends so on each host; srun here is real in
    that it runs all of them, and ends with the highest code."""
    programs = {
        "jbatch": f'echo jbatch "$@" >> {folder}/log; exit "$CODE"',
        "scontrol": f'echo scontrol "$@" >> {folder}/log',
        "srun": 'shift; most=0; for CODE in $CODES; do export CODE; "$@"; code=$?\n'
        '[ "$code" -gt "$most" ] && most=$code; done; exit "$most"',
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    path["CODES"] = " ".join(map(str, codes))
    command = ["bash", LAUNCH / "slurm.sbatch", "some file.py", "growing"]
    done = subprocess.run(command, env=path).returncode
    return done, (folder / "log").read_text().splitlines()


def test_slurms_job_goes_back_into_the_queue_after_75(tmp_path):
    done, log = slurm(tmp_path, [75])
    assert done == 75
    assert log == [
        "jbatch train some file.py growing --distributed",
        "scontrol requeue 17",
    ]


@pytest.mark.parametrize(
    ("codes", "code"), [([75, 2], 2), ([75, 1], 1), ([0, 75], 75), ([3, 3], 3), ([1, 0], 1)]
)
def test_slurms_job_ends_by_a_mistake_of_one_host(tmp_path, codes, code):
    done, log = slurm(tmp_path, codes)
    assert done == code
    assert ("scontrol requeue 17" in log) == (code == 75)


def test_the_tpu_command_survives_the_shells_between(tmp_path):
    """gcloud here runs what it is told on "a host", a folder of its own."""
    (tmp_path / "gcloud").write_text('#!/bin/bash\nfor last; do :; done\nbash -c "${last#*=}"\n')
    (tmp_path / "gcloud").chmod(0o755)
    host = tmp_path / "home" / "jbatch"
    (host / ".venv" / "bin").mkdir(parents=True)
    (host / "launch").symlink_to(LAUNCH)
    (host / ".venv" / "bin" / "jbatch").write_text('#!/bin/bash\nprintf "%s\\n" "$@" > said\n')
    (host / ".venv" / "bin" / "jbatch").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path / "home")}
    command = [LAUNCH / "tpu_pod.sh", "slice", "zone", "some file.py", "growing", "--note", "it's"]
    subprocess.run(command, env=environment, check=True)
    assert (host / "said").read_text().splitlines() == [
        *("train", "some file.py", "growing", "--note", "it's", "--distributed")
    ]
    assert subprocess.run([LAUNCH / "tpu_pod.sh", "slice"], capture_output=True).returncode == 2
