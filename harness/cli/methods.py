"""`steereval methods`."""

from __future__ import annotations

from steereval.harness.cli.columns import print_table
from steereval.harness.cli.command import command


@command(examples=["steereval methods", "steereval methods | grep probe"])
def methods() -> None:
    """List the steering methods with their options.

    docs/methods/ has a page for each; installed packages add further methods.
    """
    from steereval.models.methods.options import usual_options
    from steereval.models.methods.registry import methods as all_methods

    rows = []
    for method in all_methods().values():
        usual = usual_options(method.Options)
        options = ", ".join(f"{name}={value!r}" for name, value in usual.items())
        rows.append((method.name, method.summary, options))
    print_table(("METHOD", "SUMMARY", "OPTIONS"), rows)
