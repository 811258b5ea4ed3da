"""How to read the report: its terms, in words that fit the run at hand."""

from __future__ import annotations

from steereval.results.store.manifest import Plan

CORRECTIONS = {
    "holm": "Holm",
    "bonferroni": "Bonferroni",
    "hochberg": "Hochberg",
    "bh": "Benjamini-Hochberg",
    "by": "Benjamini-Yekutieli",
    "max-t": "max-T",
}
"""Names of corrections as they are written."""

_TERMS = {
    "Difference": (
        "Method minus “{baseline}” on the same test items and seeds, with its {percent} interval "
        "over items (or clusters) and fit seeds. Binary and bounded scores are in points, "
        "100 × score; perplexities are compared as factors."
    ),
    "Better, worse": (
        "The adjusted p-value is below {alpha} and the interval lies on one side of no difference. "
        "“Better and meaningful”: the whole interval exceeds the least effect of interest that was "
        "declared beforehand."
    ),
    "Equivalent, non-inferior": (
        "The 90 % interval lies within the declared margin, or above its lower end. No significant "
        "difference is not evidence of no harm, so a capability counts as kept only by one of "
        "these two."
    ),
    "Inconclusive": (
        "Neither. It always comes with the least difference that this design detects (at 5 %, with "
        "a power of 80 %)."
    ),
    "Adjusted p": (
        "By {correction} over methods × target tasks of a model, primary metrics; all other rows "
        "are exploratory and adjusted by Benjamini-Hochberg."
    ),
    "Seeds": (
        "A fit seed moves all items together, so seeds are crossed with items and never counted as "
        "items. One seed: the result holds for that seed only."
    ),
    "Seed-robust t": (
        "The test, and its interval, of a difference over several fit seeds. Few fits may agree by "
        "chance where fits spread widely, so it does not trust them to show their whole spread: "
        "with two or three seeds intervals are wide, and more fit seeds narrow them."
    ),
    "Same content": (
        "Items that ask the same count as one cluster, as do clusters that share such items; the "
        "notes say how many there are."
    ),
    "Over all target tasks": (
        "The mean of the tasks' differences, formed for each fit seed first, since a fit that is "
        "good on one task may be good on all. It holds for these tasks; only from ten tasks on is "
        "there an interval for others of the kind."
    ),
    "Reduced training": (
        "The method's networks were trained for less than its authors ask, to save time. The notes "
        "say how much less; the row says nothing about the method as published."
    ),
    "Noise floor": (
        "Some cells are computed twice, with another batch size and, with several workers, perhaps "
        "by another one. What differs between the two is noise, to be held against the spread "
        "between fit seeds and against the differences claimed."
    ),
    "Strength": (
        "Chosen on validation items for each fit seed, then frozen; only test items are reported. "
        "Where that was not possible, the row says so."
    ),
}


def how_to_read(plan: Plan) -> tuple[tuple[str, str], ...]:
    """(term, meaning) of everything that the report's tables use."""
    words = {
        "baseline": plan.baseline,
        "percent": f"{100 * plan.confidence:g} %",
        "alpha": f"{plan.alpha:.2g}",
        "correction": CORRECTIONS.get(plan.correction, plan.correction),
    }
    return tuple((term, meaning.format(**words)) for term, meaning in _TERMS.items())
