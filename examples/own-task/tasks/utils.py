"""How the answers of the politeness tasks are scored."""


def process_results(doc, results):
    """Compare the likelihoods of the polite and the rude answer.

    Args:
        doc: The document, with the keys message, polite and rude.
        results: (log-likelihood, is greedy) of both answers.

    Returns:
        margin: by how many nats a character the polite answer is likelier; polite: 1 where it is
        likelier, else 0.
    """
    texts = (doc["polite"], doc["rude"])
    polite, rude = (value / len(text) for (value, _), text in zip(results, texts, strict=True))
    return {"margin": polite - rude, "polite": float(polite > rude)}
