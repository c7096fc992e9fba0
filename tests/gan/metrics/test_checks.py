import pytest
import torch

from gan.errors import UserError
from gan.metrics.frechet_distance import distance_at_count, distance_at_infinity
from gan.metrics.inception_score import inception_score
from gan.metrics.kernel_distance import kernel_distance, squared_mmd
from gan.metrics.moments import moments
from gan.metrics.precision_recall import precision_recall

GOOD = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))

# Every metric of features, as a function of one argument.
METRICS = {
    "moments": moments,
    "distance_at_count": lambda rows: distance_at_count(rows, moments(GOOD), 5),
    "distance_at_infinity": lambda rows: distance_at_infinity(rows, moments(GOOD), 0),
    "squared_mmd": lambda rows: squared_mmd(GOOD, rows),
    "kernel_distance": lambda rows: kernel_distance(rows, GOOD, subsets=2, subset_size=5, seed=0),
    "kernel_distance reference": lambda rows: kernel_distance(
        GOOD, rows, subsets=2, subset_size=5, seed=0
    ),
    "precision_recall": lambda rows: precision_recall(GOOD, rows, 2),
    "precision_recall reference": lambda rows: precision_recall(rows, GOOD, 2),
    "inception_score": lambda rows: inception_score(rows, 4),
}


@pytest.fixture(params=METRICS)
def metric(request: pytest.FixtureRequest):
    return METRICS[request.param]


def test_values_that_are_not_finite_are_refused_with_their_row(metric):
    rows = GOOD.clone()
    rows[7, 1] = torch.nan
    rows[9, 0] = torch.inf
    with pytest.raises(UserError, match=r"2 of 40 rows .* not finite, the first is row 7"):
        metric(rows)


@pytest.mark.parametrize(
    "rows",
    [torch.zeros(40), torch.zeros(40, 3, 2), torch.zeros(40, 0), torch.zeros(40, 3).long()],
    ids=["vector", "cube", "no columns", "integers"],
)
def test_another_shape_or_dtype_is_refused(metric, rows):
    with pytest.raises(UserError, match=r"expected floating point \[N, d\]"):
        metric(rows)


def test_too_few_rows_are_refused(metric):
    with pytest.raises(UserError, match="1: expected at least"):
        metric(GOOD[:1])


@pytest.mark.parametrize("name", [name for name in METRICS if name[:4] in {"kern", "prec", "squa"}])
def test_another_number_of_features_is_refused(name):
    with pytest.raises(UserError, match=r"columns.*expected the same number"):
        METRICS[name](torch.zeros(40, 5))
