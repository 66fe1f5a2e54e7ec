"""nbgrader's configuration for everybody on the hub; hub/hub_course.py says who is who, in the environment.

The folders beside this file say which of nbgrader's panels JupyterLab shows: to a lecturer, to a student, and on a hub
without a course.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

c = get_config()  # noqa: F821, which traitlets puts here

c.CourseDirectory.course_id = "bdbook"
c.Exchange.root = os.environ.get("BDBOOK_EXCHANGE", "")
if os.environ.get("BDBOOK_COURSE"):  # a lecturer
    c.CourseDirectory.root = str(Path.home() / "course")
else:
    # By itself nbgrader takes the Unix account, which is the same for all here.
    c.CourseDirectory.student_id = os.environ.get("JUPYTERHUB_USER", "*")
c.ExchangeCollect.check_owner = False  # for the same reason

c.ClearSolutions.code_stub = {"python": "# your code here\nraise NotImplementedError"}
c.ClearSolutions.text_stub = "*Your answer here.*"
c.Execute.timeout = 60  # s a cell, many times what one takes; then it counts as wrong, and the next one runs

# Free ports are looked up first and taken a second later, and another kernel may have one by then; files are one's own.
sockets = tempfile.mkdtemp()
atexit.register(shutil.rmtree, sockets, ignore_errors=True)
c.KernelManager.transport = "ipc"
c.KernelManager.ip = str(Path(sockets) / "kernel")
