"""Import paths and files of LightningCLI, right and wrong."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule

from lightning_vsml import ReportError
from lightning_vsml.report.source import load

USERS = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import nn

class Net(LightningModule):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.net = nn.Linear(3, hidden)
    def training_step(self, batch, batch_idx):
        return self.net(batch).square().mean()

class Data(LightningDataModule):
    def __init__(self, n: int = 2) -> None:
        super().__init__()
        self.n = n
    def train_dataloader(self):
        return [torch.ones(4, 3)] * self.n

def pair():
    return Net(), batches()

def batches():
    return [torch.ones(4, 3)] * 3

def needs(argument):
    return Net()

def one():
    return nn.Linear(1, 1)
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a module of the user's, as where a command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("users_module.py").write_text(USERS)
    Path("users_broken.py").write_text("import not_installed_anywhere\n")
    Path("users_failing.py").write_text("1 / 0\n")


def test_a_class_a_function_a_pair_and_data_apart() -> None:
    module, data, trainer = load("users_module:Net")
    assert module.net.out_features == 8 and data is None and trainer == {}
    module, data, _ = load("users_module:pair")
    assert type(module).__name__ == "Net" and len(data) == 3
    _, data, _ = load("users_module:Net", "users_module:Data")
    assert isinstance(data, LightningDataModule)


def test_a_file_of_lightning_cli() -> None:
    """With model, data, and what of the Trainer's settings is about learning."""
    Path("settings.yaml").write_text(
        "seed_everything: 3\n"
        "trainer: {max_epochs: 7, gradient_clip_val: 0.5, accelerator: cpu}\n"
        "model: {class_path: users_module.Net, init_args: {hidden: 5}}\n"
        "data: {class_path: users_module.Data, init_args: {n: 4}}\n"
    )
    module, data, trainer = load("settings.yaml")
    assert module.net.out_features == 5 and data.n == 4
    assert trainer == {"gradient_clip_val": 0.5, "accelerator": "cpu"}
    Path("alone.yaml").write_text("fit: {model: {class_path: users_module.Net}}\n")
    module, data, trainer = load("alone.yaml")
    assert module.net.out_features == 8 and data is None and trainer == {}
    torch.testing.assert_close(module.net.weight.shape, torch.Size([8, 3]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "users_module",
            "expected MODULE:CALLABLE, such as my_project.models:make, or a .yaml file, got 'users_module'",
        ),
        ("src/users_module.py:Net", "as in an import, src.users_module:Net, got"),
        ("user_module:Net", "there is no module 'user_module' to import"),
        ("users_module:Nte", "users_module has no 'Nte'. Did you mean Net"),
        ("users_broken:Net", "users_broken could not be imported: it needs not_installed_anywhere"),
        ("users_failing:Net", "users_failing could not be imported: ZeroDivisionError"),
        ("users_module:needs", "users_module:needs is called without arguments and failed: TypeError"),
        ("users_module:one", "should give a LightningModule .* but gave torch.nn.modules.linear.Linear"),
        ("missing.yaml", r"missing.yaml cannot be read \(No such file"),
        ("odd.yaml", "odd.yaml should have model, and data"),
        ("damaged.yaml", "damaged.yaml is no YAML"),
        ("wrong.yaml", "wrong.yaml: .*hiden"),
    ],
)
def test_wrong_ones_say_what_is_wrong(source: str, message: str) -> None:
    Path("odd.yaml").write_text("- 1\n")
    Path("damaged.yaml").write_text("a: [\n")
    Path("wrong.yaml").write_text("model: {class_path: users_module.Net, init_args: {hiden: 5}}\n")
    with pytest.raises(ReportError, match=message):
        load(source)
