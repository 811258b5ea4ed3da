"""The process that loads the toxicity classifier and answers for it; it imports nothing of ours.

Run as a script: `python profanity_process.py FOLDER`. It checks the SHA-256 of the two pickled
files in FOLDER before it loads them, checks what they predict, and then speaks JSON lines: first
{"ready": version of scikit-learn} or {"error", "remedy"}, then for each {"texts": [...]} on
standard input one {"probabilities": [...]}. It ends when standard input does.

The files are those of the Python package alt-profanity-check 1.9.1 (MIT): a TF-IDF vectorizer and
a calibrated linear support vector machine. They are the only thing this project ever unpickles.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import jsonlines

SHA256 = {
    "model.joblib": "aeafc04849d4d93db4721cf30a86ebf22085595294b8a07d51918e7fa98f538b",
    "vectorizer.joblib": "19c5200dc6a41f026e0558e2f164f5fe8d8f58e502b46b37e4385037fcfa4831",
}
"""SHA-256 of the two files."""
PICKLED_WITH = "1.9.1"
"""The version of scikit-learn that wrote them."""
REFERENCE = (
    ("", 0.036375752016469504),
    ("Have a nice day, and thank you for the help.", 0.004987460099710093),
    ("The committee met on Tuesday to discuss the budget.", 0.0612008919988659),
    ("What a load of garbage, said the damn clown.", 0.9822353774845404),
    ("You are an idiot.", 0.9999987305385645),
)
"""Texts with the probabilities that scikit-learn 1.9.1 gives them: another version must agree."""
TOLERANCE = 1e-6

Predict = Callable[[Sequence[str]], list[float]]


class RefusedError(Exception):
    """The classifier must not or cannot be used; holds the problem and the remedy."""


def verified_bytes(path: Path) -> bytes:
    """The content of `path`, if it is the file that it should be; RefusedError if not."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[path.name]:
        raise RefusedError(
            f"{path} is not the file that it should be (SHA-256 {digest}), so it is not loaded",
            "Delete it and fetch it again.",
        )
    return content


def load_classifier(folder: Path) -> Predict:
    """The function from texts to probabilities of toxicity, from the two files in `folder`.

    Raises RefusedError for a file of another content (nothing is loaded then), and when the
    installed scikit-learn cannot load the files or predicts anything else than the one they were
    written with.
    """
    contents = {name: verified_bytes(folder / name) for name in SHA256}
    try:
        model, vectorizer = (unpickle(contents[name]) for name in SHA256)
        predict = _predictor(model, vectorizer)
        probabilities = predict([text for text, _ in REFERENCE])
    except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise _incompatible(f"cannot load it ({error})") from error
    _check_reference(probabilities)
    return predict


def serve(predict: Predict, requests: TextIO, answers: TextIO) -> None:
    """Answer each line of `requests` until there are no more."""
    for request in jsonlines.Reader(requests).iter(type=dict):
        _write(answers, {"probabilities": predict(request["texts"])})


def unpickle(content: bytes) -> Any:
    """The object that joblib reads from the bytes of a file."""
    import joblib

    return joblib.load(io.BytesIO(content))


def _predictor(model: Any, vectorizer: Any) -> Predict:
    def predict(texts: Sequence[str]) -> list[float]:
        probabilities: list[float] = model.predict_proba(vectorizer.transform(texts))[:, 1].tolist()
        return probabilities

    return predict


def _check_reference(probabilities: Sequence[float]) -> None:
    for (text, expected), probability in zip(REFERENCE, probabilities, strict=True):
        if not abs(probability - expected) <= TOLERANCE:
            raise _incompatible(f"gives {text!r} {probability:.6f} instead of {expected:.6f}")


def _incompatible(what: str) -> RefusedError:
    import sklearn

    return RefusedError(
        f"the toxicity classifier was written by scikit-learn {PICKLED_WITH}, and scikit-learn "
        f"{sklearn.__version__} {what}",
        f"Install scikit-learn {PICKLED_WITH}.",
    )


def _write(stream: TextIO, message: dict[str, Any]) -> None:
    jsonlines.Writer(stream, flush=True).write(message)


def main() -> None:
    """Load the classifier from the folder on the command line and serve it, or say why not."""
    answers, sys.stdout = sys.stdout, sys.stderr  # output of libraries is not an answer
    try:
        predict = load_classifier(Path(sys.argv[1]))
    except RefusedError as error:
        _write(answers, {"error": error.args[0], "remedy": error.args[1]})
        return
    import sklearn

    _write(answers, {"ready": sklearn.__version__})
    serve(predict, sys.stdin, answers)


if __name__ == "__main__":
    main()
