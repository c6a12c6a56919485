import numpy as np

from must_tf.tasks.knn import nearest_classes


def slow(known, classes, query, num_classes, count=20):
    """The rule in plain words: the sum of exp(cosine / 0.07) of each class among the nearest."""
    cosines = [known_one @ query / np.linalg.norm(known_one) / np.linalg.norm(query) for known_one in known]
    votes = np.zeros(num_classes)
    for place in np.argsort(cosines)[::-1][:count]:
        votes[classes[place]] += np.exp(cosines[place] / 0.07)
    return votes.argmax()


def test_classes_are_those_of_the_rule():
    rng = np.random.default_rng(0)
    known, classes, queries = rng.normal(size=(60, 5)), rng.integers(0, 4, 60), rng.normal(size=(30, 5))
    expected = [slow(known, classes, query, 4) for query in queries]
    np.testing.assert_array_equal(nearest_classes(known, classes, queries * 7, 4), expected)


def test_no_image_is_a_neighbor_of_itself():
    rng = np.random.default_rng(1)
    known, classes = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
    alone = [slow(np.delete(known, i, 0), np.delete(classes, i), known[i], 3) for i in range(50)]
    np.testing.assert_array_equal(nearest_classes(known, classes, known, 3, itself=True), alone)
    assert nearest_classes(known[:3], classes[:3], known[:3], 3).tolist() == classes[:3].tolist()
