"""The paper's own runs: ResNet-152, ImageNet, Objects365, COCO, and the six downstream tasks."""
