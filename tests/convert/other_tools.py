"""Reads exports with other tools, and writes datasets of Hugging Face; prints what was read as JSON in the last line.

Runs in an environment of its own, see test_other_tools.py: `python other_tools.py FOLDER`.
"""

import json
import sys
from pathlib import Path

SIZE = HEIGHT, WIDTH = (24, 40)


def main(folder):
    found = {
        "fiftyone": fiftyone(folder),
        "datumaro": datumaro(folder),
        "labelstudio": label_studio(folder),
        "datasets": datasets(folder / "hf") | {"imagefolder": image_folder(folder / "imagefolder")},
    }
    print(json.dumps(found))


def fiftyone(folder):
    """Uses FiftyOne's importers alone, which need no database."""
    from fiftyone.utils.coco import COCODetectionDatasetImporter
    from fiftyone.utils.voc import VOCDetectionDatasetImporter
    from fiftyone.utils.yolo import YOLOv5DatasetImporter

    labels = str(folder / "coco/annotations/instances_boxes.json")
    importers = {
        "coco": COCODetectionDatasetImporter(data_path=str(folder / "coco/images"), labels_path=labels),
        "yolo": YOLOv5DatasetImporter(yaml_path=str(folder / "yolo/data.yaml"), split="train"),
        "voc": VOCDetectionDatasetImporter(
            data_path=str(folder / "voc/JPEGImages"), labels_path=str(folder / "voc/Annotations")
        ),
    }
    found = {}
    for name, importer in importers.items():
        found[name] = {}
        with importer:
            for path, _, label in importer:
                label = label.get("detections") if isinstance(label, dict) else label
                found[name][Path(path).stem] = sorted(
                    [x * WIDTH, y * HEIGHT, w * WIDTH, h * HEIGHT, one.label]
                    for one in (label.detections if label else [])
                    for x, y, w, h in [one.bounding_box]
                )
    return found


def datumaro(folder):
    """Leaves out YOLO, of which Datumaro 1.13 reads no images in folders of folders."""
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    found = {}
    for name, kind in (("coco", "coco_instances"), ("voc", "voc_detection")):
        dataset = Dataset.import_from(str(folder / name), kind)
        names = dataset.categories()[AnnotationType.label]
        found[name] = {}
        for item in dataset:
            boxes = [one for one in item.annotations if one.type == AnnotationType.bbox]
            rows = [[*map(float, one.get_bbox()), names[one.label].name] for one in boxes]
            found[name][Path(item.id).name] = sorted(rows)
    return found


def label_studio(folder):
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / "labelstudio/config.xml").read_text())
    interface.validate()
    found = {}
    for task in json.loads((folder / "labelstudio/tasks.json").read_text()):
        rows = []
        for annotation in task["annotations"]:
            assert interface.validate_annotation(annotation), annotation
            for one in annotation["result"]:
                value = one["value"]
                sides = [value["x"] * WIDTH, value["y"] * HEIGHT, value["width"] * WIDTH, value["height"] * HEIGHT]
                rows.append([*[side / 100 for side in sides], value["rectanglelabels"][0]])
        found[Path(task["data"]["image"]).stem] = sorted(rows)
    return {"labelstudio": found}


def datasets(folder):
    import datasets as hf
    from PIL import Image

    names = ["cat", "dog"]
    box = [4.0, 6.0, 20.0, 12.0]
    objects = {"bbox": hf.Sequence(hf.Value("float32"), length=4), "category": hf.ClassLabel(names=names)}
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=names), "objects": hf.Sequence(objects)})
    rows = {
        "image": [Image.new("RGB", (WIDTH, HEIGHT), (90 * number, 0, 0)) for number in range(3)],
        "label": [0, 1, -1],
        "objects": [{"bbox": [box], "category": [1]}, {"bbox": [], "category": []}, {"bbox": [], "category": []}],
    }
    made = hf.Dataset.from_dict(rows, features=features)
    made.save_to_disk(str(folder / "saved"))
    hf.DatasetDict({"train": made}).save_to_disk(str(folder / "dict"))
    (folder / "pushed/data").mkdir(parents=True)
    made.to_parquet(str(folder / "pushed/data/train-00000-of-00001.parquet"))
    return {"box": box}


def image_folder(folder):
    import datasets as hf

    files = {"train": [str(folder / "metadata.jsonl"), str(folder / "images/**")]}
    loaded = hf.load_dataset("imagefolder", data_files=files, split="train", cache_dir=str(folder.parent / "cache"))
    found = {}
    for row in loaded.cast_column("image", hf.Image(decode=False)):
        boxes = zip(row["boxes"]["bbox"], row["boxes"]["category"], strict=True)
        found[Path(row["image"]["path"]).stem] = sorted([*box, name] for box, name in boxes)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
