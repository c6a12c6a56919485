"""Flags of version 0.1.0 are refused in one line that names the new ones."""

import pytest

from must_tf.cli import __main__ as must


@pytest.mark.parametrize(
    ("command", "now"),
    [
        (["label", "--licence=MIT"], "--licence: is now --license"),
        (["export", "--allow_licences=MIT"], "--allow_licences: is now --allow_licenses"),
        (["export", "--nonormalise"], "--nonormalise: is now --nonormalize"),
        (["train", "--utilisation=0.4"], "--utilisation: is now --utilization"),
        (["finetune", "--init=runs/a"], "--init: is now --init_from"),
        (["transfer", "--inits=a=runs/a"], "--inits: is now --init_from"),
        (["train", "--config.init=runs/a"], "--config.init: is now --config.init_from"),
        (["train", "--config.augment.colour=0.1"], "--config.augment.colour: is now --config.augment.color"),
    ],
)
def test_former_flag_is_refused_with_its_new_name(command, now, capsys):
    with pytest.raises(SystemExit) as stop:
        must.main(command)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error == f"must: error: {now}\n"
