"""What a run has not logged yet when it is interrupted."""

from pathlib import Path

import pytest

from georank_zoo.training.log_window import UnloggedFile
from georank_zoo.utils.errors import ModelError

VALUES = [{"loss": 1.5, "loss_ssl": 2.0}, {"loss": 0.5, "loss_ssl": 1.0}]


def test_values_are_those_of_the_step_of_the_stop(tmp_path: Path) -> None:
    file = UnloggedFile(tmp_path / "unlogged.json")
    assert file.read(7) == []
    file.write(7, VALUES)
    assert file.read(7) == VALUES and file.read(8) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.5", "1.25"), ('"step": 7', '"step": 8'), ("1.5", "NaN"), ("}", ""), ("loss_ssl", "loss")],
)
def test_a_damaged_file_is_told(tmp_path: Path, old: str, new: str) -> None:
    file = UnloggedFile(tmp_path / "unlogged.json")
    file.write(7, VALUES)
    file.path.write_text(file.path.read_text().replace(old, new))
    with pytest.raises(ModelError, match=r"damaged.*Delete it to go on"):
        file.read(7)
