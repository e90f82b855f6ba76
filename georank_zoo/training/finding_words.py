"""The words for what a run can be found to be, and what they say."""

from __future__ import annotations

from georank_zoo.utils.errors import plain

FINDINGS: dict[str, str] = {
    "collapsed": "The model has collapsed: whatever it is shown, its embeddings are nearly the "
    "same. Lower optimizer.lr.",
    "exploded": "The features have exploded: they are too large for half precision, or not "
    "finite. Lower optimizer.lr.",
    "idle_regularizer": "The regularizer has cost nothing in any step: it never had a pair to "
    "compare. Raise regularizer.max_km or train.batch_size, or set data.neighbors_km.",
    "idle_loss": "The loss has been zero in every step: there was nothing to learn from.",
    "indifferent_teacher": "The teacher is indifferent to its input: all prototypes are equally "
    "likely. Lower algorithm.teacher_temperature.",
    "certain_teacher": "The teacher chooses one prototype with certainty. Raise "
    "algorithm.teacher_temperature.",
    "endless_warmup": "The warm-up is as long as the run: the learning rate never reaches "
    "optimizer.lr. Lower schedule.warmup_epochs, or train longer.",
    "one_position": "All places lie at one position: there is no geography to learn from.",
    "identical_patches": "The patches are identical: there is nothing to tell apart.",
}
"""What a run can be found to be, by the words that `run.json` and `config.json` hold."""


def known_findings(words: object) -> list[str]:
    """Sentences of the words in a run's facts, which may be a stranger's.

    A word of a later version stands for itself.
    """
    if not isinstance(words, list):
        return []
    return [FINDINGS.get(word, plain(word)) for word in words if isinstance(word, str)]
