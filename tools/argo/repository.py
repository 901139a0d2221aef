"""A Git repository on this machine, with one folder of resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cluster.shell import run

FOLDER = "production"
BRANCH = "main"


class Repository:
    """The repository; its commits are seen by whoever reads `url`."""

    def __init__(self, directory: Path) -> None:
        """Make it in a directory, which must not exist."""
        self._directory = directory
        (directory / FOLDER).mkdir(parents=True)
        self._git("init", "--quiet", f"--initial-branch={BRANCH}")

    @property
    def url(self) -> str:
        """Its address."""
        return f"file://{self._directory}"

    def commit(self, **files: dict[str, Any] | None) -> str:
        """Commit new content of files, by their names without .yaml; returns the commit's hash.

        Args:
            files: their content; None: none, the file goes.
        """
        for name, content in files.items():
            path = self._directory / FOLDER / f"{name}.yaml"
            if content is None:
                path.unlink()
            else:
                path.write_text(yaml.safe_dump(content))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", f"Change {', '.join(files)}")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
        return run("git", *who, *words, cwd=self._directory)
