"""Tiny random models of transformers, each saved with its processor by `save_pretrained`; nothing is downloaded."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the extra hf")
transformers = t = pytest.importorskip("transformers", reason="needs the extra hf")
tokenizers = pytest.importorskip("tokenizers", reason="needs the extra hf")

NAMES = ("cup", "bottle", "chair", "table", "lamp")
PROMPTS = {"cup": "a coffee cup", "bottle": "bottle", "chair": "a red chair"}
_WORDS = [
    "a",
    "red",
    "coffee",
    "cup",
    "bottle",
    "chair",
    "table",
    ".",
    "the",
    "task",
    "is",
    "semantic",
    "photo",
    "of",
    "instance",
]
_SWIN = {
    "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, "image_size": 64,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 32}
_RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage4"],
}
_ENCODER = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
_DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16}


def labels(names=NAMES):
    """Returns the config's fields of class names."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def save(model, folder, processor=None):
    """Saves a model and its processor; every class and box depends on the image and on more than one bias."""
    model.eval().save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return folder


def lively(model, gain=1.5):
    """Draws all weights anew, so large that features differ between places, queries and images; returns the model."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "position" not in name:
                weight.normal_(0, gain / np.prod(weight.shape[1:]) ** 0.5)
    return model


def scaled(layer, factor, bias=None):
    """Multiplies the weights of the last layer, so that random features make scores that differ; sets its bias."""
    with torch.no_grad():
        layer.weight.mul_(factor)
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias, dtype=torch.float32))


def spread(model, layer, processor, shift=0.0, by=4.0):
    """Scales the last layer so that on one image the logits of each class have mean 0 and, together, deviation `by`.

    `shift` is added to the biases of the classes afterwards. Returns the model.
    """
    found = []
    handle = layer.register_forward_hook(lambda _, inputs, outputs: found.append(outputs))
    with torch.no_grad():
        model.eval()(**processor(images=image(48, 64, seed=9), return_tensors="pt"))
        handle.remove()
        logits = found[-1]
        mean = logits.mean((0, 2, 3) if logits.ndim == 4 else (0, 1), keepdim=True)
        factor = by / (logits - mean).std()
        layer.weight.mul_(factor)
        layer.bias.sub_(mean.flatten()).mul_(factor).add_(shift)
    return model


def tokenizer(end="[SEP]", **special):
    """Returns a tokenizer of whole words, whose end of text has the highest id, as CLIP requires."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2} | {word: 3 + i for i, word in enumerate(_WORDS)}
    vocabulary[end] = len(vocabulary)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[UNK]"))
    words.normalizer, words.pre_tokenizer = tokenizers.normalizers.Lowercase(), tokenizers.pre_tokenizers.Whitespace()
    ids = [("[CLS]", 2), (end, vocabulary[end])]
    words.post_processor = tokenizers.processors.TemplateProcessing(single=f"[CLS] $A {end}", special_tokens=ids)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token=end, **special
    )


def vit(folder, **fields):
    torch.manual_seed(0)
    config = t.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        **(labels() | fields),
    )  # fmt: skip
    model = t.ViTForImageClassification(config)
    scaled(model.classifier, 20)
    return save(model, folder, t.ViTImageProcessorPil(size={"height": 32, "width": 32}))


def convnext(folder):
    """A classifier whose processor crops the center."""
    torch.manual_seed(0)
    config = t.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], **labels())
    model = t.ConvNextForImageClassification(config)
    scaled(model.classifier, 50)
    processor = t.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.8)
    return save(model, folder, processor)


def detr(folder, **fields):
    torch.manual_seed(0)
    config = t.DetrConfig(
        backbone_config=t.ResNetConfig(**_RESNET), d_model=16, num_queries=12, dropout=0.0, **_ENCODER, **_DECODER,
        **(labels() | fields),
    )  # fmt: skip
    model = lively(t.DetrForObjectDetection(config))
    with torch.no_grad():
        model.model.query_position_embeddings.weight.normal_(0, 2)
    processor = t.DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 100})
    spread(model, model.class_labels_classifier, processor, torch.tensor([0.0] * config.num_labels + [-9.0]))
    return save(model, folder, processor)


def _spread_boxes(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "class_embed" in name or "enc_score_head" in name:
                weight.normal_(0, 2) if weight.ndim > 1 else weight.normal_(1, 1)
            elif "bbox_embed" in name or "enc_bbox_head" in name:
                weight.normal_(0, 0.3)
    return model


def rt_detr(folder):
    torch.manual_seed(0)
    config = t.RTDetrConfig(
        backbone_config=t.RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
            out_indices=[2, 3, 4],
        ),
        encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], encoder_ffn_dim=16, encoder_attention_heads=2,
        d_model=16, num_queries=12, decoder_in_channels=[16, 16, 16], decoder_n_points=2, **_DECODER, **labels(),
    )  # fmt: skip
    model = _spread_boxes(t.RTDetrForObjectDetection(config))
    processor = t.RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    return save(spread(model, model.model.decoder.class_embed[-1], processor, 0.5, by=1.0), folder, processor)


def d_fine(folder):
    torch.manual_seed(0)
    config = t.DFineConfig(
        backbone_config=t.HGNetV2Config(
            depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], stem_channels=[3, 8, 8], stage_in_channels=[8, 8, 8, 16],
            stage_mid_channels=[8, 8, 8, 8], stage_out_channels=[8, 8, 16, 16], stage_num_blocks=[1, 1, 1, 1],
            stage_numb_of_layers=[1, 1, 1, 1], out_indices=[2, 3, 4],
        ),
        encoder_hidden_dim=16, encoder_in_channels=[8, 16, 16], encoder_ffn_dim=16, encoder_attention_heads=2,
        d_model=16, num_queries=12, decoder_in_channels=[16, 16, 16], decoder_n_points=2, lqe_hidden_dim=8,
        **(_DECODER | {"decoder_layers": 2}), **labels(),
    )  # fmt: skip
    model = _spread_boxes(t.DFineForObjectDetection(config))
    processor = t.RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    return save(spread(model, model.model.decoder.class_embed[-1], processor, 0.5, by=1.0), folder, processor)


def yolos(folder):
    torch.manual_seed(0)
    config = t.YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[64, 64],
        patch_size=16, num_detection_tokens=12, use_mid_position_embeddings=False, **labels(),
    )  # fmt: skip
    model = lively(t.YolosForObjectDetection(config))
    with torch.no_grad():
        model.vit.embeddings.detection_tokens.normal_(0, 1)
    processor = t.YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 100})
    last = model.class_labels_classifier.layers[-1]
    return save(spread(model, last, processor, torch.tensor([0.0] * 5 + [-9.0])), folder, processor)


def segformer(folder):
    torch.manual_seed(0)
    config = t.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        **labels(),
    )  # fmt: skip
    model = t.SegformerForSemanticSegmentation(config)
    processor = t.SegformerImageProcessorPil(size={"height": 64, "width": 64})
    return save(spread(model, model.decode_head.classifier, processor), folder, processor)


def upernet(folder):
    torch.manual_seed(0)
    backbone = t.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=_STAGES)
    config = t.UperNetConfig(backbone_config=backbone, hidden_size=16, use_auxiliary_head=False, **labels())
    model = t.UperNetForSemanticSegmentation(config)
    processor = t.SegformerImageProcessorPil(size={"height": 64, "width": 64})
    return save(spread(model, model.decode_head.classifier, processor), folder, processor)


def mobilevit(folder):
    """A segmenter whose processor crops the center."""
    torch.manual_seed(0)
    config = t.MobileViTConfig(
        hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 16, 16, 16, 32], num_attention_heads=2, image_size=64,
        aspp_out_channels=16, **labels(),
    )  # fmt: skip
    model = lively(t.MobileViTForSemanticSegmentation(config))
    last = model.segmentation_head.classifier.convolution
    processor = t.MobileViTImageProcessorPil(size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64})
    return save(spread(model, last, processor), folder, processor)


def _spread_masks(model, layer, processor):
    """Makes queries that differ in class and place, so that several classes win pixels."""
    lively(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "quer" in name and "embed" in name and weight.ndim == 2:
                weight.normal_(0, 2)
    return spread(model, layer, processor, torch.tensor([0.0] * len(NAMES) + [-9.0]))


def mask2former(folder):
    torch.manual_seed(0)
    config = t.Mask2FormerConfig(
        backbone_config=t.SwinConfig(**_SWIN), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16,
        num_queries=8, **labels(),
    )  # fmt: skip
    model = t.Mask2FormerForUniversalSegmentation(config)
    processor = t.Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}, num_labels=5)
    return save(_spread_masks(model, model.class_predictor, processor), folder, processor)


def maskformer(folder):
    torch.manual_seed(0)
    config = t.MaskFormerConfig(
        backbone_config=t.SwinConfig(**_SWIN),
        decoder_config=t.DetrConfig(
            backbone_config=t.ResNetConfig(**_RESNET), d_model=16, num_queries=8, **_ENCODER, **_DECODER
        ),
        fpn_feature_size=32, mask_feature_size=32, **labels(),
    )  # fmt: skip
    model = t.MaskFormerForInstanceSegmentation(config)
    processor = t.MaskFormerImageProcessorPil(size={"height": 64, "width": 64}, num_labels=5)
    return save(_spread_masks(model, model.class_predictor, processor), folder, processor)


def detr_segmenter(folder):
    torch.manual_seed(0)
    backbone = _RESNET | {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    config = t.DetrConfig(
        backbone_config=t.ResNetConfig(**backbone), d_model=16, num_queries=12, dropout=0.0, **_DECODER,
        **(_ENCODER | {"encoder_attention_heads": 8}), **labels(),
    )  # fmt: skip
    model = lively(t.DetrForSegmentation(config))
    with torch.no_grad():
        model.detr.model.query_position_embeddings.weight.normal_(0, 2)
    processor = t.DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 100})
    last = model.detr.class_labels_classifier
    return save(spread(model, last, processor, torch.tensor([0.0] * len(NAMES) + [-9.0])), folder, processor)


def oneformer(folder):
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    info = {str(i): {"name": name, "isthing": 1} for i, name in enumerate(NAMES)}
    (folder / "class_info.json").write_text(json.dumps(info))
    words = tokenizer()
    config = t.OneFormerConfig(
        backbone_config=t.SwinConfig(**_SWIN), num_queries=8, task_seq_len=8, text_encoder_width=16,
        text_encoder_context_length=8, text_encoder_num_layers=1, text_encoder_vocab_size=32, conv_dim=32, mask_dim=32,
        hidden_dim=32, encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        dim_feedforward=16, query_dec_layers=1, dropout=0.0, **labels(),
    )  # fmt: skip
    model = t.OneFormerForUniversalSegmentation(config)
    images = t.OneFormerImageProcessorPil(
        size={"height": 64, "width": 64}, repo_path=str(folder), class_info_file="class_info.json", num_labels=5
    )
    processor = t.OneFormerProcessor(images, words, max_seq_length=8, task_seq_length=8)
    told = functools.partial(processor, task_inputs=["semantic"])
    layer = model.model.transformer_module.decoder.class_embed
    return save(_spread_masks(model, layer, told), folder, processor)


def depth_anything(folder, **fields):
    torch.manual_seed(0)
    backbone = t.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=70, patch_size=14, mlp_ratio=1,
        out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = t.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, **fields,
    )  # fmt: skip
    model = lively(t.DepthAnythingForDepthEstimation(config))
    scaled(model.head.conv3, 0.1, [1.0])
    processor = t.DPTImageProcessorPil(size={"height": 70, "width": 70}, keep_aspect_ratio=True, ensure_multiple_of=14)
    return save(model, folder, processor)


def dpt(folder, **fields):
    torch.manual_seed(0)
    config = t.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], **({"fusion_hidden_size": 8} | fields),
    )  # fmt: skip
    model = lively(t.DPTForDepthEstimation(config))
    scaled(model.head.head[4], 0.01, [3.0])
    return save(model, folder, t.DPTImageProcessorPil(size={"height": 64, "width": 64}))


def zoedepth(folder):
    torch.manual_seed(0)
    backbone = t.BeitConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=64, patch_size=16,
        use_relative_position_bias=True, reshape_hidden_states=False, out_features=_STAGES,
    )  # fmt: skip
    config = t.ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, bottleneck_features=8,
        num_relative_features=8, num_attractors=[4, 2, 2, 1], bin_embedding_dim=8,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    model = lively(t.ZoeDepthForDepthEstimation(config))
    processor = t.ZoeDepthImageProcessorPil(size={"height": 64, "width": 96}, ensure_multiple_of=32)
    return save(model, folder, processor)


def _two_towers(vocabulary=32, length=16):
    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return {
        "text_config": tower | {"vocab_size": vocabulary, "max_position_embeddings": length},
        "vision_config": tower | {"image_size": 32, "patch_size": 8},
    }


def clip(folder):
    torch.manual_seed(0)
    words = tokenizer()
    config = t.CLIPConfig(**_two_towers(), projection_dim=16)
    config.text_config.eos_token_id = words.eos_token_id
    model = t.CLIPModel(config)
    images = t.CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    return save(model, folder, t.CLIPProcessor(images, words))


def siglip(folder):
    torch.manual_seed(0)
    model = lively(t.SiglipModel(t.SiglipConfig(**_two_towers(length=64))))
    with torch.no_grad():
        model.logit_scale.fill_(1.0)
        model.logit_bias.fill_(0.3)
    images = t.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    return save(model, folder, t.SiglipProcessor(images, tokenizer(model_input_names=["input_ids"])))


_VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}


def _dino(model, folder):
    """A backbone whose processor crops the center, as that of DINOv2."""
    processor = t.BitImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    return save(lively(model), folder, processor)


def dinov2(folder):
    torch.manual_seed(0)
    return _dino(t.Dinov2Model(t.Dinov2Config(**_VIT, mlp_ratio=1)), folder)


def dinov2_registers(folder):
    torch.manual_seed(0)
    config = t.Dinov2WithRegistersConfig(**_VIT, mlp_ratio=1, num_register_tokens=3)
    return _dino(t.Dinov2WithRegistersModel(config), folder)


def dinov3(folder):
    torch.manual_seed(0)
    return _dino(t.DINOv3ViTModel(t.DINOv3ViTConfig(**_VIT, num_register_tokens=3)), folder)


def vit_backbone(folder):
    torch.manual_seed(0)
    processor = t.ViTImageProcessorPil(size={"height": 32, "width": 32})
    return save(lively(t.ViTModel(t.ViTConfig(**_VIT))), folder, processor)


def sam(folder):
    """SAM of 64 pixels, padded at the bottom or at the right, with a grid of 8 x 8."""
    torch.manual_seed(0)
    vision = _VIT | {"image_size": 64, "output_channels": 16, "mlp_dim": 16, "global_attn_indexes": [0]}
    decoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16}
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "image_embedding_size": 8}
    config = t.SamConfig(
        vision_config=vision | {"num_pos_feats": 8},
        mask_decoder_config=decoder | {"iou_head_hidden_dim": 16},
        prompt_encoder_config=prompts | {"mask_input_channels": 4},
    )
    processor = t.SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return save(lively(t.SamModel(config)), folder, processor)


def sam_of_masks(folder):
    """SAM whose masks are small and have sharp edges, with scores of about 0.9."""
    model = t.SamModel.from_pretrained(sam(folder))
    processor, decoder = t.SamImageProcessorPil.from_pretrained(folder), model.mask_decoder
    for network in decoder.output_hypernetworks_mlps:
        scaled(network.proj_out, 1000.0, network.proj_out.bias - 1000.0)
    with torch.no_grad():
        decoder.upscale_conv2.bias.add_(2.0)
    points = torch.rand(1, 64, 1, 2, generator=torch.Generator().manual_seed(0)) * 64
    inputs = processor(images=image(48, 64, seed=9), return_tensors="pt")
    with torch.no_grad():
        found = model(pixel_values=inputs["pixel_values"], input_points=points).iou_scores
        factor = 0.03 / found.std()
        layer = decoder.iou_prediction_head.proj_out
        layer.weight.mul_(factor)
        layer.bias.sub_(found.mean()).mul_(factor).add_(0.9)
    return save(model, folder, processor)


def owlv2(folder):
    torch.manual_seed(0)
    words = tokenizer(model_max_length=16)
    config = t.Owlv2Config(**_two_towers(), projection_dim=16)
    model = t.Owlv2ForObjectDetection(config)
    with torch.no_grad():
        model.class_head.logit_shift.bias.fill_(0.2)
        model.class_head.logit_scale.weight.mul_(50)
        model.box_head.dense2.weight.mul_(0.02)
    images = t.Owlv2ImageProcessorPil(size={"height": 32, "width": 32})
    return save(model, folder, t.Owlv2Processor(images, words))


def grounding_dino(folder):
    torch.manual_seed(0)
    words = tokenizer()
    config = t.GroundingDinoConfig(
        backbone_config=t.SwinConfig(**(_SWIN | {"out_features": ["stage2", "stage3", "stage4"]})),
        text_config=t.BertConfig(**_BERT), num_queries=12, d_model=32, encoder_n_points=2, decoder_n_points=2,
        dropout=0.0, max_text_len=16, disable_custom_kernels=True, **_ENCODER, **(_DECODER | {"decoder_layers": 2}),
    )  # fmt: skip
    model = lively(t.GroundingDinoForObjectDetection(config), 1.0)
    images = t.GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 140})
    return save(model, folder, t.GroundingDinoProcessor(images, words))


def image(height, width, seed=0):
    """Returns a smooth image in color, so that resized copies of it resemble each other; uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))
