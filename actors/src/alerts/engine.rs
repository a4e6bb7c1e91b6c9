//! The alert engine, pure: a fold over readings and times, with at most one active alert per rule and device.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;
use voltree_model::{DeviceId, Metric, MetricName, Timestamp};
use voltree_storage::{Entry, Lsn};

use super::rules::{AlertLimits, Rule, Standing};
use crate::fleet::{AlertStatus, AlertView};

/// How many ended alerts are kept.
const HISTORY: usize = 1_000;

/// What judging led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An alert began.
    Raised(AlertView),
    /// An alert ended.
    Resolved(AlertView),
}

/// An alert, with its rule where that is known.
pub(super) type Known = (Option<Rule>, AlertView);

/// All alerts of a node, and how far in the journal they were judged.
#[derive(Debug, Clone, Default)]
pub struct AlertEngine {
    limits: AlertLimits,
    cursor: u64,
    active: BTreeMap<(Rule, DeviceId), AlertView>,
    ended: VecDeque<Known>,
    judged: Judged,
    /// The alerts that changed, or are no longer kept, since they were last taken to be saved.
    unsaved: BTreeSet<String>,
}

/// When the newest reading was measured that each rule judged. One from before it tells of the past, as whatever is
/// sent again after a lost acknowledgement does, and would begin or end an alert a second time.
pub(super) type Judged = BTreeMap<(Rule, DeviceId), Timestamp>;

impl AlertEngine {
    /// Judges by these limits from now on.
    pub fn set_limits(&mut self, limits: AlertLimits) {
        self.limits = limits;
    }

    /// The last entry that was judged.
    pub fn cursor(&self) -> Lsn {
        Lsn(self.cursor)
    }

    /// Judges one entry; entries up to the cursor were judged before and change nothing.
    pub fn judge(&mut self, lsn: Lsn, entry: &Entry, now: Timestamp) -> Vec<Change> {
        if lsn.0 <= self.cursor {
            return Vec::new();
        }
        self.cursor = lsn.0;
        let Entry::Reading { reading, .. } = entry else { return Vec::new() };
        if now.since(reading.at) > self.limits.lateness {
            return Vec::new();
        }
        let standings: Vec<_> = Rule::VALUE_RULES
            .into_iter()
            .filter_map(|rule| Some((rule, rule.judge(reading, &self.limits)?)))
            .collect();
        let judged = standings.into_iter();
        judged
            .filter_map(|(rule, standing)| {
                let news = self.is_news(rule, &reading.device, reading.at, now);
                if news { self.apply(rule, &reading.device, standing, reading.at) } else { None }
            })
            .collect()
    }

    /// Whether no later reading was judged. Nothing counts as later than now: a clock that was ahead and is set right
    /// must not silence a rule until it gets there again.
    fn is_news(&mut self, rule: Rule, device: &DeviceId, at: Timestamp, now: Timestamp) -> bool {
        let judged = self.judged.entry((rule, device.clone())).or_insert(at);
        let news = at >= *judged || *judged > now;
        if news {
            *judged = at.min(now);
        }
        news
    }

    /// What was judged.
    pub(super) fn judged(&self) -> &Judged {
        &self.judged
    }

    /// The engine as it was after the entry `cursor`, with alerts that may be newer than that.
    ///
    /// What an alert tells was judged, so reading the entries behind the cursor again neither begins nor ends it again.
    pub(super) fn restored(cursor: u64, mut judged: Judged, alerts: impl IntoIterator<Item = Known>) -> Self {
        let mut engine = Self { cursor, ..Self::default() };
        let (mut ended, mut doubled) = (Vec::new(), Vec::new());
        for (rule, alert) in alerts {
            let last = alert.resolved_at.unwrap_or(alert.triggered_at);
            if let Some(rule) = rule {
                let known = judged.entry((rule, alert.device.clone())).or_insert(last);
                *known = last.max(*known);
            }
            match (alert.status, rule) {
                (AlertStatus::Active, Some(rule)) => {
                    doubled.extend(engine.begin(rule, alert).map(|before| (Some(rule), before)));
                }
                (AlertStatus::Active | AlertStatus::Resolved, _) => ended.push((rule, alert)),
            }
        }
        engine.unsaved.extend(doubled.iter().map(|(_, alert)| alert.id.clone()));
        ended.extend(doubled);
        ended.sort_by_key(|(_, alert)| alert.resolved_at);
        Self { judged, ended: ended.into(), ..engine }
    }

    /// Takes an alert in that was active. There is one for each rule and device: of two the later one counts, because its
    /// predecessor's end did not get to the disk; that one is answered, ended.
    fn begin(&mut self, rule: Rule, alert: AlertView) -> Option<AlertView> {
        let key = (rule, alert.device.clone());
        let before = match self.active.remove(&key) {
            Some(later) if later.triggered_at > alert.triggered_at => {
                self.active.insert(key, later);
                alert
            }
            before => {
                self.active.insert(key, alert);
                before?
            }
        };
        let resolved_at = Some(before.triggered_at);
        Some(AlertView { status: AlertStatus::Resolved, resolved_at, ..before })
    }

    /// Which alerts changed since the last call, as they are now; `None` for those that are no longer kept.
    pub(super) fn take_unsaved(&mut self) -> Vec<(String, Option<Known>)> {
        let unsaved = std::mem::take(&mut self.unsaved);
        unsaved.into_iter().map(|id| (id.clone(), self.alert(&id))).collect()
    }

    /// Puts back what could not be saved.
    pub(super) fn still_unsaved(&mut self, ids: impl IntoIterator<Item = String>) {
        self.unsaved.extend(ids);
    }

    /// Every alert, active or ended.
    pub(super) fn alerts(&self) -> impl Iterator<Item = (Option<Rule>, &AlertView)> {
        let active = self.active.iter().map(|((rule, _), alert)| (Some(*rule), alert));
        active.chain(self.ended.iter().map(|(rule, alert)| (*rule, alert)))
    }

    fn alert(&self, id: &str) -> Option<Known> {
        self.alerts().find(|(_, alert)| alert.id == id).map(|(rule, alert)| (rule, alert.clone()))
    }

    /// Judges whether a device that was last heard at `heard` is silent.
    pub fn judge_silence(&mut self, device: &DeviceId, heard: Timestamp, now: Timestamp) -> Option<Change> {
        let silent = now.since(heard) > self.limits.silent_after;
        let key = (Rule::Silent, device.clone());
        match (silent, self.active.contains_key(&key)) {
            (true, false) => {
                let message = format!("{device} was last heard at {heard}");
                Some(self.raise(Rule::Silent, device, now, None, None, message))
            }
            (false, true) => self.resolve(Rule::Silent, device, now),
            (true, true) | (false, false) => None,
        }
    }

    /// Judges a rule of which all conditions that hold are known: those that are new raise an alert, those that are gone
    /// end theirs.
    pub(super) fn judge_conditions(
        &mut self,
        rule: Rule,
        conditions: &BTreeMap<DeviceId, String>,
        now: Timestamp,
    ) -> Vec<Change> {
        let active = self.active.keys().filter(|(active, _)| *active == rule);
        let over: Vec<_> = active
            .filter(|(_, subject)| !conditions.contains_key(subject))
            .map(|(_, subject)| subject.clone())
            .collect();
        let mut changes: Vec<_> =
            over.iter().filter_map(|subject| self.resolve(rule, subject, now)).collect();
        for (subject, message) in conditions {
            if !self.active.contains_key(&(rule, subject.clone())) {
                changes.push(self.raise(rule, subject, now, None, None, message.clone()));
            }
        }
        changes
    }

    /// Ends the alerts of devices and values that nobody looks after any more; `because` says of which that is so, and
    /// why. What is wrong with the node itself goes on.
    pub(super) fn let_go(
        &mut self,
        now: Timestamp,
        because: impl Fn(&DeviceId, Option<&MetricName>) -> Option<String>,
    ) -> Vec<Change> {
        let of_devices = self.active.iter().filter(|((rule, _), _)| rule.is_of_a_device());
        let over: Vec<_> = of_devices
            .filter_map(|(key, alert)| Some((key.clone(), because(&key.1, alert.metric.as_ref())?)))
            .collect();
        let mut changes = Vec::new();
        for (key, why) in over {
            // What was measured before tells of the past from now on, as it would after a restart.
            if let Some(judged) = self.judged.get_mut(&key) {
                *judged = now.max(*judged);
            }
            changes.extend(self.end(&key, now, Some(why)));
        }
        changes
    }

    /// Passes over an entry of a device that nobody looks after.
    pub(super) fn pass_over(&mut self, lsn: Lsn) {
        self.cursor = self.cursor.max(lsn.0);
    }

    /// Alerts whose condition holds, newest first.
    pub fn active(&self) -> Vec<AlertView> {
        let mut alerts: Vec<_> = self.active.values().cloned().collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.triggered_at));
        alerts
    }

    /// Alerts that began in `from..to`, newest first.
    pub fn history(&self, from: Timestamp, to: Timestamp) -> Vec<AlertView> {
        let all = self.alerts().map(|(_, alert)| alert);
        let mut alerts: Vec<_> =
            all.filter(|alert| from <= alert.triggered_at && alert.triggered_at < to).cloned().collect();
        alerts.sort_by_key(|alert| std::cmp::Reverse(alert.triggered_at));
        alerts
    }

    fn apply(&mut self, rule: Rule, device: &DeviceId, standing: Standing, at: Timestamp) -> Option<Change> {
        let active = self.active.contains_key(&(rule, device.clone()));
        match standing {
            Standing::Beyond { metric, threshold } if !active => {
                let message = format!("{} is {:.3}, the limit is {threshold}", metric.name, metric.value);
                Some(self.raise(rule, device, at, Some(metric), Some(threshold), message))
            }
            Standing::Inside if active => self.resolve(rule, device, at),
            Standing::Beyond { .. } | Standing::Near | Standing::Inside => None,
        }
    }

    fn raise(
        &mut self,
        rule: Rule,
        device: &DeviceId,
        at: Timestamp,
        metric: Option<Metric>,
        threshold: Option<f64>,
        message: String,
    ) -> Change {
        let alert = AlertView {
            id: alert_id(rule, device, at),
            device: device.clone(),
            severity: rule.severity(),
            status: AlertStatus::Active,
            title: rule.title().to_owned(),
            message,
            value: metric.as_ref().map(|metric| metric.value),
            metric: metric.map(|metric| metric.name),
            threshold,
            triggered_at: at,
            resolved_at: None,
            resolved_because: None,
        };
        self.unsaved.insert(alert.id.clone());
        self.active.insert((rule, device.clone()), alert.clone());
        Change::Raised(alert)
    }

    fn resolve(&mut self, rule: Rule, device: &DeviceId, at: Timestamp) -> Option<Change> {
        self.end(&(rule, device.clone()), at, None)
    }

    fn end(&mut self, key: &(Rule, DeviceId), at: Timestamp, because: Option<String>) -> Option<Change> {
        let mut alert = self.active.remove(key)?;
        alert.status = AlertStatus::Resolved;
        (alert.resolved_at, alert.resolved_because) = (Some(at), because);
        if self.ended.len() >= HISTORY {
            self.unsaved.extend(self.ended.pop_front().map(|(_, forgotten)| forgotten.id));
        }
        self.unsaved.insert(alert.id.clone());
        self.ended.push_back((Some(key.0), alert.clone()));
        Some(Change::Resolved(alert))
    }
}

/// The same alert gets the same id when it is judged again after a kill.
fn alert_id(rule: Rule, device: &DeviceId, at: Timestamp) -> String {
    let name = format!("alert/{}/{device}/{}", rule.name(), at.as_millis());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests;
