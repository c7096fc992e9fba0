import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gan.metrics.predictions import confusion_matrix, error_rate


def test_errors_and_confusion_counted_by_hand():
    probabilities = np.array([[0.9, 0.1, 0], [0.4, 0.4, 0.2], [0, 0.3, 0.7], [0.5, 0, 0.5]])
    labels = np.array([0, 1, 2, 2])
    # Of equal probabilities the first counts: images 1 and 3 are taken for class 0.
    assert error_rate(probabilities.astype(np.float32), labels) == 0.5
    counts = confusion_matrix(labels, probabilities.argmax(1), 3)
    assert counts.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 1]]


@given(
    pairs=hnp.arrays(
        np.int64, st.tuples(st.just(2), st.integers(1, 40)), elements=st.integers(0, 4)
    )
)
def test_a_confusion_matrix_adds_up(pairs: np.ndarray):
    labels, found = pairs
    counts = confusion_matrix(labels, found, 5)
    assert counts.sum(1).tolist() == np.bincount(labels, minlength=5).tolist()
    assert counts.sum(0).tolist() == np.bincount(found, minlength=5).tolist()
    assert counts.trace() == (labels == found).sum()
