"""Tasks of the user's own data: the classes are the store's."""

from __future__ import annotations

from georank_zoo.tasks.base import Task

FOLDER = Task(name="folder", title="Classes of a labelled store", reader="folder", classes=None)
SYNTHETIC = Task(
    name="synthetic", title="Classes of a synthetic world", reader="synthetic", classes=None
)
