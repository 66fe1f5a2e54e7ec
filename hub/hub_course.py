"""A course on the hub: who sees which of nbgrader's panels, where assignments are exchanged, the lecturer's folder.

A lecturer, by BDBOOK_HUB_LECTURERS or by the roster, turns it on; without one the panels are hidden. course/README.md
says how one teaches with it.
"""

import os
import sysconfig
from pathlib import Path

from hub_settings import Settings

ROOT = Path(__file__).resolve().parents[1]
IN_THE_IMAGE = Path("/opt/bdbook")
EXCHANGE, SOURCE = "/srv/exchange", "/srv/course"  # in a container


def configure(c, settings: Settings) -> None:
    """Add the course to the hub's configuration `c`.

    A lecturer's server gets BDBOOK_COURSE, the folder of the assignments with their solutions, which hub/start.py
    copies into her home.
    """
    docker, lecturers = settings.spawner == "docker", settings.people("lecturer")
    panels = (IN_THE_IMAGE if docker else ROOT) / "course/jupyter"
    exchange, source = (EXCHANGE, SOURCE) if docker else (str(settings.state / "exchange"), str(ROOT / "course/source"))

    def lectures(spawner) -> bool:
        return spawner.user.name in lecturers

    def paths(spawner) -> str:
        role = "off" if not lecturers else "lecturer" if lectures(spawner) else "student"
        return f"{panels / role}:{panels}"

    c.Spawner.environment["JUPYTER_CONFIG_PATH"] = paths
    if not lecturers:
        return
    c.Spawner.environment["BDBOOK_EXCHANGE"] = exchange
    c.Spawner.environment["BDBOOK_COURSE"] = lambda spawner: source if lectures(spawner) else ""
    if docker:

        def mount(spawner) -> None:
            """The exchange for all, the solutions for lecturers alone."""
            spawner.volumes = spawner.volumes | {"bdbook-exchange": EXCHANGE}
            if lectures(spawner):
                spawner.read_only_volumes = {str(ROOT / "course/source"): SOURCE}

        c.Spawner.pre_spawn_hook = mount
    else:
        Path(exchange).mkdir(parents=True, exist_ok=True)
        Path(exchange).chmod(0o777)  # as nbgrader wants it; the folder around it is the hub's own
        programs = [sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]  # nbgrader calls one by its name
        c.Spawner.environment["PATH"] = os.pathsep.join(programs)
    print(f"The course: lecturers {', '.join(sorted(lecturers))} (course/README.md)")
