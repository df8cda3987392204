"""What a user installs, and what describes the project from outside. (``.ci/wheel.py`` installs it.)"""

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import lightning_vsml
from lightning_vsml import checkpoints

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_vsml"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside it lies the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    [built] = sdist.parent.glob("*.whl")
    return built


def test_the_sdist_holds_what_is_needed_to_work_on_it(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    needed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", ".ci/run"}
    assert needed <= names
    assert {"tests/conftest.py", "docs/index.md", "checkpoints/backprop.json", "benchmarks/ticks.py"} <= names


def test_metadata_names_the_pythons_that_ci_tries(wheel: Path) -> None:
    [name] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(zipfile.ZipFile(wheel).read(name))
    named = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if re.search(r"Python :: 3\.\d+$", c)]
    tried = re.search(r"PYTHONS = \((.*?)\)", (ROOT / ".ci" / "wheel.py").read_text(encoding="utf-8"))
    assert tried and named == re.findall(r"[\d.]+", tried[1])
    assert metadata["Requires-Python"] == f">={named[0]}" and metadata["License-Expression"] == "Apache-2.0"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lightning_vsml.__version__
    assert citation["title"] == lightning_vsml.__name__ and citation["license"] == "Apache-2.0"
    assert "https://arxiv.org/abs/2012.14905" in {paper.get("url") for paper in citation["references"]}


def test_hooks_and_workflows_run_what_ci_runs() -> None:
    """One place says how to check: .ci/run."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    commands = [hook["entry"] for repo in hooks for hook in repo["hooks"]]
    assert commands and all(command in script.replace("format --check", "format") for command in commands)
    steps = [
        step.get("run", "")
        for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
    ]
    assert ".ci/run" in steps and any("twine check --strict" in step for step in steps)


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
