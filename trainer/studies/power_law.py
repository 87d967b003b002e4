"""How errors fall with the number of training texts: error(n) = asymptote + scale n^-exponent.

    law = fit(sizes, errors, variances)         # None with fewer than three sizes
    forecast(law.parameters, size=2000)         # the error that 2,000 texts would leave

Cortes et al. 1994 ("Learning curves: asymptotic values and rate of convergence") fit
this form to extrapolate; Hestness et al. 2017 ("Deep learning scaling is predictable,
empirically") find it across tasks, beyond a region of few texts in which models are no
better than guessing. Two sizes tell no such curve, three just do. The asymptote, the
error that no number of texts removes, is fitted always: taken for 0 with few sizes, it
would promise more than comes (in simulations with three sizes and an asymptote of 5%,
one interval in eight for the gain then held it).

The fit is by least squares, weighted by the errors' variances. For a given exponent it
is linear in the other two, so exponents are tried on a grid and the others solved for
(variable projection, Golub and Pereyra 1973): no start is needed, and it cannot stop at
a local minimum. NumPy alone; many resamples are fitted at once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MIN_SIZES = 3
# A curve says little of where it has not been: at most this many times the largest size.
MOST_EXTRAPOLATION = 3
_EXPONENTS = np.geomspace(0.01, 2.0, 160)


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """A fitted law, and fits of the same to resamples.

    Attributes:
      parameters: float64 [3]: asymptote, scale, exponent.
      dispersion: how many times farther the errors are from the curve than chance in
        the test texts explains, at least 1: other training texts and other first
        weights move them too. The square root of chi squared by degree of freedom (Birge
        1932, "The calculation of errors by the method of least squares").
    """

    parameters: FloatArray
    dispersion: float


def fit(
    sizes: FloatArray,
    errors: FloatArray,
    variances: FloatArray,
    *,
    most: float = 1.0,
) -> PowerLaw | None:
    """The law of some errors; None with fewer than three different sizes.

    Args:
      sizes: float64 [n], training texts; a size may occur several times.
      errors: float64 [n], in [0, most].
      variances: float64 [n], above 0, of the errors.
      most: see `forecast`.
    """
    if len(np.unique(sizes)) < MIN_SIZES:
        return None
    (parameters,) = fit_all(sizes, errors[np.newaxis], variances)
    squares = (errors - forecast(parameters, sizes, most=most)) ** 2 / variances
    freedom = len(sizes) - len(parameters)
    dispersion = np.sqrt(squares.sum() / freedom) if freedom else 1.0
    return PowerLaw(parameters, max(1.0, float(dispersion)))


def fit_all(sizes: FloatArray, errors: FloatArray, variances: FloatArray) -> FloatArray:
    """Fits many sets of errors: float64 [sets, 3], as `PowerLaw.parameters`.

    Args:
      errors: float64 [sets, n].
    """
    unit = sizes.max()
    # [exponents, n]: near 1, whatever the sizes are.
    powers = (sizes / unit) ** -_EXPONENTS[:, np.newaxis]
    asymptotes, scales = _linear(powers, errors, 1 / variances)
    curves = asymptotes[..., np.newaxis] + scales[..., np.newaxis] * powers
    losses = ((errors[:, np.newaxis] - curves) ** 2 / variances).sum(axis=-1)
    best = losses.argmin(axis=1)
    rows = np.arange(len(errors))
    exponents = _EXPONENTS[best]
    scale = scales[rows, best] * unit**exponents
    return np.stack([asymptotes[rows, best], scale, exponents], axis=1)


def _linear(
    powers: FloatArray, errors: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Asymptotes and scales, neither below 0, for each exponent: [sets, exponents]."""
    sum_x, sum_xx = powers @ weights, powers**2 @ weights
    sum_y, sum_xy = errors @ weights, (errors * weights) @ powers.T
    total = weights.sum()
    determinant = total * sum_xx - sum_x**2
    scales = (total * sum_xy - sum_x * sum_y[:, np.newaxis]) / determinant
    # Errors that rise with the texts: the best curve that does not is flat.
    scales = np.maximum(scales, 0.0)
    asymptotes = (sum_y[:, np.newaxis] - scales * sum_x) / total
    is_below = asymptotes < 0
    without = sum_xy / sum_xx
    return np.where(is_below, 0.0, asymptotes), np.where(is_below, without, scales)


def forecast(
    parameters: FloatArray, size: float | FloatArray, *, most: float = 1.0
) -> FloatArray:
    """The errors at a size, in [0, most].

    Args:
      parameters: float64 [..., 3].
      size: one number, or for parameters of one law float64 [n].
      most: the largest error there is: 1 of shares, infinity of distances.
    """
    asymptote, scale, exponent = np.moveaxis(parameters, -1, 0)
    errors: FloatArray = np.clip(
        asymptote + scale * np.asarray(size) ** -exponent, 0.0, most
    )
    return errors


def interval(
    value: float, resamples: FloatArray, *, dispersion: float
) -> tuple[float, float]:
    """95% interval (low, high): percentiles of resamples, widened by the dispersion.

    Args:
      value: what was found.
      resamples: float64 [sets], the same of each resample.
    """
    low, high = np.percentile(resamples, [2.5, 97.5]).tolist()
    below, above = dispersion * (value - low), dispersion * (high - value)
    return value - max(0.0, below), value + max(0.0, above)


def as_parameters(asymptote: float, scale: float, exponent: float) -> FloatArray:
    """A law's three numbers as `forecast` takes them."""
    return np.array([asymptote, scale, exponent])
