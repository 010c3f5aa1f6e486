"""`jbatch report --watch`."""

import http.client
import json
import shutil
import signal
import time

import pytest

import commands
from watched import watched


def get(port, path, host="127.0.0.1"):
    """(status, text) of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def newer(port, than):
    """Wait for a page that was built after another."""
    until = time.monotonic() + 60
    while (built := get(port, "/built")[1]) == than:
        assert time.monotonic() < until
        time.sleep(0.02)
    return built


def test_the_page_follows_the_runs(trained, tmp_path, monkeypatch):
    """It begins before there is a run, shows one under way, and then its end."""
    run = tmp_path / "run"
    with watched(tmp_path, monkeypatch) as port:
        first = newer(port, "")
        assert "holds no run" in get(port, "/")[1]
        whole = (trained / "metrics.jsonl").read_text().splitlines(keepends=True)
        shutil.copytree(trained, tmp_path / "copied", dirs_exist_ok=True)
        (tmp_path / "copied" / "metrics.jsonl").write_text("".join(whole[:3]))
        (tmp_path / "copied").rename(run)
        second = newer(port, first)
        page = get(port, "/")[1]
        while "unfinished" not in page:  # a look may have found half a copy
            second = newer(port, second)
            page = get(port, "/")[1]
        assert f'"{second}"' in page
        assert f"unfinished, {json.loads(whole[2])['update']:,} of 98 updates" in page
        (run / "metrics.jsonl").write_text("".join(whole))
        while "finished, 98 of 98 updates" not in get(port, "/")[1]:  # or half of what is written
            second = newer(port, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # it writes nothing
    assert not list(run.glob("*.html")) + list(run.glob("*.svg"))


def test_nothing_but_the_page_can_be_had(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("secret")
    with watched(tmp_path, monkeypatch) as port:
        for path in ("/secret", "/../secret", "/%2e%2e/secret", "//secret", "/report.html", "/?a"):
            assert get(port, path)[0] == 404, path
        for host in ("example.org", "localhost.example.org", ""):
            assert get(port, "/", host)[0] == 421, host
        assert get(port, "/", "localhost")[0] == 200


def test_a_port_in_use_is_a_mistake(tmp_path, monkeypatch, jbatch):
    with watched(tmp_path, monkeypatch) as port:
        code, _, err = jbatch("report", tmp_path, "--watch", "--port", port)
    assert code == 2
    assert f"cannot serve on port {port} of 127.0.0.1" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", 80), "--port 80 needs --watch"),
        (("--watch", "--port", 0), "--port is 0: give a whole number of at least 1"),
        (("--price-per-chip-hour", 0), "--price-per-chip-hour is 0.0: give a value over 0"),
    ],
)
def test_mistakes(tmp_path, jbatch, arguments, said):
    code, _, err = jbatch("report", tmp_path, *arguments)
    assert code == 2
    assert said in err


def test_a_directory_that_is_not_there_is_a_mistake(tmp_path, jbatch):
    code, _, err = jbatch("report", tmp_path / "none", "--watch")
    assert code == 2
    assert "none is no folder" in err


def test_ctrl_c_ends_it_well(tmp_path):
    process = commands.start("report", tmp_path, "--watch")
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    code, _, err = commands.end(process)
    assert (code, err) == (0, "")
