"""`georank card`."""

from __future__ import annotations

from pathlib import Path

import click

from .output import say


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--results", "results_path", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV file of `georank eval --results` with the model's scores.")  # fmt: skip
@click.option("--repo", metavar="ORG/NAME",
              help="Repository on the Hub that the card's programs load.")  # fmt: skip
@click.option("--revision", metavar="TAG|COMMIT", help="With --repo: what the programs pin.")
@click.option("--license", metavar="ID",
              help="License of the weights [default: apache-2.0].")  # fmt: skip
@click.option("--baseline", metavar="NAME|HASH",
              help="Model to compare the scores with [default: the one without the "
                   "regularizer].")  # fmt: skip
@click.option("--recipe", "recipe_names", multiple=True, metavar="NAME|all",
              help="Instead of MODEL: the card of a shipped recipe; repeatable. `all`: "
                   "those that are not of a study.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder to write to [default: the model's; a recipe's card is "
                   "printed].")  # fmt: skip
def card(
    model: Path | None,
    results_path: Path | None,
    repo: str | None,
    revision: str | None,
    license: str | None,
    baseline: str | None,
    recipe_names: tuple[str, ...],
    out: Path | None,
) -> None:
    """Write the model card of a MODEL, an export or run folder, as README.md in it.

    The card states what training recorded (data, recipe, compute, map of the places) and the
    scores that the results hold for exactly these weights, and nothing else.
    """
    from georank_zoo.publish.card.metadata import DEFAULT_LICENSE
    from georank_zoo.utils.errors import UsageError

    license = license or DEFAULT_LICENSE
    if (model is None) == (not recipe_names):
        raise UsageError("Give a model folder, or --recipe with the name of a shipped recipe.")
    if model is None:
        if results_path or repo or revision or baseline:
            raise UsageError(
                "--results, --repo, --revision and --baseline belong to a model: a recipe's card "
                "takes its weights from model_cards/models.json."
            )
        _write_recipes(recipe_names, out, license)
    else:
        _write_model(
            model, out, results_path, repo=repo, revision=revision, license=license,
            baseline=baseline,
        )  # fmt: skip


def _write_model(
    model: Path,
    out: Path | None,
    results_path: Path | None,
    *,
    repo: str | None,
    revision: str | None,
    license: str,
    baseline: str | None,
) -> None:
    from georank_zoo.publish.card import folder_card

    card = folder_card(
        model, results=results_path, repo=repo, revision=revision, license=license,
        baseline=baseline,
    )  # fmt: skip
    say(f"Wrote {card.write(out)}.")
    if card.evaluation is None:
        hint = (
            f"{results_path} has no row of these weights"
            if results_path
            else "no --results were given"
        )
        say(f"The card says that the model has not been evaluated: {hint}.")


def _write_recipes(names: tuple[str, ...], out: Path | None, license: str) -> None:
    from georank_zoo.publish.card import recipe_cards
    from georank_zoo.utils.files import write_text
    from georank_zoo.utils.locks import MOMENT, output_lock

    cards = recipe_cards(names, license=license)
    if out is None:
        click.echo("\n".join(card.text for card in cards.values()), nl=False)
        return
    with output_lock(out, wait=MOMENT):
        out.mkdir(exist_ok=True)
        for name, card in cards.items():
            write_text(out / name, card.text)
    say(f"Wrote {len(cards)} card{'s' * (len(cards) > 1)} to {out}.")
