"""Registry: versions and aliases of a model, its ledger and decisions; promote and roll back."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards.elements import (
    banner,
    facts,
    forget,
    list_runs,
    local_time,
    model_history,
    model_names,
    number,
    plain,
    show_differing_params,
)
from dashboards.people import Person, current_person
from dashboards.queries.registry import ModelHistory
from emsam.registry.approval import answer_decision
from emsam.registry.models import CHAMPION, PREVIOUS
from emsam.registry.promotion import carry_out
from emsam.registry.review import APPROVED, Standing
from emsam.registry.rollback import roll_back
from emsam.settings import Settings

NOT_ALLOWED = "Your role may not move champions; ask an administrator."


def choose_model(settings: Settings) -> ModelHistory:
    """One of the registered models, with all that is known of it."""
    with banner():
        names = list(model_names(settings))
        if not names:
            st.info("No model is registered yet: run `emsam registry register RUN`.")
            st.stop()
        return model_history(
            st.selectbox("Model", names, key="model", bind="query-params"), settings
        )


def show_versions(history: ModelHistory) -> None:
    """A row a version: where it comes from and what was decided."""
    st.header("Versions")
    rows = [
        {
            "version": each["version"],
            "aliases": ", ".join(each["aliases"]),
            "run": each["run"],
            "trained on data version": each["data_digest"],
            "verdict": each["decision"].get("verdict", ""),
            "weights": each["weights_sha256"][:12],
            "code": each["git_commit"][:12],
        }
        for each in history.versions
    ]
    st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)
    for each in history.looks:
        st.caption(
            plain(
                f"{each.split} slices of data version {each.digest}: {each.models} models were "
                "scored on them; the more, the less a score there proves"
            )
        )


def show_lineage(history: ModelHistory, settings: Settings) -> None:
    """Parameters with which the versions were trained, where they differ."""
    runs = {run.run_id: run for run in list_runs(settings)}
    known = {
        f"version {each['version']}": runs[each["run_id"]]
        for each in history.versions
        if each["run_id"] in runs
    }
    with st.expander("Parameters in which the versions differ"):
        show_differing_params(known)


def show_ledger(history: ModelHistory) -> None:
    """What moved the champion."""
    st.header("Ledger")
    if not history.ledger:
        st.info("Nothing moved this model's champion yet.")
        return
    rows = [
        {
            "sequence": row.sequence,
            "at": local_time(row.at),
            "action": row.action,
            "champion": _change(row.from_version, row.to_version),
            "by": row.by,
            "reason": row.reason,
            "approved by": row.approved_by or "",
            "decision": (row.decision_sha256 or "")[:12],
        }
        for row in reversed(history.ledger)
    ]
    st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)


def _change(before: int | None, after: int | None) -> str:
    return f"{before or 'nobody'} → {after or 'nobody'}"


def _choose_decision(history: ModelHistory) -> Standing:
    known = {each.decision.sha256[:12]: each for each in history.decisions}

    def label(short: str) -> str:
        each = known[short]
        return f"{each.decision.candidate}, {each.state}, {local_time(each.at)}, {short}"

    return known[
        st.selectbox("Decision", list(known), format_func=label, key="decision",
                     bind="query-params")
    ]  # fmt: skip


def show_decision(history: ModelHistory) -> Standing | None:
    """One decision in full."""
    st.header("Decisions")
    if not history.decisions:
        st.info("The gate decided nothing yet: `emsam promote NAME/VERSION --data NAME`.")
        return None
    chosen = _choose_decision(history)
    decision = chosen.decision
    facts(
        {
            "Verdict": f"{decision.verdict}: {decision.reason}",
            "Stands": chosen.state,
            "Champion then": decision.champion or "nobody",
            "Judged on": f"{decision.data}, {decision.split} slices, version {decision.digest}",
            "Looks at these slices": decision.looks if decision.looks is not None else "–",
            "sha256": decision.sha256,
        }
        | ({"Answer": _answer(chosen)} if chosen.answer else {})
    )
    rows = [
        {
            "metric": row["metric"],
            "candidate": number(row["candidate"]),
            "champion": number(row["champion"]),
            "improvement": number(row["improvement"]),
            "from": number(row["low"]),
            "to": number(row["high"]),
        }
        for row in decision.metrics
    ]
    st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)
    for note in decision.notes:
        st.caption(plain(note))
    link = {"decision": decision.sha256[:12]}
    st.page_link("views/review.py", label="Look at the masks", query_params=link)
    return chosen


def _answer(standing: Standing) -> str:
    said = standing.answer
    assert said is not None
    return f"{said.answer} by {said.by}, {local_time(said.at)}: {said.reason}"


def show_promotion(
    standing: Standing, history: ModelHistory, person: Person, settings: Settings
) -> None:
    """Make a decision's candidate champion; says what will change."""
    decision = standing.decision
    shown = f"shown open {decision.sha256}"
    if not standing.is_open:
        if st.session_state.pop(shown, False):  # somebody was quicker
            last = history.ledger[-1]
            now = f"the champion is {history.name}/{last.to_version}, by {last.by}"
            st.warning(plain(f"Decision {decision.sha256[:12]} is {standing.state}: {now}"))
        return
    st.session_state[shown] = True
    st.subheader("Promote")
    before = decision.champion or "nobody"
    st.markdown(plain(f"champion: {before} → {decision.candidate}; previous: {before}"))
    if not person.may_promote:
        st.info(NOT_ALLOWED)
        return
    with st.form("promote"):
        approved = standing.state == APPROVED
        reason = "" if approved else st.text_input("Reason; it is kept as your approval")
        if st.form_submit_button("Promote", type="primary"):
            with banner():
                if not approved:
                    answer_decision(decision.sha256, settings, by=person.name, reason=reason)
                carry_out(decision.sha256, settings, by=person.name)
            st.session_state.pop(shown)
            _done(f"{decision.candidate} is champion")


def show_rollback(history: ModelHistory, person: Person, settings: Settings) -> None:
    """Make an earlier champion champion again; says what will change."""
    aliases = history.aliases()
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None:
        return
    st.subheader("Roll back")
    here, back = f"{history.name}/{champion}", f"{history.name}/{previous}"
    st.markdown(plain(f"champion: {here} → {back}; previous: {here}"))
    if not person.may_promote:
        st.info(NOT_ALLOWED)
        return
    with st.form("rollback"):
        reason = st.text_input("Reason; it is kept in the ledger")
        if st.form_submit_button("Roll back"):
            with banner():
                roll_back(
                    history.name, settings, reason=reason, by=person.name,
                    to=previous, champion=champion,
                )  # fmt: skip
            _done(f"{back} is champion again")


def _done(words: str) -> None:
    forget()
    st.session_state["done"] = words
    st.rerun()


def show_page(settings: Settings) -> None:
    """Model, versions, decisions with what can be done, ledger."""
    st.title("Registry")
    if words := st.session_state.pop("done", ""):
        st.success(plain(words))
    history = choose_model(settings)
    with banner():
        person = current_person(settings)
    show_versions(history)
    with banner(ends=False):
        show_lineage(history, settings)
    if standing := show_decision(history):
        show_promotion(standing, history, person, settings)
    show_rollback(history, person, settings)
    show_ledger(history)


show_page(Settings())
