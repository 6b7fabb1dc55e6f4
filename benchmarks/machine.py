"""What a run was made on and with."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from .servers import Server

PACKAGES = [
    "redis",
    "hiredis",
    "django",
    "django-redis",
    "limits",
    "throttled-py",
    "pyrate-limiter",
    "django-ratelimit",
    "django-smart-ratelimit",
    "djangorestframework",
    "walrus",
    "python-redis-lock",
    "pottery",
    "gunicorn",
    "uvicorn",
]


def machine(server: Server) -> dict[str, Any]:
    """The machine, the versions, and how busy it was before we began."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, {cores()} cores",
        "load average": [round(each, 2) for each in os.getloadavg()],
        "Python": platform.python_version(),
        "server": server.version(),
        "wrk": wrk(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "a processor without a name"


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def wrk() -> str | None:
    if shutil.which("wrk") is None:
        return None
    told = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).split()[1]


def described(about: dict[str, Any]) -> str:
    """For the page: a line for each."""
    packages = [f"{name} {version}" for name, version in about["packages"].items() if version]
    missing = [name for name, version in about["packages"].items() if not version]
    lines = {
        "machine": about["machine"],
        "cores": about.get("cores", ""),
        "load average before": " ".join(map(str, about["load average"])),
        "server": about["server"],
        "Python": about["Python"],
        "wrk": about["wrk"] or "not there",
        "packages": ", ".join(packages),
        "not installed": ", ".join(missing),
    }
    return "\n".join(f"- {name}: {text}" for name, text in lines.items() if text)
