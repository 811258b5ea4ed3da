"""The barrier's logistic regression compared with scikit-learn's, at the size of a large contrast.

    python benchmarks/logistic_fit.py                    # 10 000 samples x 8 000 features
    python benchmarks/logistic_fit.py --samples 2000

Features are ODESteer's count sketch of two overlapping Gaussians, as `odesteer` fits them. Both
run to the same stopping rule's optimum; the objective that each reaches is printed, and the exit
status is 1 if ours is the worse one.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from steereval.models.fitting.logistic import fit_logistic
from steereval.models.flow.sketch import PolynomialSketch


def main() -> int:
    """Print times, ratio and objectives."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=8_000)
    parser.add_argument("--width", type=int, default=576)
    given = parser.parse_args()
    positive, negative = classes(given.samples, given.width, given.features)
    start = time.perf_counter()
    weights, intercept = fit_logistic(positive, negative)
    ours = time.perf_counter() - start
    data = torch.cat([positive, negative])
    labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])
    start = time.perf_counter()
    theirs = LogisticRegression(max_iter=10_000, tol=1e-8).fit(data.numpy(), labels.numpy())
    seconds = time.perf_counter() - start
    reached = objective(data, labels, weights, intercept)
    reference = objective(
        data, labels, torch.from_numpy(theirs.coef_[0]), float(theirs.intercept_[0])
    )
    print(f"{given.samples} samples x {given.features} features, {torch.get_num_threads()} threads")
    print(f"ours {ours:.1f} s, objective {reached:.9f}")
    print(f"scikit-learn (lbfgs, tol 1e-8) {seconds:.1f} s, objective {reference:.9f}")
    print(f"ratio {seconds / ours:.1f}; difference of the objectives {reached - reference:.1e}")
    return 1 if reached > reference * (1 + 1e-7) else 0


def classes(samples: int, width: int, features: int) -> tuple[Tensor, Tensor]:
    """Sketched activations of two classes [samples / 2, features]."""
    draw = torch.Generator().manual_seed(0)
    sketch = PolynomialSketch.draw(width, 2, features, 0.1, 1.0, 0)
    states = torch.randn(samples, width, generator=draw, dtype=torch.float64)
    states[: samples // 2, : width // 8] += 0.3
    half = sketch.features(states)
    return half[: samples // 2], half[samples // 2 :]


def objective(data: Tensor, labels: Tensor, weights: Tensor, intercept: float) -> float:
    """|w|^2 / 2 + sum log(1 + exp(-y (w.x + b)))."""
    margins = (2 * labels.double() - 1) * (data @ weights.double() + intercept)
    return float(weights.double().square().sum() / 2 + torch.nn.functional.softplus(-margins).sum())


if __name__ == "__main__":
    sys.exit(main())
