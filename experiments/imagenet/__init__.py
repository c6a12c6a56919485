"""Configs of the paper's runs: ResNet-152 on ImageNet, Objects365 and COCO, and the six downstream tasks."""
