"""What a person decides goes over what the scores say, and stays.

The order that loses nothing a person decided: judge, `carry_overrides`, `override`,
`write_decisions`, `apply_decisions`.
"""

import difflib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ..errors import FaceswapError
from .decisions import Decision


def override(
    decisions: Sequence[Decision], keep: Iterable[str] = (), reject: Iterable[str] = ()
) -> list[Decision]:
    """The decisions with these files kept and those rejected, because the user says so.

    Raises: FaceswapError when a name is none of the decisions', or in both lists.
    """
    kept, rejected = ({Path(name).name for name in names} for names in (keep, reject))
    if both := kept & rejected:
        raise FaceswapError(f"{min(both)}: cannot be both kept and rejected; name it once")
    known = [decision.file for decision in decisions]
    for name in sorted((kept | rejected) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise FaceswapError(f"{name}: no such face in the set{hint}")
    return [_by_user(d, d.file in kept) if d.file in kept | rejected else d for d in decisions]


def carry_overrides(
    new: Sequence[Decision], old: Sequence[Decision], returned: Collection[str]
) -> list[Decision]:
    """The new decisions, face by face, with what the user decided before.

    `returned`: keys of the faces that the user moved back into the set (`returned_faces`); that is
    the latest word. A face that only `old` knows is left out: judge what was set aside, too.
    """
    verdicts = {decision.key: decision.kept for decision in old if decision.by_user}
    verdicts.update(dict.fromkeys(returned, True))
    return [_by_user(d, verdicts[d.key]) if d.key in verdicts else d for d in new]


def _by_user(decision: Decision, kept: bool) -> Decision:
    """The decision as the user wants it; what the scores said stays in its words."""
    if decision.by_user and decision.kept == kept:
        return decision
    if decision.kept == kept:
        # The scores agree today; the user's word holds when they no longer do.
        said = f" ({decision.words})" if decision.words else ""
    else:
        said = f" (was: {decision.words or ('kept' if decision.kept else 'rejected')})"
    return decision.model_copy(
        update={
            "by_user": True,
            "kept": kept,
            # Kept as rare, it stays so.
            "reason": (decision.reason if decision.kept else "") if kept else "by_hand",
            "words": f"{'kept' if kept else 'rejected'} by hand{said}",
            "weight": decision.weight if kept else 1.0,
        }
    )
