"""The verbs of the command line, each with what it does."""

VERBS = {
    "init": "look at a folder of images, write a config, say what comes next",
    "demo": "run the whole loop on rendered rooms, in minutes",
    "rooms": "render the embedded dataset, with exact labels",
    "label": "run teachers over images, and write records",
    "inspect": "verify a dataset, and draw its labels",
    "convert": "write records as COCO, YOLO, VOC, masks and more",
    "train": "train a student, or a teacher, on records",
    "rounds": "train students in turn, each on the labels of the one before",
    "weigh": "weigh the tasks of a student by how much each helps a task of yours",
    "export": "write a student as SavedModel, ONNX, Keras, Model Garden, LiteRT, PyTorch",
    "finetune": "train a task of your own from a pre-trained trunk",
    "transfer": "compare initializations on downstream tasks",
    "evaluate": "score a student on a dataset",
    "report": "write one HTML page: tables, curves, pictures",
    "completion": "complete verbs and flags in bash or zsh",
}
