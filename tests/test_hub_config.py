"""The hub's settings, its configuration, the chapters it hands out, and its files for Docker, Kubernetes and Binder."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from unittest import mock

import hub_settings
import pytest
import start
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ports import first_of_three, three_in_a_row
from traitlets.config.loader import PyFileConfigLoader

ROOT = Path(__file__).resolve().parents[1]
HUB = ROOT / "hub"


def settings(**given: str) -> hub_settings.Settings:
    """Settings of an environment that has BDBOOK_HUB_<KEY> for each key."""
    return hub_settings.read({f"BDBOOK_HUB_{key}": value for key, value in ({"ADMINS": "ada"} | given).items()})


def configure(monkeypatch, tmp_path, **given: str):
    """The configuration of a hub in such an environment, whatever is running on the ports."""
    for key in [key for key in os.environ if key.startswith(("BDBOOK_HUB_", "BDBOOK_PROFILE"))]:
        monkeypatch.delenv(key)
    for key, value in ({"ADMINS": "ada", "STATE": str(tmp_path / "state")} | given).items():
        monkeypatch.setenv(key if key.startswith("BDBOOK_") else f"BDBOOK_HUB_{key}", value)
    monkeypatch.setattr(hub_settings, "check_ports", lambda settings: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")  # a proxy
    return PyFileConfigLoader("jupyterhub_config.py", str(HUB)).load_config()


# --- settings -------------------------------------------------------------------------------------------------


def test_a_setting_is_read():
    read = settings(
        SPAWNER="simple", PORT="9000", ADMINS="ada, grace", OPEN_SIGNUP="yes", CPUS="0.5", GPU_SHARE="0.25", ADDRESS=""
    )
    assert (read.spawner, read.address, read.port, read.cpus, read.gpu_share) == (
        "simple",
        "127.0.0.1",
        9000,
        0.5,
        0.25,
    )
    assert read.admins == {"ada", "grace"}
    assert read.open_signup is True
    assert settings().spawner == "docker"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SPAWNER", "dokcer", "did you mean 'docker'"),
        ("SPAWNER", "kubernetes", "Known: docker, simple"),
        ("PORT", "http", "a whole number from 1 to 65533"),
        ("PORT", "65534", "a whole number from 1 to 65533"),
        ("PORT", "-1", "a whole number from 1 to 65533"),
        ("ADDRESS", "hub.example.org", "an IPv4 address"),
        ("TLS", "no/such/folder", "a folder with fullchain.pem and privkey.pem"),
        ("ADMINS", "..", "which '..' is not"),
        ("ADMINS", "ada,Grace", "which 'Grace' is not"),
        ("LECTURERS", "Ada", "which 'Ada' is not"),
        ("OPEN_SIGNUP", "maybe", "1 or 0"),
        ("IMAGE", "my image", "the name of a Docker image"),
        ("BRIDGE", "docker0", "an IPv4 address"),
        ("MEMORY", "4", "an amount with its unit"),
        ("MEMORY", "0G", "an amount with its unit"),
        ("CPUS", "0", "a number of cores above 0"),
        ("CPUS", "two", "a number of cores above 0"),
        ("CPUS", "nan", "a number of cores above 0"),
        ("GPU", "first", "all, none, or one GPU's number or UUID"),
        ("GPU_SHARE", "25%", "a fraction"),
        ("GPU_SHARE", "0", "a fraction"),
        ("GPU_SHARE", "1.5", "a fraction"),
        ("IDLE_SECONDS", "1h", "a whole number of seconds"),
        ("STATE", __file__, "a folder"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name, value, expected):
    with pytest.raises(ValueError, match=re.escape(expected)) as refusal:
        settings(**{name: value})
    assert f"BDBOOK_HUB_{name}" in str(refusal.value)
    assert value in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "what_to_do"),
    [
        ({"SPAWNER": "simple", "ADDRESS": "0.0.0.0"}, "set BDBOOK_HUB_SPAWNER=docker"),
        ({"ADDRESS": "0.0.0.0"}, "Set BDBOOK_HUB_TLS"),
        ({"ADMINS": ""}, "BDBOOK_HUB_OPEN_SIGNUP=1"),
        ({"PROT": "8000"}, "did you mean 'BDBOOK_HUB_PORT'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, what_to_do):
    with pytest.raises(ValueError, match=re.escape(what_to_do)):
        settings(**given)


def test_a_public_address_goes_with_a_certificate(tmp_path):
    for file in hub_settings.CERTIFICATE:
        (tmp_path / file).touch()
    assert settings(ADDRESS="0.0.0.0", TLS=str(tmp_path)).tls == tmp_path


def test_each_setting_is_in_the_readmes_table():
    rows = dict(re.findall(r"^\| `BDBOOK_HUB_(\w+)` \|([^|]*)\|", (HUB / "README.md").read_text(), re.MULTILINE))
    assert sorted(rows) == sorted(name.upper() for name in hub_settings.PARSERS)
    assert sorted(hub_settings.PARSERS) == sorted(hub_settings.Settings.__dataclass_fields__)
    default = hub_settings.Settings()
    for name in ("spawner", "address", "port", "image", "bridge", "memory", "gpu", "idle_seconds"):
        assert rows[name.upper()].strip() == f"`{getattr(default, name)}`"


# --- ports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_port_in_use_is_told_before_anything_starts(above):
    with three_in_a_row() as sockets:
        first = sockets[0].getsockname()[1]
        for free in set(sockets) - {sockets[above]}:
            free.close()
        sockets[above].listen()
        with pytest.raises(ValueError, match=rf"port {first + above} of 127\.0\.0\.1 is in use.*BDBOOK_HUB_PORT"):
            hub_settings.check_ports(settings(SPAWNER="simple", PORT=str(first)))


def test_free_ports_pass():
    hub_settings.check_ports(settings(SPAWNER="simple", PORT=str(first_of_three())))


def test_a_bridge_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"192\.0\.2\.1 is no address of this machine.*Is Docker running"):
        hub_settings.check_ports(settings(PORT=str(first_of_three()), BRIDGE="192.0.2.1"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"BDBOOK_HUB_SPAWNER": "dokcer"}, "unknown spawner in BDBOOK_HUB_SPAWNER 'dokcer': did you mean 'docker'?"),
        ({"BDBOOK_HUB_SPAWNER": "simple"}, "is in use"),
    ],
)
def test_the_hub_says_one_line_and_stops(tmp_path, given, words):
    with three_in_a_row() as sockets:
        sockets[0].listen()
        given |= {"BDBOOK_HUB_PORT": str(sockets[0].getsockname()[1]), "BDBOOK_HUB_ADMINS": "ada"}
        given |= {"BDBOOK_HUB_STATE": str(tmp_path / "state")}
        command = [sys.executable, "-m", "jupyterhub", "-f", str(HUB / "jupyterhub_config.py")]
        answer = subprocess.run(command, env=os.environ | given, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 1
    (line,) = answer.stderr.strip().splitlines()
    assert line.startswith("The hub does not start: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


# --- the configuration ----------------------------------------------------------------------------------------


def test_what_docker_is_asked_for(monkeypatch, tmp_path):
    import docker
    from dockerspawner import DockerSpawner

    config = configure(monkeypatch, tmp_path, MEMORY="3G", CPUS="1.5", GPU="GPU-12ab", GPU_SHARE="0.25")
    assert config.JupyterHub.spawner_class == "dockerspawner.DockerSpawner"
    client = docker.APIClient(version="1.43")  # with a version it asks no server
    user, hub = mock.Mock(name="user"), mock.Mock(api_url="http://172.17.0.1:8002/hub/api", base_url="/hub/")
    user.configure_mock(name="ben", escaped_name="ben", url="/user/ben/")
    hub.configure_mock(public_host="", routespec="/")
    client.create_container = mock.Mock()
    client.inspect_image = mock.Mock(return_value={"Config": {"Cmd": yaml.safe_load(dict(instructions())["CMD"])}})
    with mock.patch.object(DockerSpawner, "client", client):
        asyncio.run(DockerSpawner(config=config, user=user, hub=hub).create_object())
    asked = client.create_container.call_args.kwargs
    assert asked["command"] == ["jupyterhub-singleuser"]  # after the image's entry point
    assert asked["image"] == "bdbook:latest"
    assert asked["name"] == "bdbook-ben"
    assert asked["environment"]["BDBOOK_GPU_SHARE"] == "0.25"
    assert asked["environment"]["OMP_NUM_THREADS"] == "1"
    assert asked["environment"]["GOMP_SPINCOUNT"] == "1000"
    assert asked["environment"]["OPENBLAS_THREAD_TIMEOUT"] == "4"
    host = asked["host_config"]
    assert host["Memory"] == 3 * 2**30
    assert host["CpuQuota"] / host["CpuPeriod"] == 1.5
    assert host["Binds"] == ["bdbook-ben:/home/student:rw"]
    (device,) = host["DeviceRequests"]
    assert device["DeviceIDs"] == ["GPU-12ab"]
    assert device["Capabilities"] == [["gpu"]]
    assert host["SecurityOpt"] == ["no-new-privileges"]


@pytest.mark.parametrize(("gpu", "requests"), [("all", [(-1, [])]), ("none", None), ("0", [(0, ["0"])])])
def test_the_gpu_is_handed_in(monkeypatch, tmp_path, gpu, requests):
    host = configure(monkeypatch, tmp_path, GPU=gpu).DockerSpawner.extra_host_config
    found = [(device["Count"], device["DeviceIDs"]) for device in host.get("device_requests", [])]
    assert found == (requests or [])


def test_what_users_servers_are_told(monkeypatch, tmp_path):
    plain = configure(monkeypatch, tmp_path).Spawner.environment
    assert not {"BDBOOK_GPU_SHARE", "BDBOOK_PROFILE"} & plain.keys()
    asked = configure(monkeypatch, tmp_path, GPU_SHARE="0.5", BDBOOK_PROFILE="smoke").Spawner.environment
    assert (asked["BDBOOK_GPU_SHARE"], asked["BDBOOK_PROFILE"]) == ("0.5", "smoke")


def test_a_server_in_use_reports_well_before_it_counts_as_idle(monkeypatch, tmp_path):
    for seconds in ("4", "15", "3600"):
        config = configure(monkeypatch, tmp_path, IDLE_SECONDS=seconds)
        told = int(config.Spawner.environment["JUPYTERHUB_ACTIVITY_INTERVAL"])
        assert 1 <= told == config.JupyterHub.last_activity_interval <= int(seconds) / 4
        (culler,) = config.JupyterHub.services
        assert f"--timeout={seconds}" in culler["command"]


def test_the_culler_may_stop_servers_and_little_else(monkeypatch, tmp_path):
    (role,) = configure(monkeypatch, tmp_path).JupyterHub.load_roles
    assert set(role["scopes"]) == {"list:users", "read:users:activity", "read:servers", "delete:servers"}
    assert role["services"] == ["idle-culler"]


@pytest.mark.parametrize("name", ["..", ".hub", "a/b", "ada lovelace", "", "-x", "@a", "a" * 65])
def test_a_name_that_is_no_folder_is_nobodys(monkeypatch, tmp_path, name):
    from jupyterhub.auth import Authenticator

    authenticator = Authenticator(config=configure(monkeypatch, tmp_path))
    assert authenticator.validate_username("ada")
    assert not authenticator.validate_username(name)


def test_what_the_hub_keeps_is_its_own(monkeypatch, tmp_path):
    configure(monkeypatch, tmp_path)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


# --- a course -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "panels"),
    [({}, {"ada": "off", "ben": "off"}), ({"LECTURERS": "ada"}, {"ada": "lecturer", "ben": "student"})],
)
@pytest.mark.parametrize("spawner", ["simple", "docker"])
def test_who_sees_what_of_the_course(monkeypatch, tmp_path, spawner, given, panels):
    environment = configure(monkeypatch, tmp_path, SPAWNER=spawner, **given).Spawner.environment
    for name, role in panels.items():
        user = mock.Mock()
        user.user.name = name
        first, second = environment["JUPYTER_CONFIG_PATH"](user).split(":")
        assert first == f"{second}/{role}"
        here = ROOT / second.removeprefix("/opt/bdbook/")
        assert (here / "nbgrader_config.py").is_file()
        shown = json.loads((here / role / "jupyter_server_config.d/nbgrader.json").read_text())
        extensions = shown["ServerApp"]["jpserver_extensions"]
        assert extensions["nbgrader.server_extensions.formgrader"] == (role == "lecturer")
        assert extensions["nbgrader.server_extensions.assignment_list"] == (role != "off")
        if given:
            assert bool(environment["BDBOOK_COURSE"](user)) == (role == "lecturer")
    assert ("BDBOOK_EXCHANGE" in environment) == bool(given)


def test_the_solutions_are_mounted_for_lecturers_alone(monkeypatch, tmp_path):
    config = configure(monkeypatch, tmp_path, LECTURERS="ada")
    for name, mounted in (("ada", {str(ROOT / "course/source"): "/srv/course"}), ("ben", {})):
        spawner = mock.Mock(volumes=dict(config.DockerSpawner.volumes), read_only_volumes={})
        spawner.user.name = name
        config.Spawner.pre_spawn_hook(spawner)
        assert spawner.volumes == config.DockerSpawner.volumes | {"bdbook-exchange": "/srv/exchange"}
        assert spawner.read_only_volumes == mounted
    assert "course/source" not in (HUB / "Dockerfile").read_text()


def test_a_lecturer_gets_the_assignments_and_keeps_what_she_changed(tmp_path):
    source, home = ROOT / "course/source", tmp_path / "home"
    names = sorted(path.name for path in source.iterdir())
    assert start.lay_out_course(source, home) == names
    first = Path("course/source", names[0], f"{names[0]}.ipynb")
    assert (home / first).read_bytes() == (ROOT / first).read_bytes()
    (home / first).write_text("my own")
    shutil.rmtree(home / "course/source" / names[1])
    assert start.lay_out_course(source, home) == [names[1]]
    assert (home / first).read_text() == "my own"


# --- the chapters ---------------------------------------------------------------------------------------------


def notebook(*sources: str, output: str | None = None) -> str:
    """A notebook of code cells; with an output, as if it had been run and saved."""
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    cells = [
        {"cell_type": "code", "source": source, "outputs": outputs, "execution_count": 1 if output else None}
        for source in sources
    ]
    return json.dumps({"cells": cells, "metadata": {"widgets": {}} if output else {}})


@pytest.fixture
def book(tmp_path):
    """A small hand-out: two chapters."""
    folder = tmp_path / "handout"
    (folder / "notebooks").mkdir(parents=True)
    for name in ("01_a", "02_b"):
        (folder / f"notebooks/{name}.ipynb").write_text(notebook(f"the book's {name}"))
    return folder


FIRST, SECOND = "notebooks/01_a.ipynb", "notebooks/02_b.ipynb"
NOTHING = {"new": [], "updated": [], "beside": []}


def test_a_new_home_gets_the_chapters(book, tmp_path):
    home = tmp_path / "home"
    assert start.hand_out(book, home) == NOTHING | {"new": [FIRST, SECOND]}
    for name in (FIRST, SECOND):
        assert (home / name).read_bytes() == (book / name).read_bytes()
    assert start.hand_out(book, home) == NOTHING


def test_a_changed_copy_stays_and_a_missing_one_comes_back(book, tmp_path):
    home = tmp_path / "home"
    start.hand_out(book, home)
    (home / FIRST).write_text(notebook("my own work"))
    (home / SECOND).unlink()
    assert start.hand_out(book, home) == NOTHING | {"new": [SECOND]}
    assert (home / FIRST).read_text() == notebook("my own work")
    assert (home / SECOND).read_bytes() == (book / SECOND).read_bytes()


def test_an_update_reaches_what_was_left_alone_and_lies_beside_what_was_changed(book, tmp_path):
    home = tmp_path / "home"
    start.hand_out(book, home)
    (home / FIRST).write_text(notebook("my own work"))
    (home / SECOND).write_text(notebook("the book's 02_b", output="what it printed"))  # run, and not changed
    for name in (FIRST, SECOND):
        (book / name).write_text(notebook("mended"))
    new = "notebooks/01_a.new.ipynb"
    assert start.hand_out(book, home) == NOTHING | {"updated": [SECOND], "beside": [new]}
    assert (home / FIRST).read_text() == notebook("my own work")
    assert (home / SECOND).read_text() == (home / new).read_text() == notebook("mended")
    (kept,) = (home / start.REPLACED).rglob("*.ipynb")
    assert "what it printed" in kept.read_text()
    (home / new).unlink()
    assert start.hand_out(book, home) == NOTHING, "offered once"


def test_what_a_student_wrote_into_the_new_version_stays_too(book, tmp_path):
    home = tmp_path / "home"
    start.hand_out(book, home)
    (home / FIRST).write_text(notebook("my own work"))
    for number, expected in ((1, "notebooks/01_a.new.ipynb"), (2, "notebooks/01_a.new-2.ipynb")):
        (book / FIRST).write_text(notebook(f"mended {number}"))
        assert start.hand_out(book, home)["beside"] == [expected]
        (home / expected).write_text(notebook(f"my notes {number}"))
    assert (home / "notebooks/01_a.new.ipynb").read_text() == notebook("my notes 1")
    (home / "notebooks/01_a.new-2.ipynb").write_text(notebook("mended 2"))  # as it was handed out
    (book / FIRST).write_text(notebook("mended 3"))
    assert start.hand_out(book, home)["beside"] == ["notebooks/01_a.new-2.ipynb"]


@pytest.mark.parametrize("damage", [None, "", "[1, 2]", "not json"])
def test_without_a_memory_nothing_is_taken_for_untouched(book, tmp_path, damage):
    home = tmp_path / "home"
    start.hand_out(book, home)
    (home / FIRST).write_text(notebook("my own work"))
    memory = home / start.MEMORY
    memory.unlink() if damage is None else memory.write_text(damage)
    (book / SECOND).write_text(notebook("mended"))
    done = start.hand_out(book, home)
    assert done == NOTHING | {"beside": ["notebooks/01_a.new.ipynb", "notebooks/02_b.new.ipynb"]}
    assert (home / FIRST).read_text() == notebook("my own work")


def test_a_notebook_that_is_none_any_more_is_compared_byte_by_byte(book, tmp_path):
    home = tmp_path / "home"
    start.hand_out(book, home)
    (home / FIRST).write_text("scribbled over")
    (book / FIRST).write_text(notebook("mended"))
    assert start.hand_out(book, home)["beside"] == ["notebooks/01_a.new.ipynb"]
    assert (home / FIRST).read_text() == "scribbled over"


def test_half_a_copy_is_no_copy(book, tmp_path, monkeypatch):
    def breaks_off(file):
        raise OSError("No space left on device")

    with monkeypatch.context() as full:
        full.setattr("bdbook.files.os.fsync", breaks_off)
        with pytest.raises(OSError, match="No space"):
            start.hand_out(book, tmp_path / "home")
    start.hand_out(book, tmp_path / "home")
    assert (tmp_path / "home" / FIRST).read_bytes() == (book / FIRST).read_bytes()
    assert sorted(path.name for path in (tmp_path / "home").rglob("*") if path.is_file()) == [
        "01_a.ipynb",
        "02_b.ipynb",
        "handed_out.json",
    ]


@pytest.mark.parametrize("room", [True, False])
def test_then_the_command_takes_over(book, tmp_path, room):
    home = tmp_path / "home"
    home.mkdir() if room else home.write_text("no folder")
    command = [sys.executable, str(HUB / "start.py"), sys.executable, "-c", "print('the server'); raise SystemExit(3)"]
    environment = os.environ | {"HOME": str(home), "BDBOOK_HANDOUT": str(book)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (3, "the server\n")
    assert ("2 new, 0 updated, 0 beside" if room else "could not be brought") in answer.stderr
    assert (home / FIRST).exists() == room


def test_without_notebooks_to_hand_out_the_server_starts_and_says_so(tmp_path):
    command = [sys.executable, str(HUB / "start.py"), sys.executable, "-c", "print('the server')"]
    environment = os.environ | {"HOME": str(tmp_path), "BDBOOK_HANDOUT": str(tmp_path / "nowhere")}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, "the server\n")
    assert "there is no" in answer.stderr
    assert "make handout" in answer.stderr


# --- files that are read elsewhere ----------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of each line of hub/Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (HUB / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def test_the_image_is_pinned_and_runs_as_a_student():
    lines = instructions()
    assert re.fullmatch(r"BASE=nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu24\.04", dict(lines)["ARG"])
    assert [arguments for name, arguments in lines if name == "FROM"] == ["$BASE"]
    (user,) = [arguments for name, arguments in lines if name == "USER"]
    assert user == "student"
    names = [name for name, _ in lines]
    assert "RUN" not in names[names.index("USER") :]
    assert yaml.safe_load(dict(lines)["CMD"]) == ["jupyterhub-singleuser"]
    installed = [arguments for name, arguments in lines if name == "RUN" and "pip install" in arguments]
    assert all("--requirement" in line or "--no-deps" in line for line in installed)


def test_the_image_copies_what_is_there_and_starts_what_it_copies():
    lines = instructions()
    copied = {}
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for arguments in (arguments for name, arguments in lines if name == "COPY"):
        *sources, target = arguments.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not any(fnmatch(source, pattern) for pattern in ignored), source
            copied[f"{target}{Path(source).name}" if target.endswith("/") else target] = source
    entry = yaml.safe_load(dict(lines)["ENTRYPOINT"])[-1]
    assert copied[entry] == "hub/start.py"
    folder = Path(entry).parents[1]
    needed = {"notebooks", "results", "bdbook", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"}
    needed |= {"setup.py", "book", "_toc.yml"}
    assert needed <= {str(Path(target).relative_to(folder)) for target in copied if folder in Path(target).parents}


def test_the_values_for_kubernetes_say_what_the_hub_here_says(monkeypatch, tmp_path):
    values = yaml.safe_load((HUB / "z2jh-values.yaml").read_text())
    config = configure(monkeypatch, tmp_path)
    there, server = values["hub"]["config"], values["singleuser"]
    assert there["JupyterHub"]["authenticator_class"] == "nativeauthenticator.NativeAuthenticator"
    assert config.JupyterHub.authenticator_class == "hub_login.Native"  # the same with clearer words
    assert there["NativeAuthenticator"] == dict(config.NativeAuthenticator)
    for key in ("allow_all", "username_pattern"):
        assert there["Authenticator"][key] == config.Authenticator[key]
    assert server["cmd"] == "jupyterhub-singleuser"
    assert server["defaultUrl"] == config.Spawner.default_url
    assert server["memory"]["limit"] == config.Spawner.mem_limit
    assert server["cpu"]["limit"] == config.Spawner.cpu_limit
    assert server["cpu"]["guarantee"] <= server["cpu"]["limit"]
    assert server["extraResource"]["limits"] == {"nvidia.com/gpu": "1"}
    assert server["storage"]["homeMountPath"] == dict(instructions())["WORKDIR"]
    assert server["nodeSelector"]
    assert server["extraTolerations"][0]["key"] == "nvidia.com/gpu"
    assert values["cull"] == {"enabled": True, "timeout": 3600, "every": 600, "maxAge": 0}
    assert (hub_settings.Settings.idle_seconds, hub_settings.Settings.max_hours) == (3600, 0)
    hub_settings.read({"BDBOOK_HUB_ADMINS": "ada", "BDBOOK_HUB_GPU_SHARE": server["extraEnv"]["BDBOOK_GPU_SHARE"]})


def pins(file: Path) -> dict[str, str]:
    """Name -> version, of the lines of a requirements file that name a package."""
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(one.name): str(one.specifier) for one in found}


def test_binder_installs_what_a_chapter_needs_as_it_is_pinned_here():
    binder, here = pins(ROOT / "binder/requirements.txt"), pins(ROOT / "requirements.txt")
    assert binder.items() <= here.items()
    sources = [path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb")]
    imported = set(re.findall(r'"(?:from|import) (\w+)', "".join(sources)))
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "IPython": "ipykernel"}
    packages = {names.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"bdbook", "the"}}
    assert {"torch", "numpy", "sympy"} <= packages <= binder.keys()
    assert os.access(ROOT / "binder/postBuild", os.X_OK)
    assert re.fullmatch(r"python-3\.1[1-9]\n", (ROOT / "binder/runtime.txt").read_text())


# --- logins, the roster, limits, the GPU's share --------------------------------------------------------------


GITHUB = {"LOGIN": "github", "LOGIN_CLIENT": "the-book", "LOGIN_CALLBACK": "https://hub.example.org/hub/oauth_callback"}
GITHUB |= {"LOGIN_SECRET": "chalk-dust", "LOGIN_ORGANISATIONS": "uni, uni:class"}
LTI = {"LOGIN": "lti13", "LOGIN_CLIENT": "the-book", "LTI_ISSUER": "https://lms.example"}
LTI |= {"LTI_AUTHORIZE": "https://lms.example/auth", "LTI_KEYS": "https://lms.example/keys"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"LOGIN": "gitub"}, "did you mean 'github'"),
        ({"LOGIN": "no.such.Login"}, "a class that can be imported. No module named 'no'"),
        ({"LOGIN": "pathlib.Path"}, "a class of JupyterHub's Authenticator"),
        (GITHUB | {"LOGIN_CLIENT": "", "LOGIN_SECRET": ""}, "also BDBOOK_HUB_LOGIN_CLIENT, BDBOOK_HUB_LOGIN_SECRET."),
        (GITHUB | {"LOGIN_ORGANISATIONS": ""}, "BDBOOK_HUB_ROSTER or BDBOOK_HUB_LOGIN_ORGANISATIONS"),
        (GITHUB | {"LOGIN_SECRET_FILE": __file__}, "LOGIN_SECRET_FILE are both set"),
        (GITHUB | {"LOGIN_CALLBACK": "http://hub.example.org/hub/oauth_callback"}, "an address that begins with https"),
        (GITHUB | {"LOGIN_CALLBACK": "https://hub.example.org/"}, "the hub's address and /hub/oauth_callback"),
        (LTI | {"LTI_KEYS": ""}, "also BDBOOK_HUB_LTI_KEYS."),
        (LTI | {"LTI_ISSUER": "lms.example"}, "an address that begins with https"),
        ({"SERVERS": "0"}, "a whole number of servers"),
        ({"MAX_HOURS": "8h"}, "a number of hours above 0"),
        ({"CONFIG": "no/such/file.py"}, "a file of JupyterHub's own settings"),
        ({"ROSTER": "no/such/file.csv"}, "a file that this account can read"),
    ],
)
def test_a_login_that_lacks_something_is_refused(given, words):
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        settings(**given)
    assert "chalk-dust" not in str(refusal.value)


def test_a_secret_is_not_shown(tmp_path):
    (tmp_path / "secret").write_text("chalk-dust\n")
    by_file = settings(**GITHUB | {"LOGIN_SECRET": "", "LOGIN_SECRET_FILE": str(tmp_path / "secret")})
    assert by_file.secret == settings(**GITHUB).secret == "chalk-dust"
    assert "chalk-dust" not in repr(by_file) + repr(settings(**GITHUB))
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(ValueError, match=r"BDBOOK_HUB_LOGIN_SECRET_FILE is .*It is empty"):
        settings(LOGIN_SECRET_FILE=str(tmp_path / "secret"))


def test_each_login_gets_what_it_needs(monkeypatch, tmp_path):
    from jupyterhub.app import JupyterHub

    def login(**given: str):
        config = configure(monkeypatch, tmp_path, **given)
        return config, JupyterHub(config=config).authenticator_class(config=config, **extra)

    extra = {}
    config, github = login(**GITHUB)
    assert (type(github).__name__, github.client_id, github.client_secret) == (
        "GitHubOAuthenticator",
        "the-book",
        "chalk-dust",
    )
    assert github.allowed_organizations == {"uni", "uni:class"}
    assert github.scope == ["read:org"]
    assert not github.allow_all
    _, github = login(**GITHUB, LECTURERS="lea")
    assert (github.allowed_users, github.allow_existing_users) == ({"lea"}, False), "and who left the class stays out"
    assert "chalk-dust" not in str(config.Spawner)
    _, google = login(**GITHUB | {"LOGIN": "google", "LOGIN_ORGANISATIONS": "uni.example"})
    assert (google.hosted_domain, google.strip_domain, google.allow_all) == (["uni.example"], True, True)
    _, google = login(**GITHUB | {"LOGIN": "google", "LOGIN_ORGANISATIONS": "uni.example,else.example"})
    assert not google.strip_domain, "the same name in two domains"
    config, lti = login(**LTI)
    assert (lti.client_id, lti.issuer, lti.username_key) == ({"the-book"}, "https://lms.example", "email")
    assert config.JupyterHub.tornado_settings["cookie_options"] == {"samesite": "None", "secure": True}
    _, gitlab = login(**GITHUB | {"LOGIN": "oauthenticator.gitlab.GitLabOAuthenticator", "LOGIN_ORGANISATIONS": ""})
    assert (type(gitlab).__name__, gitlab.client_id, gitlab.allow_all) == ("GitLabOAuthenticator", "the-book", False)
    extra = {"add_new_table": False}
    _, native = login()
    assert native.get_handlers(None)[1][1].__name__ == "ClearSignUp"


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("ann\n\nben@uni.example\n", {"ann": "student", "ben@uni.example": "student"}),
        ("\ufeffName;Role;Mark\nAnn;;1\nlea;Lecturer;\n", {"ann": "student", "lea": "lecturer"}),
        ("matriculation,name\n1,ann\n", {"ann": "student"}),
    ],
)
def test_a_roster_is_read(tmp_path, text, people):
    (tmp_path / "roster.csv").write_text(text, encoding="utf-8")
    read = settings(ROSTER=str(tmp_path / "roster.csv"), ADMINS="ada")
    assert read.roster == people
    assert read.people("admin") == {"ada"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names nobody"),
        ("name,role\n", "names nobody"),
        ("name,role\nann,student\nben,stundent\n", "line 3 of .*did you mean 'student'"),
        ("ann\nAnn\n", "line 2 of .*a second time"),
        ("ann\nada lovelace\n", "line 2 of .*'ada lovelace'; expected letters"),
        ("ann,student\n", "line 1 of .*has 2 columns; expected 1"),
        ("name,role\n\nann\n", "line 3 of .*has 1 columns; expected 2"),
    ],
)
def test_a_roster_that_makes_no_sense_is_told_by_its_line(tmp_path, text, words):
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(ValueError, match=f"BDBOOK_HUB_ROSTER: .*{words}"):
        settings(ROSTER=str(tmp_path / "roster.csv"))


def test_a_roster_says_who_comes_in(monkeypatch, tmp_path):
    (tmp_path / "roster.csv").write_text("name,role\nann,\nlea,lecturer\ntom,admin\n")
    given = {"ROSTER": str(tmp_path / "roster.csv"), "ADMINS": ""}
    config = configure(monkeypatch, tmp_path, **given)
    assert config.Authenticator.allowed_users == {"ann", "lea", "tom"}
    assert configure(monkeypatch, tmp_path, **given, LECTURERS="mia").Authenticator.allowed_users > {"mia", "ann"}
    assert config.Authenticator.admin_users == {"tom"}
    assert not config.Authenticator.allow_all
    assert not config.Authenticator.allow_existing_users
    assert config.JupyterHub.load_roles[1]["users"] == ["lea"]
    assert config.JupyterHub.cookie_secret != configure(monkeypatch, tmp_path, **given).JupyterHub.cookie_secret
    with pytest.raises(ValueError, match="BDBOOK_HUB_OPEN_SIGNUP is '1'; expected 0 with a roster"):
        settings(**given, OPEN_SIGNUP="1")


def test_limits_and_further_settings_reach_jupyterhub(monkeypatch, tmp_path):
    (tmp_path / "more.py").write_text("c.JupyterHub.concurrent_spawn_limit = 7\n")
    config = configure(monkeypatch, tmp_path, SERVERS="30", MAX_HOURS="1.5", CONFIG=str(tmp_path / "more.py"))
    assert (config.JupyterHub.active_server_limit, config.JupyterHub.concurrent_spawn_limit) == (30, 7)
    (culler,) = config.JupyterHub.services
    assert "--max-age=5400" in culler["command"]
    assert config.JupyterHub.template_vars["longest"] == "90 minutes"
    assert "--max-age=0" in configure(monkeypatch, tmp_path).JupyterHub.services[0]["command"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "an hour"), (7200, "2 hours"), (5400, "90 minutes"), (6, "6 seconds")]
)
def test_a_span_of_time_is_told(seconds, words):
    assert hub_settings.spoken(seconds) == words


# Up to the functions that only a PyTorch with CUDA has: a machine with two GPUs.
SCRIPT = """
import importlib.util, sys
assert "torch" not in sys.modules
importlib.util.find_spec("torch")  # as libraries ask whether there is one
import torch
set_to = []
torch.cuda.device_count = lambda: 2
torch.cuda._cudart = torch.cuda
torch._C._cuda_init = lambda: None
torch._C._cuda_getDeviceCount = lambda: 2
torch._C._cuda_setMemoryFraction = lambda share, index: set_to.append((share, index))
assert not torch.cuda.is_initialized()
torch.cuda.init()
print(set_to)
"""


@pytest.mark.parametrize(
    ("share", "set_to", "told"),
    [("0.25", "[(0.25, 0), (0.25, 1)]", ""), ("", "[]", ""), ("2", "[]", "could not be set"), ("x", "[]", "is 'x'")],
)
def test_a_share_of_the_gpu_binds_what_imports_torch(share, set_to, told):
    environment = os.environ | {"PYTHONPATH": str(HUB / "python"), "BDBOOK_GPU_SHARE": share, "SCRIPT": SCRIPT}
    # As `!python train.py` of a notebook: a Python that a Python started.
    run = "import os, subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', os.environ['SCRIPT']]))"
    answer = subprocess.run([sys.executable, "-c", run], env=environment, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, f"{set_to}\n"), answer.stderr
    assert told in answer.stderr
    if not told:
        assert answer.stderr == ""


def test_a_torch_without_cuda_is_left_alone(tmp_path):
    script = "import torch; print(torch.ones(2).sum().item(), torch.cuda.is_available())"
    environment = os.environ | {"PYTHONPATH": str(HUB / "python"), "BDBOOK_GPU_SHARE": "0.25"}
    environment |= {"CUDA_VISIBLE_DEVICES": ""}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "2.0 False\n", "")
    # Nor is one missed that is not installed: -S leaves out the packages.
    command = [sys.executable, "-S", "-c", "import sitecustomize, torch"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "ModuleNotFoundError: No module named 'torch'" in answer.stderr
