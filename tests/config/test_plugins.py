"""Methods, losses, models and data sets from a user's module: what is checked, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ltat_tune import evaluate
from ltat_tune.config import plugin_loader
from ltat_tune.config.catalogue import CATALOGUE
from ltat_tune.config.config_file import dump_config, load_config
from ltat_tune.config.effects import why_inert
from ltat_tune.config.parameters import PARAMETERS, defaults
from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError, SpaceError
from ltat_tune.preflight.load import load_space
from ltat_tune.training.trainer import Trainer
from tests.drive import MINI, call, write_space

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """Return the code blocks of scripts/plugins.md in one language."""
    page = (ROOT / "scripts" / "plugins.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def block(part: str) -> str:
    """The Python that registers a part: `register_method(`."""
    return next(text for text in blocks("python") if f"\n{part}(" in text)


METHOD = block("register_method")


@pytest.fixture(autouse=True)
def no_plugin_stays() -> Iterator[None]:
    before = dict(PARAMETERS), dict(CATALOGUE), defaults()
    yield
    for plugin in plugin_loader.loaded():
        plugin_loader.forget(plugin)
    assert (dict(PARAMETERS), dict(CATALOGUE), defaults()) == before


def load(folder: Path, text: str, name: str = "tilted") -> None:
    (folder / f"{name}.py").write_text(text)
    load_plugins([name], beside=folder)


def problem(folder: Path, text: str, name: str = "tilted") -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, name)
    return str(caught.value)


def test_the_method_that_is_shown_has_at_most_20_lines() -> None:
    assert len([line for line in METHOD.splitlines() if line.strip()]) <= 20


def test_its_parameters_are_parameters_like_all_others(tmp_path: Path) -> None:
    plain = TrialConfig()
    load(tmp_path, METHOD)
    assert TrialConfig() == plain and TrialConfig().flat() == plain.flat()
    chosen = TrialConfig.from_flat({"method.name": "tilted"})
    assert chosen.get("method.tilt") == chosen.flat()["method.tilt"] == 1.0
    assert plain.get("method.tilt") is None
    assert why_inert(chosen, "method.tilt") is None
    assert why_inert(plain, "method.tilt") == "method.name is pgd_at, and only tilted reads it"
    more = chosen.replace({"method.tilt": "1/2"})
    assert more.get("method.tilt") == 0.5
    assert len({plain.identity, chosen.identity, more.identity}) == 3
    assert more.identity == TrialConfig.from_flat(more.flat()).identity
    with pytest.raises(ConfigError) as caught:
        chosen.replace({"method.tilt": 11, "method.tilts": 1, "optim.lr": -1})
    assert sorted(caught.value.problems) == [
        "method.tilt must be <= 10, got 11",
        "optim.lr must be > 0, got -1",
        "unknown parameter method.tilts; did you mean method.tilt?",
    ]


def test_nothing_of_it_is_known_before_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="method.name must be one of natural, .* got 'tilted'"):
        TrialConfig.from_flat({"method.name": "tilted"})
    load(tmp_path, METHOD)
    with pytest.raises(
        ConfigError, match="method.name must be one of .*, cfa, wat, tilted, got 'x'"
    ):
        TrialConfig.from_flat({"method.name": "x"})


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("register_loss", {"loss.name": "poly", "loss.epsilon": 0.5}),
        ("register_model", {"model.name": "one_layer", "model.channels": 6}),
        ("register_dataset", {"data.name": "arrays"}),
    ],
)
def test_losses_models_and_data_sets_train(
    part: str, values: dict[str, object], tmp_path: Path
) -> None:
    load(tmp_path, block(part), "mine")
    fixed = {**MINI["fixed"], "data.imbalance_ratio": 2, "optim.epochs": 1}
    if part == "register_dataset":
        raw = load_digits()
        images = (raw.images[:, None] * 15).astype(np.uint8)
        np.savez(
            tmp_path / "some.npz", names=list("0123456789"), train_images=images[:1200],
            train_labels=raw.target[:1200], test_images=images[1200:],
            test_labels=raw.target[1200:],
        )  # fmt: skip
        values = {**values, "data.root": str(tmp_path / "some.npz")}
    if part == "register_model":
        del fixed["model.width"]
    config = TrialConfig.from_flat({**fixed, **values})
    trainer = Trainer(config, cache_dir=tmp_path / "cache")
    result = trainer.fit()
    assert 0 <= result.metrics["val/pgd3_acc"] <= 1
    if part == "register_model":
        assert sum(p.numel() for p in result.model.parameters()) == 6 * 9 + 6 + 6 * 10 + 10
        assert why_inert(config, "model.width") == (
            "model.name is one_layer, which does not read it"
        )
    if part == "register_loss":
        plain = Trainer(config.replace({"loss.epsilon": 0})).fit()
        entropy = Trainer(config.replace({"loss.name": "cross_entropy"})).fit()
        assert plain.weights == entropy.weights != result.weights
        assert why_inert(config, "loss.label_smoothing") is not None
    if part == "register_dataset":
        assert trainer.counts.tolist()[0] == 20 and len(trainer.splits.test()) == 597


def test_what_is_wrong_with_a_plugin_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "tilted.py"
    with pytest.raises(ConfigError) as caught:
        load_plugins(["gone_away", "some/file.py", 3], beside=tmp_path)
    assert caught.value.problems == [
        f"plugin gone_away is missing: there is no {tmp_path}/gone_away.py and no installed "
        "module of that name; put gone_away.py beside the file that names it",
        "a plugin must be a module's name without a path and .py, got 'some/file.py'; did you "
        "mean file?",
        "a plugin must be a module's name such as my_method, got 3",
    ]
    assert problem(tmp_path, "import os\n\nraise OSError('no licence')") == (
        f"plugin tilted cannot run: {file}:3: OSError: no licence"
    )
    assert problem(tmp_path, "def f(:\n") == (
        f"plugin tilted cannot run: {file}:1: SyntaxError: invalid syntax"
    )
    assert problem(tmp_path, "x = 1") == (
        f"plugin {file}: it registers nothing; call register_method or a similar function"
    ) or "it registers nothing" in problem(tmp_path, "x = 1")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('("tilted"', '("trades"', "method.name trades is taken by ltat-tune itself; choose"),
        ('{"tilt":', '{"beta":', "method.beta exists already; choose another name for your"),
        ("*, tilt)", "*, lean)", "method tilted is constructed as Tilted(loss, attack, *, tilt), "
         "but it has the arguments (loss, attack, *, lean): missing a required argument: 'lean'"),
        ("param(1.0,", "param(0.0,", "the default of method.tilt must be > 0, got 0"),
        ("images, targets, *", "images, *", "Tilted.training_step must take (self, model, images, "
         "targets, *, class_weights, generator), got (self, model, images, *, class_weights, "
         "generator): too many positional arguments"),
        ('param(1.0, "0 is the mean", gt=0, le=10)', "1.0", "method.tilt must be param(default, "
         "meaning, ...), got 1.0"),
        ('"tilted", Tilted', '"Tilted!", Tilted', "the name of a part must consist of lower-case"),
    ],
)  # fmt: skip
def test_a_wrong_registration_is_told(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in METHOD
    text = problem(tmp_path, METHOD.replace(old, new))
    assert says in text, text
    assert f"plugin {tmp_path}/tilted.py:" in text


def test_two_plugins_cannot_bring_the_same_name(tmp_path: Path) -> None:
    load(tmp_path, METHOD)
    text = problem(tmp_path, METHOD, "other")
    assert f"method.name tilted is taken by {tmp_path}/tilted.py; choose another name" in text
    load(tmp_path, METHOD.replace("1.0,", "2.0,"))  # but an edited file may be read again
    assert TrialConfig.from_flat({"method.name": "tilted"}).get("method.tilt") == 2.0


def test_a_space_file_must_name_what_it_uses(tmp_path: Path) -> None:
    tuned = {"method.tilt": {"type": "float", "low": 0.1, "high": 5}}
    fixed = {**MINI["fixed"], "method.name": "tilted"}
    named = write_space(tmp_path, plugins=["tilted"], tuned=tuned, fixed=fixed, start_from=[])
    missing = r"mini.yaml:\d+: plugin tilted is missing: there is no .*tilted"
    with pytest.raises(SpaceError, match=missing):
        load_space(named)
    (tmp_path / "tilted.py").write_text(METHOD)
    space = load_space(named)
    (plugin,) = space.plugins
    assert space.document["plugins"] == [
        {"name": "tilted", "file": str(tmp_path / "tilted.py"), "sha256": plugin.sha256}
    ]
    assert space.notes[0] == (
        f"plugin tilted runs code of {tmp_path}/tilted.py (sha256 {plugin.sha256})"
    )
    unnamed = write_space(tmp_path, tuned=tuned, fixed=fixed, start_from=[])
    with pytest.raises(
        SpaceError, match=r"method.name tilted comes from .*; add plugins: \[tilted\]"
    ):
        load_space(unnamed)
    inert = write_space(
        tmp_path, plugins=["tilted"], tuned={**tuned, **MINI["tuned"]}, start_from=[]
    )
    with pytest.raises(SpaceError, match="method.tilt has no effect here: method.name is pgd_at"):
        load_space(inert)
    with pytest.raises(SpaceError, match="plugins"):
        load_space(named, overrides=["plugins=[other]"])


def test_a_configuration_finds_its_plugin_beside_it_and_refuses_another(tmp_path: Path) -> None:
    load(tmp_path, METHOD)
    config = TrialConfig.from_flat({"method.name": "tilted"})
    away = tmp_path / "away"
    dump_config(away / "best.yaml", config, comment="")
    for plugin in plugin_loader.loaded():
        plugin_loader.forget(plugin)
    assert load_config(away / "best.yaml")[0].identity == config.identity
    (tmp_path / "tilted.py").rename(away / "tilted.py")
    assert load_config(away / "best.yaml")[0].identity == config.identity
    (away / "tilted.py").write_text(METHOD + "# edited\n")
    with pytest.raises(ConfigError) as caught:
        load_config(away / "best.yaml")
    assert re.fullmatch(
        rf"{away}/best.yaml:\d+: plugin tilted has changed: {away}/tilted.py must have the "
        r"recorded sha256 \w{16}, got \w{16}; restore the file, or start a new study with the "
        r"changed one",
        str(caught.value),
    )


def test_the_method_that_is_shown_runs_through_a_study(tmp_path: Path) -> None:
    (tmp_path / "tilted.py").write_text(METHOD)
    (tmp_path / "tilted.yaml").write_text(
        next(text for text in blocks("yaml") if text.startswith("plugins: [tilted]"))
    )
    done = call("--space", "tilted.yaml", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"note: plugin tilted runs code of {tmp_path}/tilted.py (sha256 " in done.stderr
    trial = tmp_path / "studies/tilted/trials/default/t0000/config.yaml"
    config, _ = load_config(trial)
    assert (config.method.name, config.get("method.tilt")) == ("tilted", 2)
    assert (trial.parent / "result.json").exists()
    best = "studies/tilted/best/best-default.yaml"
    assert call("train", best, "--quiet", cwd=tmp_path).returncode == 0  # the recorded digits
    assert evaluate("tilted", out=tmp_path / "studies", attacks=["pgd3"])[1].images == 400
    (tmp_path / "tilted.py").write_text(METHOD + "# edited\n")
    refused = call("resume", "tilted", "--in-process", "--trials", "4", cwd=tmp_path)
    assert refused.returncode == 2
    assert "space.yaml:" in refused.stderr
    assert "plugin tilted has changed" in refused.stderr
    (tmp_path / "tilted.py").write_text(METHOD)
    listed = call("ls", "methods", "--plugins", "tilted", cwd=tmp_path)
    assert "soft maximum over the batch" in listed.stdout
    shown = call("params", "tilt", "--plugins", "tilted", cwd=tmp_path)
    assert "method.tilt" in shown.stdout and "(0, 10]" in shown.stdout


def test_a_function_that_takes_num_classes_is_a_network_by_module_and_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n\n\ndef build(num_classes):\n    return nn.Linear(2, num_classes)\n"
        "\n\ndef other(classes):\n    return nn.Linear(2, classes)\n"
    )
    (plugin,) = load_plugins(["my_models"], beside=tmp_path)
    try:
        config = TrialConfig.from_flat({"model.name": "my_models:build"})
        assert config.plugins == [plugin.as_data()]
        with pytest.raises(ConfigError, match="whose function takes num_classes, got my_models:o"):
            TrialConfig.from_flat({"model.name": "my_models:other"})
    finally:
        plugin_loader.forget(plugin)
    with pytest.raises(ConfigError, match=r"got my_models:build; add plugins: \[my_models\]"):
        TrialConfig.from_flat({"model.name": "my_models:build"})
