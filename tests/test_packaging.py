"""What a user installs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lightning_vsml import checkpoints

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_vsml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_package_types_and_checkpoints(wheel: Path) -> None:
    content = set(zipfile.ZipFile(wheel).namelist())
    assert {"lightning_vsml/fit/learner.py", "lightning_vsml/py.typed"} <= content
    assert {"lightning_vsml/ticks/native/lanes.hpp", "lightning_vsml/ticks/dense/kernel.hpp"} <= content
    presets = {f"lightning_vsml/meta/presets/{path.name}" for path in (PACKAGE / "meta/presets").glob("*.yaml")}
    assert presets and presets <= content
    for name in checkpoints.names():
        assert {
            f"lightning_vsml/_checkpoints/{name}.safetensors",
            f"lightning_vsml/_checkpoints/{name}.json",
        } <= content
    assert not [name for name in content if name.startswith(("tests", "examples", "checkpoints/"))]


def test_an_installed_copy_loads_every_algorithm_by_name(wheel: Path, tmp_path: Path) -> None:
    """Unpacked like an install, imported from a folder where the checkout cannot be seen."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import lightning_vsml; from lightning_vsml import checkpoints\n"
        "print(lightning_vsml.__file__, *[checkpoints.load(name).fingerprint for name in checkpoints.names()])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    file, *fingerprints = done.stdout.split()
    assert Path(file).is_relative_to(site)
    assert fingerprints == [checkpoints.load(name).fingerprint for name in checkpoints.names()]
