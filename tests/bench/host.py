# SPDX-License-Identifier: MIT
"""Commands of the host, with one sentence for the user when they fail."""
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent


class Failure(Exception):
    """Something the user must repair; the text is one sentence for them."""


def call(command, **more):
    try:
        return subprocess.run(command, check=True, text=True, capture_output=True, **more).stdout
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed; cmake/install_packages.sh installs it.")
    except subprocess.CalledProcessError as e:
        raise Failure(f"'{' '.join(map(str, command))}' failed:\n{e.stdout}{e.stderr}")


def apt(*words):
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    call(sudo + ["apt-get", "-qq", *words], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def guest(command, kept):
    """Runs a function of tests/boot/guest.sh with its files in the directory kept."""
    return call(["bash", "-c", f"GUESTS='{kept}'; . '{SOURCE}/tests/boot/guest.sh' && {command}"])
