//! What a journal comes to: how far its apply got, and each of its steps.
//!
//! It is kept the same way while an apply runs as it is read after a crash: by its records, one after the other.

use super::confirm::Deadline;
use super::journal::{Before, Record};
use super::outcome::Outcome;
use crate::plan::{Change, Plan};

/// See above.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) id: String,
    pub(super) at_unix_s: u64,
    pub(super) plan: Plan,
    pub(super) steps: Vec<Step>,
    pub(super) is_applied: bool,
    /// Until when it has to be confirmed.
    pub(super) deadline: Option<Deadline>,
    pub(super) is_confirmed: bool,
    /// Whether hooks may have run.
    pub(super) has_hooked: bool,
    pub(super) is_undoing: bool,
    pub(super) is_ended: bool,
}

/// How far a step got.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    /// What it did.
    pub(super) mark: Mark,
    /// What its file was beside its text.
    pub(super) before: Before,
    /// What came of undoing it.
    pub(super) undone: Option<Outcome>,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: not begun, nothing to write, or not to be written.
    #[default]
    Nothing,
    /// It may have been written, or not.
    Intended,
    /// It left this.
    Left(Option<String>),
}

impl Ledger {
    /// What these records come to; none if the first is not of a beginning.
    pub(super) fn of(id: &str, records: &[Record]) -> Option<Self> {
        let (Record::Begin { at_unix_s, plan, .. }, rest) = records.split_first()? else {
            return None;
        };
        let mut ledger = Self {
            id: id.into(),
            at_unix_s: *at_unix_s,
            steps: vec![Step::default(); plan.changes.len()],
            plan: Plan::clone(plan),
            is_applied: false,
            deadline: None,
            is_confirmed: false,
            has_hooked: false,
            is_undoing: false,
            is_ended: false,
        };
        rest.iter().for_each(|record| ledger.take(record));
        Some(ledger)
    }

    /// Takes the next record in. One of a step that the plan does not have says nothing.
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::Begin { .. } | Record::Same { .. } => {}
            Record::Hooks => self.has_hooked = true,
            Record::Intent { step, before } => self.on(*step, |step| {
                step.mark = Mark::Intended;
                step.before = before.clone();
            }),
            Record::Done { step, state } | Record::Failed { step, state, .. } => {
                self.on(*step, |step| step.mark = Mark::Left(state.clone()));
            }
            Record::Skipped { step, .. } => self.on(*step, |step| step.mark = Mark::Nothing),
            Record::Applied { deadline } => {
                self.is_applied = true;
                self.deadline = deadline.clone();
            }
            Record::Confirmed { .. } => self.is_confirmed = true,
            Record::Undoing { .. } => self.is_undoing = true,
            Record::Undone { step, outcome } => self.on(*step, |step| step.undone = Some(outcome.clone())),
            Record::Ended { .. } => self.is_ended = true,
        }
    }

    fn on(&mut self, step: usize, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.get_mut(step) {
            change(step);
        }
    }

    /// Whether it was begun, and neither got to its end nor was undone to the end.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.is_ended && (!self.is_applied || self.is_undoing)
    }

    /// Whether it is applied and somebody still has to say that it may stay.
    pub(super) fn waits(&self) -> bool {
        !self.is_ended && self.is_applied && self.deadline.is_some() && !self.is_confirmed
    }

    /// Its steps with what they change, in order.
    pub(super) fn steps(&self) -> impl DoubleEndedIterator<Item = (usize, &Change, &Step)> {
        (0..self.steps.len())
            .filter_map(|number| Some((number, self.plan.changes.get(number)?, self.steps.get(number)?)))
    }

    /// One step and what it changes.
    pub(super) fn step(&self, number: usize) -> Option<(Change, Step)> {
        Some((self.plan.changes.get(number)?.clone(), self.steps.get(number)?.clone()))
    }
}
