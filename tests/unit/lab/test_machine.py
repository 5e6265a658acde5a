"""What the lab reads from the machine it runs on: cgroups, distribution, privileges."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from include.lab import cgroups, commands, doctor, groups, lifecycle, lock, network, privileges, record, releases, root
from include.lab.errors import BUSY, LabError
from include.lab.settings import PROJECT_ROOT, from_environment
from include.lab.waiting import until

HYBRID = """30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""
PURE = "31 30 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_hybrid_host_needs_the_places_that_systemd_looks_at() -> None:
    unified, legacy = cgroups.parse_hierarchies(HYBRID)
    assert unified == Path("/sys/fs/cgroup/unified")
    assert [path.name for path in legacy] == ["systemd", "cpu,cpuacct", "memory"]


def test_a_host_of_today_has_one_hierarchy() -> None:
    assert cgroups.parse_hierarchies(PURE) == (Path("/sys/fs/cgroup"), ())


def test_without_version_two_there_is_none() -> None:
    assert cgroups.parse_hierarchies("30 20 0:26 / / rw - ext4 /dev/vda rw\n") == (None, ())


@pytest.mark.parametrize("name", ["../node1", "", "a/b", "A", "-x", "a" * 41, "a b", "."])
def test_a_group_s_name_cannot_lead_elsewhere(name: str) -> None:
    with pytest.raises(LabError, match="is no name of a group"):
        groups.check_name(name)


@pytest.mark.parametrize("name", ["glance-lab-node1", "glance-lab-node8", "lb1", "database", "build"])
def test_the_lab_s_own_groups_are_not_for_others(name: str) -> None:
    with pytest.raises(LabError, match="own machines or services"):
        groups.check_free(name)
    groups.check_free("airflow")


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"', None),
        ("ID=ubuntu\nID_LIKE=debian", None),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"', None),
        ('ID=fedora\nPRETTY_NAME="Fedora Linux 42"', "Fedora Linux 42"),
        ("", "unknown"),
    ],
)
def test_only_debian_and_its_kin_can_run_it(text: str, other: str | None) -> None:
    assert doctor.distribution(text) == other


def test_what_is_missing_is_told_with_what_would_help() -> None:
    told = doctor.explain([doctor.Lack("no overlay file system", "a kernel with overlayfs, as Debian's has")])
    assert "no overlay file system" in told
    assert "What would help: a kernel with overlayfs" in told


def test_the_doctor_needs_nothing_of_the_project() -> None:
    imported = [line for line in Path(doctor.__file__).read_text().splitlines() if line.startswith(("import", "from"))]
    assert not [line for line in imported if "include" in line or "typer" in line or "rich" in line]


def test_sudo_passes_the_lab_s_variables_as_words_and_nothing_else() -> None:
    words = privileges.sudo_command(["up"], {"GLANCE_LAB_NODES": "5", "SECRET": "x"})
    assert words[0] == "sudo"
    assert "GLANCE_LAB_NODES=5" in words
    assert not any("SECRET" in word for word in words)
    assert words[-3:] == ["-m", "include.lab", "up"]
    assert privileges.sudo_command([], {}, "tests.keystone.environment")[-1] == "tests.keystone.environment"


def test_a_saved_environment_is_private_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TEST", "a\nb")
    path = privileges.save_environment()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert privileges.load_environment(path)["LAB_TEST"] == "a\nb"
    assert not path.exists()


@pytest.mark.parametrize("sudo_says", [1, 0])
def test_a_saved_environment_does_not_stay_where_sudo_refuses(sudo_says: int, tmp_path: Path) -> None:
    """With a sudo that ends at once, as one does that does not let this user."""
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\necho "$@"\nexit {sudo_says}\n')
    sudo.chmod(0o755)
    as_user = (
        "import os, sys; os.geteuid = lambda: 1000; from include.lab import privileges; "
        "sys.argv = ['lab', 'exec', '--group', 'load', '--', 'true']; "
        "privileges.need_root_with_environment('--environment-file')"
    )
    done = subprocess.run(
        [sys.executable, "-c", as_user],
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == sudo_says, done.stderr
    assert f"exec --environment-file {tmp_path}/glance-lab-environment-" in done.stdout
    assert done.stdout.rstrip().endswith(" --group load -- true")
    assert list(tmp_path.iterdir()) == [sudo]


def test_what_cannot_be_tried_without_a_password_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    sudo = tmp_path / "sudo"
    # It lets this user do what is harmless, and the machine refuses namespaces.
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] || exit 9\nshift\n[ "$1" = true ] || { echo EPERM >&2; exit 1; }\n')
    sudo.chmod(0o755)
    assert doctor.unchecked() == ""
    assert "may not make namespaces here (EPERM)" in doctor.explain(doctor._namespaces())
    sudo.write_text("#!/bin/sh\nexit 1\n")
    assert "sudo wants a password" in doctor.unchecked()
    assert doctor._namespaces() == []


def test_a_second_command_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lock, "LOCK_FILE", tmp_path / "lock")
    with (
        lock.exclusive("up"),
        pytest.raises(LabError, match=f"`lab up`, process {os.getpid()}") as refused,
        lock.exclusive("down"),
    ):
        pytest.fail("two commands held the lock")
    assert refused.value.exit_code == BUSY
    with lock.exclusive("down"):
        pass


def test_an_unknown_release_is_refused_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"'27.0.0' is not one") as refused:
        releases.lock("27.0.0")
    assert "26.1.0, 28.1.0, 30.1.0" in str(refused.value)


def test_every_release_pins_every_dependency_with_a_hash_and_names_no_index() -> None:
    for version in releases.available():
        text = releases.lock(version).read_text()
        assert f"glance=={version} " in text
        pins = [line for line in text.splitlines() if line and line[0] not in "# "]
        assert all("==" in pin and pin.endswith("\\") for pin in pins)
        assert text.count("--hash=sha256:") >= len(pins)
        assert "http" not in text.replace("httplib2", "").replace("http-", "")


def test_a_release_is_built_again_when_its_pins_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1.0.0").mkdir()
    pins = tmp_path / "1.0.0" / "requirements.lock"
    pins.write_text("a==1")
    monkeypatch.setattr(releases, "REQUIREMENTS", tmp_path)
    before = releases.key(from_environment({}), "1.0.0")
    assert releases.key(from_environment({}), "1.0.0") == before
    pins.write_text("a==2")
    assert releases.key(from_environment({}), "1.0.0") != before


def test_a_damaged_archive_is_built_again(tmp_path: Path) -> None:
    settings = from_environment({"GLANCE_LAB_CACHE": str(tmp_path)})
    archive = releases.archive(settings, "26.1.0")
    assert not releases.is_built(settings, "26.1.0")
    releases.layer(settings, "26.1.0").mkdir(parents=True)
    archive.parent.mkdir()
    archive.write_bytes(b"whole")
    digest = hashlib.sha256(b"whole").hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest}  {archive.name}\n")
    archive.with_name("glance-26.1.0.key").write_text(releases.key(settings, "26.1.0"))
    assert releases.is_built(settings, "26.1.0")
    archive.write_bytes(b"cut o")
    assert not releases.is_built(settings, "26.1.0")


def test_only_what_is_out_of_date_is_forgotten(tmp_path: Path) -> None:
    settings = from_environment({"GLANCE_LAB_CACHE": str(tmp_path)})
    kept = [root.path(settings), releases.layer(settings, "26.1.0"), releases.archive(settings, "26.1.0").parent]
    old = [tmp_path / "roots" / "0", tmp_path / "layers" / "26.1.0-0", tmp_path / "builders" / "0.work"]
    for directory in (*kept, *old):
        directory.mkdir(parents=True)
    releases.forget_outdated(settings)
    assert all(directory.exists() for directory in kept)
    assert not any(directory.exists() for directory in old)


def test_a_lab_of_another_place_is_not_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroups, "alive", lambda group="": group == "lb1")
    monkeypatch.setattr(lifecycle, "fresh", lambda *given: pytest.fail("it would have been wiped"))
    with pytest.raises(LabError, match="knows nothing of"):
        lifecycle.up(from_environment({"GLANCE_LAB_STATE": str(tmp_path)}), None, None)


def test_a_running_lab_with_another_number_of_nodes_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = from_environment({"GLANCE_LAB_STATE": str(tmp_path)})
    record.write(settings, record.Record(nodes=3, release="26.1.0", ready=True))
    monkeypatch.setattr(cgroups, "alive", lambda group="": group == "lb1")
    monkeypatch.setattr(lifecycle, "repair", lambda *given: None)
    with pytest.raises(LabError, match="up with 3 nodes") as refused:
        lifecycle.up(settings, 5, None)
    assert "nothing was changed" in str(refused.value)
    lifecycle.up(settings, 3, None)
    lifecycle.up(settings, None, "28.1.0")


def test_a_broken_record_is_no_record(tmp_path: Path) -> None:
    settings = from_environment({"GLANCE_LAB_STATE": str(tmp_path)})
    assert record.read(settings) is None
    (tmp_path / "lab.json").write_text('{"nodes": 3')
    assert record.read(settings) is None
    record.write(settings, record.Record(nodes=5, release="28.1.0", ready=False))
    assert record.as_recorded(settings).node_count == 5


def test_a_wait_ends_with_its_condition_or_its_time() -> None:
    answers = iter([False, False, True])
    until(lambda: next(answers), "the third answer", seconds=5, every=0.001)
    with pytest.raises(LabError, match=r"waited 0.01 s in vain for a miracle"):
        until(lambda: False, "a miracle", seconds=0.01, every=0.001)


def test_a_failed_command_tells_what_it_said() -> None:
    with pytest.raises(LabError, match=r"ended with 7: no such thing"):
        commands.run(["sh", "-c", "echo no such thing >&2; exit 7"])


def test_the_provisioning_script_is_plain_shell() -> None:
    script = Path(commands.__file__).with_name("provision.sh")
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert "64062" in script.read_text()


def test_a_link_has_one_address_of_its_own_for_ever() -> None:
    found = [network.hardware_address(address) for address in ("198.18.26.1", "198.18.26.11", "198.18.26.12")]
    assert found == ["02:00:c6:12:1a:01", "02:00:c6:12:1a:0b", "02:00:c6:12:1a:0c"]
