import numpy as np
import pytest
import tensorflow as tf
import yaml
from official.core import task_factory
from official.vision.configs import maskrcnn as maskrcnn_config
from official.vision.configs import retinanet as retinanet_config
from official.vision.configs import semantic_segmentation as segmentation_config
from official.vision.tasks import maskrcnn, retinanet, semantic_segmentation  # noqa: F401  registers the tasks

from must_tf.export import FORMATS, model_garden

CONFIGS = {
    "retinanet": lambda: retinanet_config.RetinaNetTask(model=retinanet_config.RetinaNet(num_classes=4)),
    "maskrcnn": lambda: maskrcnn_config.MaskRCNNTask(model=maskrcnn_config.MaskRCNN(num_classes=4)),
    "segmentation": lambda: segmentation_config.SemanticSegmentationTask(
        model=segmentation_config.SemanticSegmentationModel(num_classes=4)
    ),
}


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """A checkpoint for Model Garden, of the student with all tasks."""
    out = tmp_path_factory.mktemp("garden") / "garden"
    FORMATS["garden"].write(run[1], "backbone", out, {"input_size": [64, 64]})
    return out


def started_task(name, folder, **changes):
    """A task of Model Garden with the config beside the checkpoint, and its model after its own `initialize`."""
    config = CONFIGS[name]()
    config.override(yaml.safe_load((folder / model_garden.CONFIG).read_text())["task"], is_strict=True)
    config.override({"init_checkpoint": str(folder)} | changes)
    task = task_factory.get_task(config)
    model = task.build_model()
    task.initialize(model)
    return model


def same(ours, theirs):
    assert len(ours.weights) == len(theirs.weights)
    return all(np.array_equal(a, b) for a, b in zip(ours.weights, theirs.weights, strict=True))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_task_of_model_garden_starts_from_the_students_weights(run, folder, name):
    _, student = run
    model = started_task(name, folder)
    assert same(student.backbone, model.backbone) and same(student.decoder, model.decoder)


def test_modules_that_are_not_asked_for_stay_as_they_were(run, folder):
    _, student = run
    by_file = str(tf.train.latest_checkpoint(str(folder)))
    model = started_task("segmentation", folder, init_checkpoint=by_file, init_checkpoint_modules=["backbone"])
    assert same(student.backbone, model.backbone) and not same(student.decoder, model.decoder)
    model = started_task("segmentation", folder, init_checkpoint=by_file, init_checkpoint_modules=["decoder"])
    assert same(student.decoder, model.decoder) and not same(student.backbone, model.backbone)
