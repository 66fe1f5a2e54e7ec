"""The settings of the launch buttons: what is accepted, what stops make, and what the theme is told."""

import json
from pathlib import Path

import launch
import launching
import pytest
import stage
import start
import yaml

ROOT = Path(__file__).resolve().parents[1]
REPO, HUB = "https://github.com/you/bdbook", "https://hub.example.org"


def test_without_a_repository_there_are_no_options():
    assert launch.options() == {}


def test_a_repository_on_github_gives_binder_colab_and_its_link():
    found = launch.options(REPO)
    assert found["repository_url"] == REPO
    assert found["repository_branch"] == "main"
    assert found["use_repository_button"]
    assert found["launch_buttons"].keys() == {"notebook_interface", "binderhub_url", "colab_url"}


def test_a_hub_beside_it_gives_one_more():
    assert launch.options(REPO, hub=HUB)["launch_buttons"]["jupyterhub_url"] == HUB


@pytest.mark.parametrize("spelling", [REPO + "/", REPO + ".git", "http://GitHub.com/you/bdbook"])
def test_spellings_of_a_repository_are_one(spelling):
    assert launch.options(spelling) == launch.options(REPO)


@pytest.mark.parametrize("repo", ["https://gitlab.com/group/sub/bdbook", "https://git.example.org/you/bdbook"])
def test_elsewhere_than_on_github_there_is_the_hub_alone(repo):
    found = launch.options(repo, hub=HUB)
    assert found["repository_url"] == repo
    assert found["launch_buttons"].keys() == {"notebook_interface", "jupyterhub_url"}


@pytest.mark.parametrize("hub", ["http://localhost:8000", "https://10.0.0.1/jupyter", "https://[::1]:8000", HUB + "/"])
def test_addresses_of_hubs(hub):
    assert launch.options(REPO, hub=hub)["launch_buttons"]["jupyterhub_url"] == hub.rstrip("/")


@pytest.mark.parametrize(
    ("setting", "given", "why"),
    [
        ("REPO_URL", "github.com/you/bdbook", "does not begin with https://"),
        ("REPO_URL", "git@github.com:you/bdbook.git", "does not begin with https://"),
        ("REPO_URL", "ftp://github.com/you/bdbook", "does not begin with https://"),
        ("REPO_URL", "https://github.com/you", "not an owner and a name"),
        ("REPO_URL", "https://github.com/you/bdbook/tree/main", "not an owner and a name"),
        ("REPO_URL", "https://github.com/you/bd book", "more than a host and a plain path"),
        ("REPO_URL", "https://github.com/you/<b>", "more than a host and a plain path"),
        ("REPO_BRANCH", "a?b", "not the name of one"),
        ("HUB_URL", "hub", "does not begin with https://"),
        ("HUB_URL", "javascript:alert(1)", "does not begin with https://"),
        ("HUB_URL", "https://", "no host that a reader could reach"),
        ("HUB_URL", "https://hub", "no host that a reader could reach"),
        ("HUB_URL", "https://hub..example.org", "no host that a reader could reach"),
        ("HUB_URL", "https://hub example.org", "no host that a reader could reach"),
        ("HUB_URL", "https://-.example.org", "no host that a reader could reach"),
        ("HUB_URL", "https://1.2.3", "no host that a reader could reach"),
        ("HUB_URL", "https://hub.example.org:99999", "not a URL"),
        ("HUB_URL", "https://[::1", "not a URL"),
        ("HUB_URL", "https://hub.example.org/?next=a", "more than a host and a plain path"),
    ],
)
def test_what_cannot_be_used_says_what_was_given_what_is_expected_and_what_to_do(setting, given, why):
    settings = {"REPO_URL": REPO, "REPO_BRANCH": "main", "HUB_URL": HUB} | {setting: given}
    with pytest.raises(launch.UnusableError) as error:
        launch.options(settings["REPO_URL"], settings["REPO_BRANCH"], settings["HUB_URL"])
    message = str(error.value)
    assert message.startswith(f'{setting} is "{given}": ')
    assert why in message
    assert f"Expected is {launch.WANTED[setting]}" in message
    assert "leave it out" in message


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(launch.UnusableError, match="every reader would see it") as error:
        launch.options(REPO, hub="https://me:secret@hub.example.org")
    assert "secret" not in str(error.value)


def test_a_hub_without_a_repository_is_refused():
    with pytest.raises(launch.UnusableError, match=r"REPO_URL is not given.*Give both, or neither"):
        launch.options(hub=HUB)


def test_the_file_of_options_keeps_its_time_until_they_change(tmp_path, monkeypatch):
    file = tmp_path / "inputs" / "launch.json"
    for name in launch.WANTED:
        monkeypatch.delenv(name, raising=False)
    launch.main(file)
    assert json.loads(file.read_text()) == {}
    before = file.stat().st_mtime_ns
    launch.main(file)
    assert file.stat().st_mtime_ns == before
    monkeypatch.setenv("REPO_URL", REPO)
    launch.main(file)
    assert json.loads(file.read_text())["repository_url"] == REPO
    monkeypatch.setenv("HUB_URL", "hub")
    with pytest.raises(SystemExit, match='HUB_URL is "hub"'):
        launch.main(file)


def test_the_staged_configuration_differs_in_the_options_alone(tmp_path):
    original = ROOT / "_config.yml"
    assert stage.write_config(tmp_path / "config", {}, original) == original
    assert not (tmp_path / "config").exists()
    options = launch.options(REPO, hub=HUB)
    staged = yaml.safe_load(stage.write_config(tmp_path / "config", options, original).read_text())
    before = yaml.safe_load(original.read_text())
    theme = staged["sphinx"]["config"].pop("html_theme_options")
    assert theme == before["sphinx"]["config"].pop("html_theme_options") | options
    assert staged == before


def test_the_buttons_lead_to_where_the_notebooks_are_put():
    """The folder is make's and the hub's too, the branch is the one that make pushes."""
    makefile = (ROOT / "Makefile").read_text()
    assert "HANDOUT := $(BUILD)/handout\n" in makefile
    assert "BUILD ?= _build\n" in makefile
    assert launching.FOLDER == "_build/handout" == start.FOLDER.relative_to(ROOT).as_posix()
    assert f':refs/heads/{launching.BRANCH}"\n' in makefile
    assert f"book/handout.py {launching.FOLDER}\n" in (ROOT / "binder/postBuild").read_text()
    assert f"book/handout.py {launching.FOLDER} " in (ROOT / "hub/Dockerfile").read_text()
