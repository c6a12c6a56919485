"""The count of a step's graph against counts by hand."""

import dataclasses

import pytest
import toy

from must_tf.tasks import Segmentation
from must_tf.training import Combine
from must_tf.training.cost import cost_of, make_step
from must_tf.trunk import Trunk


def cost(tasks, trunk=toy.TRUNK, size=(64, 64), **fields):
    experiment = toy.experiment("nowhere", tasks=tasks, trunk=trunk, **fields)
    return cost_of(make_step(experiment), experiment.tasks, size)


def convolutions(blocks, width, side, bottleneck):
    """By hand: (side of the kernel, channels in, channels out, side of the map) of a ResNet's convolutions."""
    found = [(7, 3, int(64 * width), side // 2)]
    before, side = int(64 * width), side // 4
    for stage, count in enumerate(blocks):
        filters = int(64 * width) * 2**stage
        for block in range(count):
            side_before = side
            if block == 0 and stage > 0:
                side //= 2
            after = 4 * filters if bottleneck else filters
            if bottleneck:
                found += [(1, before, filters, side_before), (3, filters, filters, side), (1, filters, after, side)]
            else:
                found += [(3, before, filters, side), (3, filters, filters, side)]
            if block == 0:
                found.append((1, before, after, side))
            before = after
    return found


def products(found):
    return sum(kernel**2 * before * after * side**2 for kernel, before, after, side in found)


@pytest.fixture(scope="module")
def classifier():
    return cost([toy.SCENE])


def test_operations_are_those_counted_by_hand(classifier):
    by_hand = convolutions((1, 1, 1, 1), 0.25, 64, bottleneck=False)
    assert classifier.forward == 2 * (products(by_hand) + 128 * toy.SCENE.num_classes)


def test_a_step_is_three_forward_passes_less_the_gradient_of_the_images(classifier):
    stem = 2 * products(convolutions((), 0.25, 64, bottleneck=False))
    assert classifier.step == 3 * classifier.forward - stem


def test_activations_are_maps_before_norms_and_before_convolutions(classifier):
    maps = 4 * sum(after * side**2 for _, _, after, side in convolutions((1, 1, 1, 1), 0.25, 64, bottleneck=False))
    assert maps < classifier.activations < 2.5 * maps  # and the image
    assert classifier.copies < 1000


def test_bfloat16_needs_less_for_images_and_a_copy_of_the_weights(classifier):
    small = cost([toy.SCENE], policy="mixed_bfloat16")
    assert small.forward == classifier.forward and small.step == classifier.step
    assert small.activations < 0.9 * classifier.activations
    kernels = sum(kernel**2 * a * b for kernel, a, b, _ in convolutions((1, 1, 1, 1), 0.25, 64, bottleneck=False))
    assert small.copies == pytest.approx(2 * kernels, rel=0.02)


def test_costs_grow_with_the_area(classifier):
    large = cost([toy.SCENE], size=(128, 64))
    assert large.forward == pytest.approx(2 * classifier.forward, rel=1e-4)
    assert large.activations == pytest.approx(2 * classifier.activations, rel=0.01)


def test_rules_that_compare_gradients_go_back_through_the_trunk_once_a_task():
    tasks = [Segmentation(name, toy.STUFF.class_names) for name in ("one", "other")]
    summed, compared = cost(tasks), cost(tasks, combine=Combine("pcgrad"))
    width, side = toy.TRUNK.num_filters, 64 // 4
    head = 2 * products([(3, width, width, side)] * 3 + [(1, width, toy.STUFF.num_classes, side)])
    stem = 2 * products(convolutions((), 0.25, 64, bottleneck=False))
    assert compared.forward == summed.forward
    assert compared.step - summed.step == 2 * (summed.forward - 2 * head) - stem
    assert compared.activations == pytest.approx(summed.activations, rel=0.01)


@pytest.mark.slow
def test_depthwise_convolutions_are_counted():
    trunk = dataclasses.replace(toy.TRUNK, backbone="mobilenet-v2", width=1.0)
    light = cost([toy.SCENE], trunk)
    # 300.8 million multiply-adds at 224 px (Sandler et al., 2018), less the layers above level 5, which are cut off
    assert 0.75 < light.forward / 2 / 300.8e6 * (224 / 64) ** 2 < 1
    assert light.step == pytest.approx(3 * light.forward, rel=0.05)


@pytest.mark.slow
def test_resnet_50_is_its_papers():
    found = cost([dataclasses.replace(toy.SCENE, class_names=tuple(map(str, range(1000))))], Trunk(), (224, 224))
    by_hand = products(convolutions((3, 4, 6, 3), 1, 224, bottleneck=True)) + 2048 * 1000
    assert found.forward == 2 * by_hand
    assert by_hand == pytest.approx(4.1e9, rel=0.01)  # 3.8 with the stride in a block's first convolution
