"""Review masks: a decision or any two runs on a volume, slice by slice; then approve or reject."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboards.elements import banner, forget, number, plain, require_runs
from dashboards.people import Person, current_person
from dashboards.queries.review import (
    common_sets,
    decision_scene,
    list_decisions,
    may_be_answered,
    read_comments,
    run_scene,
)
from dashboards.queries.runs import RunRow
from dashboards.viewer.component import show_viewer
from dashboards.viewer.scene import Scene
from emsam.registry.approval import answer_decision
from emsam.registry.comments import add_comment, decision_subject, run_subject
from emsam.registry.review import Standing
from emsam.settings import Settings

A_DECISION, TWO_RUNS = "A decision", "Any two runs"
PLACE = ("z", "y", "x", "zoom")
# Keys of the session; a string that stands alone would be shown in the page.
_MARK, _ANSWER, _DONE = "review_mark", "review_answer", "review_done"


@dataclass(frozen=True)
class Review:
    """What is reviewed: the masks, what comments on them are kept under, and a decision."""

    scene: Scene
    subject: str
    judged: Standing | None = None


def query(name: str) -> str:
    """A parameter of the page's address."""
    return str(st.query_params.get(name, ""))


def choose(settings: Settings) -> Review:
    """A decision or runs, and a volume; the address of the page names them."""
    decisions = list_decisions(settings)
    wants_runs = bool(query("a")) or not decisions
    options = [A_DECISION, TWO_RUNS]
    what = st.segmented_control(
        "Review", options, default=options[wants_runs], required=True, label_visibility="collapsed"
    )
    return choose_decision(decisions, settings) if what == A_DECISION else choose_runs(settings)


def choose_decision(decisions: list[Standing], settings: Settings) -> Review:
    """A decision of the gate, and one of the volumes that it was made on."""
    if not decisions:
        st.info(
            "No decisions yet: `emsam promote NAME/VERSION --data NAME` makes one. Until then, "
            "compare two runs."
        )
        st.stop()
    by_sha = {each.decision.sha256: each for each in decisions}
    left, right = st.columns([3, 2])
    wanted = next(
        (sha for sha in by_sha if query("decision") and sha.startswith(query("decision"))), None
    )
    sha = left.selectbox(
        "Decision",
        list(by_sha),
        index=list(by_sha).index(wanted) if wanted else 0,
        format_func=lambda each: describe(by_sha[each]),
    )
    judged = by_sha[sha]
    names = [each["data"] for each in judged.decision.judged]
    place = int(query("volume")) - 1 if query("volume").isdecimal() else 0
    volume = right.selectbox(
        "Volume",
        range(len(names)),
        index=place if 0 <= place < len(names) else 0,
        format_func=lambda each: f"{names[each]}, {judged.decision.judged[each]['split']} slices",
    )
    address(decision=sha[:12], volume=str(volume + 1))
    scene = decision_scene(judged.decision, volume, settings)
    return Review(scene, decision_subject(sha), judged)


def choose_runs(settings: Settings) -> Review:
    """One run or two, and slices that both were evaluated on."""
    by_id = {run.run_id: run for run in require_runs(settings)}
    ids = list(by_id)
    left, middle, right = st.columns(3)

    def chosen(name: str, otherwise: int | None) -> int | None:
        return ids.index(query(name)) if query(name) in by_id else otherwise

    def label(run_id: str) -> str:
        return by_id[run_id].label

    first = left.selectbox("Run A", ids, index=chosen("a", 0), format_func=label)
    rest = [each for each in ids if by_id[each].task == by_id[first].task and each != first]
    second = middle.selectbox(
        "Run B",
        rest,
        index=rest.index(query("b")) if query("b") in rest else None,
        format_func=label,
        placeholder="none: A alone",
    )
    runs: list[RunRow] = [by_id[each] for each in (first, second) if each]
    sets = {(s["data"], s["split"], s["digest"]): s for s in common_sets(runs, settings)}
    if not sets:
        who = "both runs" if second else "this run"
        st.info(f"No slices that {who} were evaluated on: `emsam evaluate RUN --data NAME`.")
        st.stop()
    keys = list(sets)
    wanted = next((k for k in keys if f"{k[0]}-{k[1]}" == query("data")), keys[0])
    data, split, digest = right.selectbox(
        "Volume", keys, index=keys.index(wanted), format_func=lambda k: f"{k[0]}, {k[1]} slices"
    )
    address(a=first, b=second or "", data=f"{data}-{split}")
    scene = run_scene(runs, data, split, digest, settings)
    return Review(scene, run_subject(*(run.run_id for run in runs)))


def address(**names: str) -> None:
    """Let the address of the page name what is shown; the viewer adds the place."""
    kept = {name: query(name) for name in PLACE if query(name)}
    wanted = {name: value for name, value in names.items() if value} | kept
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def describe(judged: Standing) -> str:
    """A decision in a line."""
    decision = judged.decision
    against = decision.champion or "nobody"
    return f"{decision.candidate} against {against}: {judged.state} ({judged.at[:10]})"


def place_of_address() -> dict[str, float]:
    """z, y, x and zoom that a link names; what is no number is left out."""
    found = {}
    for name in PLACE:
        try:
            value = float(query(name))
        except ValueError:
            continue
        if math.isfinite(value) and value >= 0 and (name != "zoom" or value > 0):
            found[name] = value
    return found


@st.fragment
def show_masks(review: Review, comments: list[dict[str, Any]], person: Person) -> None:
    """The viewer. What is begun in it goes on in a dialog of the page."""
    show_viewer(
        review.scene,
        place_of_address(),
        comments,
        may={"comment": person.may_review, "answer": person.may_review and may_answer(review)},
        on_mark=lambda place: st.session_state.update({_MARK: place}),
        on_answer=lambda what: st.session_state.update({_ANSWER: what}),
    )
    if _MARK in st.session_state or _ANSWER in st.session_state:
        st.rerun(scope="app")  # a dialog belongs to the page, which takes these away


def may_answer(review: Review) -> bool:
    """Whether there is a decision that can be approved or rejected."""
    return review.judged is not None and may_be_answered(review.judged)


@st.dialog("Comment")
def comment_dialog(
    place: tuple[int, int, int], review: Review, by: str, settings: Settings
) -> None:
    """Ask for the text of a comment."""
    z, y, x = place
    st.caption(plain(f"{review.scene.volume.info.name}, slice {z}, y {y}, x {x}; by {by}"))
    text = st.text_area("What is to be seen there?", key="comment_text")
    if st.button("Save the comment", type="primary"):
        with banner():
            add_comment(
                place, text, settings, digest=review.scene.digest,
                data=review.scene.volume.info.name, subject=review.subject, by=by,
            )  # fmt: skip
        st.rerun()


@st.dialog("Your answer to this decision")
def answer_dialog(judged: Standing, what: str, by: str, settings: Settings) -> None:
    """Ask for the reason; only the button under it writes anything."""
    decision = judged.decision
    verb = "Approve" if what == "approve" else "Reject"
    st.markdown(
        f"**{verb} {plain(decision.candidate)}** against {plain(decision.champion or 'nobody')}"
    )
    st.caption(plain(f"Decision {decision.sha256[:12]}: {decision.reason}"))
    reason = st.text_area("Reason", key="answer_reason", placeholder="kept with your name")
    if st.button(verb, type="primary"):
        if not reason.strip():
            st.error("Say why; it is kept with your answer.", icon=":material/error:")
            st.stop()
        with banner():
            said = answer_decision(
                decision.sha256, settings, by=by, reason=reason, reject=what == "reject",
                seen=judged.answer.at if judged.answer else "",
            )  # fmt: skip
        forget()
        st.session_state[_DONE] = f"{said.by} {said.answer} {said.candidate}: {said.reason}"
        st.rerun()


def continue_dialogs(
    place: object, what: object, review: Review, person: Person, settings: Settings
) -> None:
    """Go on with what somebody began in the viewer."""
    if not person.may_review:
        return
    if isinstance(place, dict) and all(type(place.get(k)) is int for k in ("z", "y", "x")):
        comment_dialog((place["z"], place["y"], place["x"]), review, person.name, settings)
    elif isinstance(what, str) and review.judged is not None and may_answer(review):
        answer_dialog(review.judged, what, person.name, settings)


def show_decision(judged: Standing) -> None:
    """What the gate and people said of it."""
    decision = judged.decision
    scores = (
        f"{decision.metric}: A {number(decision.candidate_score)}, "
        f"B {number(decision.champion_score)}; decision {decision.sha256[:12]}"
    )
    st.markdown(
        f"**{plain(decision.verdict)}**: {plain(decision.reason)}. :gray[:small[{plain(scores)}]]"
    )
    if answer := judged.answer:
        st.caption(plain(f"{answer.by} {answer.answer} it on {answer.at[:10]}: {answer.reason}"))


def show_page(settings: Settings) -> None:
    """Choice, what the gate said, viewer."""
    st.title("Review masks")
    begun = [st.session_state.pop(name, None) for name in (_MARK, _ANSWER)]
    if done := st.session_state.pop(_DONE, None):
        st.success(plain(done), icon=":material/check:")
    with banner():
        person = current_person(settings)
        review = choose(settings)
        if review.judged:
            show_decision(review.judged)
        comments = read_comments(review.scene.digest, review.subject, settings)
        show_masks(review, comments, person)
    continue_dialogs(*begun, review, person, settings)


show_page(Settings())
