"""What a SavedModel may run: models that use files, Python or the network are refused before any of it has run."""

import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import toy
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from must_tf.errors import UserError
from must_tf.export import savedmodel
from must_tf.student import Student
from must_tf.teachers import trusted_ops
from must_tf.teachers.program import check
from must_tf.teachers.savedmodel import SavedModel

_IMAGES = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="images")
_NAMES = tf.lookup.TextFileIndex
v1 = tf.compat.v1


@pytest.fixture
def trace(tmp_path):
    """The file that malicious models write."""
    return tmp_path / "trace"


@pytest.fixture
def write(trace):
    """What malicious models do."""

    def write():
        tf.io.write_file(str(trace), "it ran")

    return write


@pytest.fixture
def save(tmp_path):
    """Saves a function of images as the signature of a model with more attributes; returns the folder."""

    def save(function, **attributes):
        module = tf.Module()
        for name, value in attributes.items():
            setattr(module, name, value)
        module.function = tf.function(lambda images: {"found": function(images)}, input_signature=[_IMAGES])
        path = str(tmp_path / "model")
        tf.saved_model.save(module, path, {"serving_default": module.function.get_concrete_function()})
        return path

    return save


def refuses(path, op, match, signature=None):
    """Checks that a model is refused in one line that names an op."""
    with pytest.raises(UserError, match=f"{match}.*; a SavedModel is a program: .*--allow_ops={op} if") as error:
        SavedModel(path, signature)
    assert "\n" not in str(error.value)


def edit(path, change):
    """Changes the protocol buffer of a model."""
    file = Path(path, "saved_model.pb")
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0])
    file.write_bytes(model.SerializeToString())


def test_every_op_of_the_installed_tensorflow_has_been_decided_on():
    names = {name for name in dir(tf.raw_ops) if not name.startswith("_")}
    undecided = sorted(name for name in names - trusted_ops.TRUSTED if not trusted_ops.reason(name))
    assert not undecided, "put each in trusted_ops.py: trusted if all that it does is compute"
    unknown = sorted(name for name in trusted_ops.TRUSTED if op_def_registry.get(name) is None)
    assert not unknown, "are not ops of this TensorFlow"


_TOUCHING = """
    Abort CacheDatasetV2 Copy DebugIdentityV2 DecodeProtoV2 EagerPyFunc ImmutableConst PrintV2 PyFunc ReadFile
    RecordInput
    RemoteCall RpcCall SaveV2 SnapshotDatasetV2 TFRecordDataset WriteFile WriteSummary XlaCallModule
"""


@pytest.mark.parametrize("op", _TOUCHING.split())
def test_op_that_touches_more_than_tensors_is_not_trusted(op):
    assert op not in trusted_ops.TRUSTED
    assert trusted_ops.reason(op)


def _nested(images, write):
    @tf.function
    def inner(values):
        write()
        return values

    return tf.function(lambda values: inner(values) + 1.0)(images)


def _loop(images, write):
    def body(i):
        write()
        return i + 1

    return images + tf.cast(tf.while_loop(lambda i: i < 2, body, [0])[0], tf.float32)


def _branch(images, write):
    def yes():
        write()
        return images

    return tf.cond(tf.reduce_sum(images) >= 0, yes, lambda: images)


def _of_each(images, write):
    def body(image):
        write()
        return image

    return tf.map_fn(body, images)


def _dataset(images, write):
    def body(image):
        write()
        return image

    return tf.data.Dataset.from_tensor_slices(images).map(body).reduce(tf.zeros([8, 8, 3]), tf.add)[tf.newaxis]


def _straight(images, write):
    write()
    return images


@pytest.mark.parametrize("function", [_straight, _nested, _loop, _branch, _of_each, _dataset])
def test_file_is_not_written_wherever_the_op_stands(function, save, write, trace):
    path = save(lambda images: function(images, write))
    refuses(path, "WriteFile", "its signature 'serving_default' uses WriteFile, which writes files")
    assert not trace.exists()
    SavedModel(path, None, allow_ops=["WriteFile"]).predict(np.zeros((1, 8, 8, 3), np.float32))
    assert trace.read_text() == "it ran"


def test_print_to_a_file_is_refused_and_to_the_screen_is_not(save, trace):
    refuses(save(_printing(f"file://{trace}")), "PrintV2", "PrintV2, which writes files")
    assert not trace.exists()
    SavedModel(save(_printing(sys.stderr)), None)


def _printing(stream):
    def function(images):
        tf.print("seen", output_stream=stream)
        return images

    return function


def test_python_is_refused(save):
    path = save(lambda images: tf.ensure_shape(tf.numpy_function(lambda x: x, [images], tf.float32), [None, 8, 8, 3]))
    refuses(path, "PyFunc", "PyFunc, which runs Python")
    path = save(lambda images: tf.ensure_shape(tf.py_function(lambda x: x, [images], tf.float32), [None, 8, 8, 3]))
    refuses(path, "EagerPyFunc", "EagerPyFunc, which runs Python")


def test_op_of_another_library_is_refused(save):
    path = save(tf.nn.relu)

    def rename(graph):
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.op = node.op.replace("Relu", "Vendor\nRelu")

    edit(path, rename)
    refuses(path, "Vendor[?]Relu", "Vendor[?]Relu, which must_tf does not know")


def test_function_that_nothing_calls_does_not_matter(save, write, trace):
    path = save(tf.identity, other=tf.function(write, input_signature=[]))
    SavedModel(path, None)
    assert not trace.exists()


def test_file_that_would_be_read_to_infer_a_shape_is_not(save, trace):
    """TensorFlow evaluates ops without state as it builds even a function that nothing calls."""
    trace.write_text("3")
    other = tf.function(
        lambda: tf.zeros(tf.strings.to_number(tf.io.read_file(str(trace)), tf.int32)), input_signature=[]
    )
    path = save(tf.identity, other=other)
    trace.unlink()
    os.mkfifo(trace)  # who opens it waits for ever
    refuses(path, "ReadFile", "what TensorFlow runs to load it uses ReadFile, which reads files")


@pytest.mark.parametrize("name", ["_maybe_initialize_trackable", "_initialize", "_restore_from_tensors", "__call__"])
def test_function_under_the_name_of_a_method_of_tensorflow_is_refused(name, save, write, trace):
    def function():
        write()
        return tf.constant(1.0)

    path = save(tf.identity, hook=tf.function(function, input_signature=[]))

    def rename(graph):
        for one in graph.object_graph_def.nodes:
            for child in one.children:
                child.local_name = name if child.local_name == "hook" else child.local_name

    edit(path, rename)
    refuses(path, "WriteFile", "what TensorFlow runs to load it uses WriteFile")
    assert not trace.exists()
    if name == "_maybe_initialize_trackable":  # else it would be enough to look at tables
        tf.saved_model.load(path)
        assert trace.exists()


def test_function_that_tensorflow_may_run_instead_is_refused(save, write, trace):
    """Grappler takes one function for another where both implement one interface."""
    path = save(lambda images: tf.function(lambda x: x + 1.0)(images), other=tf.function(write, input_signature=[]))

    def pair(graph):
        for function in graph.graph_def.library.function:
            if "traced" not in function.signature.name:  # of the saver
                function.attr["api_implements"].s = b"same"

    edit(path, pair)
    refuses(path, "WriteFile", "its signature 'serving_default' uses WriteFile")


def _table(file):
    names = tf.lookup.TextFileInitializer(file, tf.string, _NAMES.WHOLE_LINE, tf.int64, _NAMES.LINE_NUMBER)
    return tf.lookup.StaticVocabularyTable(names, 1)


@pytest.fixture
def with_table(save, tmp_path):
    """A model that numbers words by a file under assets/."""
    (tmp_path / "words.txt").write_text("a\nb\n")
    table = _table(str(tmp_path / "words.txt"))
    return save(lambda images: images + tf.cast(table.lookup(tf.constant(["b"])), tf.float32), table=table)


def test_table_of_an_asset_is_read(with_table):
    found = SavedModel(with_table, None).predict(np.zeros((1, 8, 8, 3), np.float32))
    np.testing.assert_array_equal(found["found"], np.ones((1, 8, 8, 3)))


@pytest.mark.parametrize("name", ["../../words.txt", "/etc/passwd", "x\0", "gs://bucket/words.txt"])
def test_table_of_another_file_is_refused(name, with_table):
    edit(with_table, lambda graph: setattr(graph.asset_file_def[0], "filename", name))
    refuses(
        with_table,
        "InitializeTableFromTextFileV2",
        "what TensorFlow runs to load it uses InitializeTableFromTextFileV2, which reads a file that is not its own",
    )


def test_table_of_a_link_out_of_the_folder_is_refused(with_table, tmp_path):
    asset = tmp_path / "model" / "assets" / "words.txt"
    asset.unlink()
    asset.symlink_to(tmp_path / "words.txt")
    refuses(with_table, "InitializeTableFromTextFileV2", "reads a file that is not its own")


def test_table_of_a_path_in_the_graph_is_refused(with_table):
    def aside(graph):
        for function in graph.graph_def.library.function:
            for node in list(function.node_def):
                if node.op == "InitializeTableFromTextFileV2":
                    path = function.node_def.add(name="path", op="Const")
                    path.attr["dtype"].type = tf.string.as_datatype_enum
                    path.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))
                    node.input[1] = "path:output:0"

    edit(with_table, aside)
    refuses(with_table, "InitializeTableFromTextFileV2", "reads a file that is not its own")


def test_initializer_that_writes_is_refused(with_table, trace):
    def add(graph):
        for function in graph.graph_def.library.function:
            for node in list(function.node_def):
                if node.op == "InitializeTableFromTextFileV2":
                    for name, text in (("where", str(trace)), ("what", "it ran")):
                        constant = function.node_def.add(name=name, op="Const")
                        constant.attr["dtype"].type = tf.string.as_datatype_enum
                        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(text))
                    function.node_def.add(name="w", op="WriteFile", input=["where:output:0", "what:output:0"])
                    function.control_ret["w"] = "w"
                    function.signature.control_output.append("w")

    edit(with_table, add)
    refuses(with_table, "WriteFile", "what TensorFlow runs to load it uses WriteFile, which writes files")
    assert not trace.exists()
    tf.saved_model.load(with_table)
    assert trace.exists()


def test_model_with_two_of_one_name_is_refused(save):
    path = save(tf.identity)
    edit(path, lambda graph: graph.graph_def.library.function.append(graph.graph_def.library.function[0]))
    with pytest.raises(UserError, match=r"holds the function '.*' twice"):
        SavedModel(path, None)


def test_damage_is_one_line(save, tmp_path):
    path = save(tf.identity)
    file = tmp_path / "model" / "saved_model.pb"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 5):
            broken[at] = rng.integers(0, 256)
        file.write_bytes(bytes(broken[: rng.integers(0, len(whole))] if rng.random() < 0.3 else broken))
        try:
            check(path, None)
        except UserError as error:
            assert "\n" not in str(error) and "savedmodel:" in str(error)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="holds 0 graphs"):
        check(path, None)


# What people have.


def _detector(images):
    """What models of the Object Detection API hold: a map over images, lists, suppression, assertions, decoding."""
    tf.debugging.assert_equal(tf.shape(images)[3], 3)

    def one(image):
        boxes = tf.random.uniform([20, 4], seed=1)
        index, scores = tf.image.non_max_suppression_with_scores(boxes, boxes[:, 0], 5, soft_nms_sigma=0.1)
        return tf.reduce_mean(image) + tf.reduce_sum(scores) + tf.cast(tf.size(index), tf.float32)

    values = tf.map_fn(one, tf.image.resize(images, (4, 4)))
    decoded = tf.io.decode_jpeg(tf.io.encode_jpeg(tf.cast(images[0], tf.uint8)))
    said = tf.strings.join([tf.strings.as_string(values), "x"])
    return tf.strings.to_number(tf.strings.regex_replace(said, "x", "")) + tf.reduce_mean(tf.cast(decoded, tf.float32))


def _quantized(images):
    fake = tf.quantization.fake_quant_with_min_max_vars(images, -1.0, 1.0)
    values, low, high = tf.quantization.quantize(fake, -1.0, 1.0, tf.qint8)
    return tf.quantization.dequantize(values, low, high)


@pytest.mark.parametrize("function", [_detector, _quantized])
def test_model_that_computes_is_loaded(function, save):
    found = SavedModel(save(function), None).predict(np.zeros((2, 8, 8, 3), np.float32))
    assert np.isfinite(found["found"]).all()


def test_export_of_a_student_is_loaded(tmp_path):
    module = savedmodel.served(Student(toy.TASKS, toy.TRUNK), "student")
    path = str(tmp_path / "student")
    tf.saved_model.save(module, path, {"serving_default": module.serve, "serving_uint8": module.serve_uint8})
    found = SavedModel(path, "serving_uint8").predict(np.zeros((1, *toy.VIEW, 3), np.uint8))
    assert all(np.isfinite(values).all() for values in found.values())


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_model_of_keras_is_loaded(library, tmp_path):
    layers = library.layers
    stack = [library.Input((8, 8, 3)), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
    model = library.Sequential([*stack, layers.Dropout(0.5), layers.Flatten(), layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 2)), verbose=0)
    path = str(tmp_path / "model")
    if library is keras:
        model.export(path, verbose=False)
    else:
        model.save(path, save_format="tf")
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    (found,) = SavedModel(path, None).predict(images).values()
    np.testing.assert_allclose(found, model(images), rtol=1e-4, atol=1e-5)


class TestGraph:
    """SavedModels of TensorFlow 1: no objects, one graph."""

    @pytest.fixture
    def save(self, tmp_path):
        """Saves images + a variable + the number of a word; `more` adds to the graph what it likes."""

        def save(more=lambda found: found, main=lambda op: op, legacy=False):
            (tmp_path / "words.txt").write_text("a\nb\n")
            path = str(tmp_path / "graph")
            with tf.Graph().as_default(), v1.Session() as session:
                images = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
                asset = tf.constant(str(tmp_path / "words.txt"))
                variable = v1.get_variable("one", initializer=1.0, use_resource=not legacy)
                word = _table(asset).lookup(tf.constant("b"))
                found = more(images + variable + tf.cast(word, tf.float32))
                v1.global_variables_initializer().run()
                v1.tables_initializer().run()
                define = v1.saved_model.signature_def_utils.predict_signature_def
                builder = v1.saved_model.Builder(path)
                builder.add_meta_graph_and_variables(
                    session,
                    ["serve"],
                    {"serving_default": define({"images": images}, {"found": found})},
                    assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
                    main_op=main(v1.tables_initializer()),
                )
                builder.save()
            return path

        return save

    @pytest.mark.parametrize("legacy", [False, True])
    def test_variables_and_tables_are_read(self, save, legacy):
        model = SavedModel(save(legacy=legacy), None)
        found = model.predict(np.zeros((1, 8, 8, 3), np.float32))["found"]
        np.testing.assert_array_equal(found, 2 * np.ones((1, 8, 8, 3)))

    def test_signature_that_writes_is_refused(self, save, write, trace):
        def more(found):
            write()
            with tf.control_dependencies([v1.get_default_graph().get_operation_by_name("WriteFile")]):
                return tf.identity(found)

        refuses(save(more), "WriteFile", "its signature 'serving_default' uses WriteFile")
        assert not trace.exists()

    def test_initializer_that_writes_is_refused(self, save, write, trace):
        def main(op):
            write()
            return tf.group(op, v1.get_default_graph().get_operation_by_name("WriteFile"))

        path = save(main=main)
        trace.unlink(missing_ok=True)
        refuses(path, "WriteFile", "what TensorFlow runs to load it uses WriteFile")
        assert not trace.exists()

    def test_what_restores_variables_may_only_do_that(self, save, write, trace):
        def more(found):
            write()
            return found

        path = save(more)
        SavedModel(path, None)  # nothing needs it
        assert not trace.exists()
        edit(path, lambda graph: setattr(graph.saver_def, "restore_op_name", "WriteFile"))
        refuses(path, "WriteFile", "what TensorFlow runs to load it uses WriteFile")

    def test_variables_of_another_file_are_refused(self, save):
        path = save()

        def aside(graph):
            for node in graph.graph_def.node:
                if node.op == "RestoreV2":
                    node.input[0] = "Const"

        edit(path, aside)
        refuses(path, "RestoreV2", "RestoreV2, which reads a file that is not its own")

    def test_table_of_another_file_is_refused(self, save):
        path = save()

        def aside(graph):
            (packed,) = graph.collection_def["saved_model_assets"].any_list.value
            asset = graph.asset_file_def.add()  # which counts where both are there
            packed.Unpack(asset)
            asset.filename = "../../words.txt"

        edit(path, aside)
        refuses(path, "InitializeTableFromTextFileV2", "reads a file that is not its own")
