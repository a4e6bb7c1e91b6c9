//! Alerts as records: one for each alert, and one that says how far the engine has judged.
//!
//! The alerts go to the journal as they change, how far it has judged only now and then: it is large in a large fleet, and
//! what comes behind it is judged again alike. Earlier versions kept all of it in one file, which is taken over once.

mod old;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use voltree_storage::{
    Entry, Error, JournalSlot, RealDisk, Record, RecordChange, RecordError, RecordKind, decode_value,
};

use self::old::AlertV1;
use super::engine::{AlertEngine, Judged};
use super::rules::Rule;
use crate::fleet::AlertView;

/// The one record of its kind.
const NODE: &str = "node";

/// An alert.
#[derive(Debug, Serialize, Deserialize)]
struct AlertRecord {
    rule: Option<Rule>,
    alert: AlertView,
}

impl Record for AlertRecord {
    const KIND: RecordKind = RecordKind::Alert;
    const VERSION: u8 = 2;

    fn migrate(version: u8, bytes: &[u8]) -> Result<Self, RecordError> {
        match version {
            1 => decode_value::<(Option<Rule>, AlertV1)>(bytes)
                .map(|(rule, alert)| Self { rule, alert: alert.into() }),
            found => Err(RecordError::UnknownVersion { found }),
        }
    }
}

/// How far the engine has judged.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Judgement {
    cursor: u64,
    judged: Judged,
}

impl Record for Judgement {
    const KIND: RecordKind = RecordKind::Judgement;
    const VERSION: u8 = 1;
}

/// The engine as the journal has it, or as the file `old` has it that an earlier version kept.
pub(super) fn load(journal: &JournalSlot, old: &Path) -> Result<AlertEngine, Error> {
    if let Some((engine, judged)) = old::load(old)? {
        let engine = engine.restored(judged);
        let mut all = engine.alerts().map(|(rule, alert)| set(rule, alert)).collect::<Result<Vec<_>, _>>()?;
        all.push(judgement(&engine)?);
        voltree_storage::take_over(&RealDisk, journal, &[old.to_owned()], all)?;
    }
    let records = journal.records();
    let Judgement { cursor, judged } = records.get(NODE)?.unwrap_or_default();
    let alerts = records.all::<AlertRecord>()?.into_values();
    Ok(AlertEngine::restored(cursor, judged, alerts.map(|AlertRecord { rule, alert }| (rule, alert))))
}

/// What is on its way into the journal.
#[derive(Debug, Default)]
pub(super) struct Saving {
    waiting: Arc<AtomicBool>,
}

/// One offer; dropped without having been taken, its alerts are to be saved again.
struct Offer {
    engine: Arc<Mutex<AlertEngine>>,
    waiting: Arc<AtomicBool>,
    ids: Vec<String>,
    taken: bool,
}

impl Offer {
    fn answered(mut self, taken: bool) {
        self.taken = taken;
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.taken {
            self.engine.lock().still_unsaved(std::mem::take(&mut self.ids));
        }
        self.waiting.store(false, Ordering::Release);
    }
}

impl Saving {
    /// Hands the journal the alerts that changed, unless it has yet to answer for the last ones; and how far the engine
    /// has judged, if that is `due`: once it is durable, `saved` says so.
    pub(super) fn save(
        &self,
        journal: &JournalSlot,
        engine: &Arc<Mutex<AlertEngine>>,
        due: bool,
        saved: &Arc<AtomicU64>,
    ) -> Result<(), Error> {
        if self.waiting.load(Ordering::Acquire) {
            return Ok(());
        }
        let (changed, how_far, cursor) = {
            let mut engine = engine.lock();
            let how_far = due.then(|| judgement(&engine)).transpose()?;
            (engine.take_unsaved(), how_far, engine.cursor())
        };
        let has_judged = how_far.is_some();
        let ids: Vec<String> = changed.iter().map(|(id, _)| id.clone()).collect();
        let (engine, waiting) = (Arc::clone(engine), Arc::clone(&self.waiting));
        let offer = Offer { engine, waiting, ids, taken: false };
        let mut entries = Vec::new();
        for (id, alert) in &changed {
            entries.push(match alert {
                Some((rule, alert)) => set(*rule, alert)?,
                None => RecordChange::entry::<AlertRecord>(id, None, crate::now())?,
            });
        }
        // Comes last, so that it is never there without them.
        entries.extend(how_far);
        if entries.is_empty() {
            return Ok(());
        }
        self.waiting.store(true, Ordering::Release);
        let saved = Arc::clone(saved);
        let done = move |result: Result<_, _>| {
            if result.is_ok() && has_judged {
                saved.fetch_max(cursor.0, Ordering::AcqRel);
            }
            offer.answered(result.is_ok());
        };
        journal.append(entries, Box::new(done));
        Ok(())
    }
}

fn set(rule: Option<Rule>, alert: &AlertView) -> Result<Entry, Error> {
    let record = AlertRecord { rule, alert: alert.clone() };
    RecordChange::entry(&alert.id, Some(&record), crate::now())
}

fn judgement(engine: &AlertEngine) -> Result<Entry, Error> {
    let record = Judgement { cursor: engine.cursor().0, judged: engine.judged().clone() };
    RecordChange::entry(NODE, Some(&record), crate::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use voltree_model::{DeviceId, Timestamp};

    use super::old::OldEngine;
    use crate::alerts::rules::AlertLimits;
    use crate::test_journal::{BOUND, TestJournal, writing};

    fn device(id: &str) -> DeviceId {
        DeviceId::new(id).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// One alert that is over, and one that is not.
    fn engine() -> AlertEngine {
        let mut engine = AlertEngine::default();
        engine.judge_silence(&device("a"), at(0), at(900)).unwrap();
        engine.judge_silence(&device("a"), at(901), at(902)).unwrap();
        engine.judge_silence(&device("b"), at(0), at(1_000)).unwrap();
        engine
    }

    fn save(journal: &JournalSlot, engine: &Arc<Mutex<AlertEngine>>, due: bool) {
        Saving::default().save(journal, engine, due, &Arc::default()).unwrap();
        journal.commit_alone(Vec::new(), BOUND).unwrap();
    }

    fn all(engine: &AlertEngine) -> Vec<AlertView> {
        engine.history(at(0), at(10_000))
    }

    #[test]
    fn alerts_are_there_after_a_power_cut_as_they_were_saved() {
        let disk = TestJournal::default();
        let (journal, engine) = (disk.open(), Arc::new(Mutex::new(engine())));
        save(&journal, &engine, true);
        disk.power_cut();
        let journal = disk.open();
        let loaded = load(&journal, Path::new("none")).unwrap();
        let engine = engine.lock();
        assert_eq!((all(&loaded), loaded.active()), (all(&engine), engine.active()));
        let loaded = Arc::new(Mutex::new(loaded));
        loaded.lock().judge_silence(&device("b"), at(2_000), at(2_000)).unwrap();
        save(&journal, &loaded, false);
        disk.power_cut();
        let again = load(&disk.open(), Path::new("none")).unwrap();
        assert_eq!((all(&again).len(), again.active().len()), (2, 0));
    }

    #[test]
    fn both_forms_of_the_file_of_earlier_versions_are_taken_over_once() {
        let engine = engine();
        let active = engine.active().remove(0);
        let ended =
            all(&engine).into_iter().filter(|alert| alert.resolved_at.is_some()).map(AlertV1::from).collect();
        let old = OldEngine {
            limits: AlertLimits::default(),
            cursor: 7,
            active: BTreeMap::from([((Rule::Silent, device("b")), active.clone().into())]),
            ended,
        };
        let judged = Judged::from([((Rule::Overtemperature, device("c")), at(5))]);
        for with_judged in [false, true] {
            let (dir, disk) = (tempfile::tempdir().unwrap(), TestJournal::default());
            let file = dir.path().join("alerts");
            match with_judged {
                true => voltree_storage::save_snapshot(&file, &(&old, &judged)).unwrap(),
                false => voltree_storage::save_snapshot(&file, &old).unwrap(),
            }
            for _ in 0..2 {
                let loaded = load(&disk.open(), &file).unwrap();
                assert_eq!((all(&loaded), loaded.active()), (all(&engine), vec![active.clone()]));
                assert_eq!((loaded.cursor().0, file.exists()), (7, false));
                let known = loaded.judged().get(&(Rule::Overtemperature, device("c")));
                assert_eq!(known, with_judged.then_some(&at(5)));
                disk.power_cut();
            }
        }
        let (dir, disk) = (tempfile::tempdir().unwrap(), TestJournal::default());
        let file = dir.path().join("alerts");
        std::fs::write(&file, b"VOLTSNAP and then nothing").unwrap();
        assert!(load(&disk.open(), &file).is_err(), "damage is told and not taken for age");
        assert!(file.exists());
    }

    /// What the first version wrote.
    #[derive(Debug, Serialize, Deserialize)]
    struct First(Option<Rule>, AlertV1);

    impl Record for First {
        const KIND: RecordKind = RecordKind::Alert;
        const VERSION: u8 = 1;
    }

    #[test]
    fn an_alert_of_the_first_version_is_read_and_of_two_active_ones_the_later_counts() {
        let (disk, alert) = (TestJournal::default(), engine().active().remove(0));
        let later = AlertView { id: "later".to_owned(), triggered_at: at(2_000), ..alert.clone() };
        let slot = disk.open();
        let kept = |alert: &AlertView| First(Some(Rule::Silent), alert.clone().into());
        let entry = |alert: &AlertView| RecordChange::entry(&alert.id, Some(&kept(alert)), at(1)).unwrap();
        writing(&slot, || slot.commit(vec![entry(&alert), entry(&later)], BOUND)).unwrap();
        let mut loaded = load(&slot, Path::new("none")).unwrap();
        assert_eq!(loaded.active(), [later]);
        let over = loaded.take_unsaved();
        let ended = over.iter().map(|(id, known)| (id.clone(), known.as_ref().unwrap().1.resolved_at));
        assert_eq!(ended.collect::<Vec<_>>(), [(alert.id, Some(alert.triggered_at))]);
    }

    #[test]
    fn what_the_journal_does_not_take_is_offered_again() {
        let disk = TestJournal::default();
        let (journal, engine) = (disk.open(), Arc::new(Mutex::new(engine())));
        // The first sync is that of the segment which is begun.
        disk.fail_sync_after(1);
        let saving = Saving::default();
        let saved = Arc::new(AtomicU64::new(0));
        saving.save(&journal, &engine, true, &saved).unwrap();
        assert!(saving.waiting.load(Ordering::Acquire));
        assert!(journal.run(&AtomicBool::new(false)).is_err());
        assert!(!saving.waiting.load(Ordering::Acquire));
        save(&journal, &engine, false);
        assert_eq!(all(&load(&journal, Path::new("none")).unwrap()), all(&engine.lock()));
    }

    #[test]
    fn alerts_that_are_newer_than_how_far_was_judged_neither_begin_nor_end_again() {
        use voltree_model::{Metric, MetricName, Origin, Reading};
        let reading = |seconds: i64, celsius: f64| Entry::Reading {
            origin: Origin { epoch: 0, sequence: 1 },
            reading: Arc::new(Reading {
                device: device("p"),
                at: at(seconds),
                metrics: vec![Metric {
                    name: MetricName::new("temperature_1").unwrap(),
                    value: celsius,
                    unit: None,
                }]
                .into(),
                attributes: Vec::new(),
                left_out: Vec::new(),
            }),
        };
        let entries = [(1, 20.0), (2, 90.0), (3, 20.0), (4, 91.0)].map(|(s, c)| reading(s, c));
        let judge = |engine: &mut AlertEngine| {
            let numbered = (1..).map(voltree_storage::Lsn).zip(&entries);
            numbered.flat_map(|(lsn, entry)| engine.judge(lsn, entry, at(5))).count()
        };
        let mut engine = AlertEngine::default();
        assert_eq!(judge(&mut engine), 3, "it begins, ends and begins");
        let alerts = engine.alerts().map(|(rule, alert)| (rule, alert.clone()));
        let mut restored = AlertEngine::restored(0, Judged::default(), alerts);
        assert_eq!(judge(&mut restored), 0);
        assert_eq!((all(&restored), restored.active()), (all(&engine), engine.active()));
    }
}
