"""Classification by the nearest neighbors of global features, as DINO and RADIO report it."""

import numpy as np

NEIGHBORS = 20
TEMPERATURE = 0.07  # Wu et al., CVPR 2018, section 3.4
_MOST = 2**24  # cosines that are held at once


def nearest_classes(
    known: np.ndarray, classes: np.ndarray, queries: np.ndarray, num_classes: int, itself: bool = False
) -> np.ndarray:
    """Returns the class of each query: that with most votes of the 20 nearest known images.

    A neighbor of cosine c has a vote of exp(c / 0.07). Of equal votes, the first class wins.

    Args:
      known: features of known images, [N, C], of any length.
      classes: their classes, int [N].
      queries: features, [M, C].
      num_classes: how many classes there are.
      itself: whether the queries are the known images, each of which is no neighbor of itself.

    Returns:
      int [M].
    """
    known, queries = unit(known), unit(queries)
    count = min(NEIGHBORS, len(known) - itself)
    votes = np.zeros((len(queries), num_classes))
    together = max(1, _MOST // max(len(known), 1))
    for start in range(0, len(queries), together):
        similar = queries[start : start + together] @ known.T
        rows = np.arange(len(similar))
        if itself:
            similar[rows, start + rows] = -np.inf
        nearest = np.argpartition(-similar, count - 1, 1)[:, :count] if count else np.zeros((len(similar), 0), int)
        weights = np.exp((np.take_along_axis(similar, nearest, 1) - 1) / TEMPERATURE)
        np.add.at(votes, (start + rows[:, np.newaxis], classes[nearest]), weights)
    return votes.argmax(1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors [..., C] with a length of 1, float32; those of 0 stay."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
