"""Drawing what `ratchet golden` answers on the terminal. Computes nothing."""

from typing import Any

from flows.show import console


def show_golden(content: dict[str, Any]) -> None:
    """Print how worn the golden set is, and its seals."""
    made, spent = content["composition"], content["budget"]
    if not content["digest"]:
        return console.print("no golden set is sealed yet; the first `ratchet run` seals it")
    console.print(
        f"[bold]golden[/bold]: {content['rows']} rows ({made['source']} from the source, {made['feedback']} from "
        f"feedback), seal {content['digest'][:12]}, {content['age_days']} days old, unchanged for "
        f"{content['unchanged_days']}"
    )
    console.print(
        f"looks taken {spent['looks']}; {spent['left']:.4f} of alpha {spent['alpha']:g} is left, and the next look is "
        f"judged at level {spent['next_level']:.4f}"
    )
    if spent["advice"] and not content["restores_budget"]:
        console.print(spent["advice"], style="yellow")
    _show_renewal(content)
    waits = (
        "`ratchet golden refresh` lets them in" if content["refresh_mode"] == "asked" else "they join at the next run"
    )
    console.print(f"feedback rows drawn for golden that wait: {content['waiting']} ({waits})")
    for seal in content["history"]:
        console.print(
            f"seal {seal['sequence']}, {seal['at']}: {seal['how']}, {seal['rows']} rows (+{seal['added']} "
            f"-{seal['removed']}), {seal['digest'][:12]}",
            highlight=False,
        )


def show_refresh(content: dict[str, Any]) -> None:
    """Print what a refresh of the golden set changed."""
    gained = content["gained"]
    console.print(
        f"golden: {content['rows']} rows (before: {content['rows_before']}); gained {gained['feedback']} from feedback "
        f"and {gained['source']} from the source, removed {content['removed']}, edited {content['edited']}"
    )
    seal = content["seal"]
    console.print(f"seal {seal['sequence']} ({seal['how']}): {seal['digest'][:12]}, "
                  f"{'written' if content['sealed_anew'] else 'as before'}")  # fmt: skip
    _show_renewal(content)


def _show_renewal(content: dict[str, Any]) -> None:
    told = f"{100 * content['share_new']:.0f} % of it is new against the start of the count"
    needed = content["rows_to_restore"]
    if content["restores_budget"]:
        console.print(f"{told}: the next look begins a new count, with all of alpha", style="green")
    else:
        more = "" if needed is None else f", which {needed} more new rows would reach"
        console.print(f"{told}; {100 * content['refresh_share']:g} % restore the budget{more}")
