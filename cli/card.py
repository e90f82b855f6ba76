"""`georank card`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("--results", "results_path", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV file of `georank eval --results` with the model's scores.")  # fmt: skip
@click.option("--repo", metavar="ORG/NAME",
              help="Where on the Hub the model will be: what the card's code loads.")  # fmt: skip
@click.option("--revision", metavar="TAG|COMMIT", help="With --repo: what the code pins.")
@click.option("--license", metavar="ID",
              help="Of the weights [default: apache-2.0].")  # fmt: skip
@click.option("--baseline", metavar="NAME|HASH",
              help="Model to set the scores beside [default: the one without the "
                   "regularizer].")  # fmt: skip
@click.option("--recipe", "recipe_names", multiple=True, metavar="NAME|all",
              help="Instead of MODEL: the card of a shipped recipe; repeatable.")  # fmt: skip
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

    The card states what training noted (data, recipe, compute, map of the places) and the scores
    that the results hold for exactly these weights, and nothing else.
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
    from georank_zoo.publish import card as cards
    from georank_zoo.utils.errors import ModelError

    if not model.exists():
        raise ModelError(f"No folder {model}. Give an export folder or a run folder.")
    written = cards.write_folder(
        model, results=results_path, repo=repo, revision=revision, license=license,
        baseline=baseline, out=out,
    )  # fmt: skip
    click.echo(f"Wrote {written}.")
    if cards.NOT_EVALUATED in written.read_text(encoding="utf-8"):
        hint = (
            f"{results_path} has no row of these weights"
            if results_path
            else "no --results were given"
        )
        click.echo(f"The card says that the model has not been evaluated: {hint}.")


def _write_recipes(names: tuple[str, ...], out: Path | None, license: str) -> None:
    from georank_zoo.publish import card as cards
    from georank_zoo.training.recipe import list_recipes, load_recipe
    from georank_zoo.utils.files import write_text

    chosen = list_recipes() if "all" in names else list(dict.fromkeys(names))
    texts = {load_recipe(name).name: cards.render_recipe(name, license=license) for name in chosen}
    if out is None:
        click.echo("\n".join(texts.values()), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(out / f"{name}.md", text)
    click.echo(f"Wrote {len(texts)} card{'s' * (len(texts) > 1)} to {out}.")
