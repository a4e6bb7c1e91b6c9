//! The journal actor: keeps exactly one writer thread on the node's journal.
//!
//! Owns: the right to have a writer thread. Receives: the end of that thread. Lost on restart: nothing, the journal and
//! its queue belong to the slot. Supervised by: storage. When it is killed its thread finishes the group at hand and
//! leaves; the next incarnation's thread waits for that, so there are never two writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use voltree_runtime::Failure;
use voltree_storage::JournalSlot;

/// What the journal actor is told.
#[derive(Debug)]
pub enum JournalMsg {
    /// Its writer thread ended, with the error that ended it.
    WriterEnded(Option<Failure>),
}

/// The journal actor.
#[derive(Debug)]
pub struct JournalWriter;

/// The writer thread of one incarnation; dropping it tells the thread to leave.
#[derive(Debug)]
pub struct WriterThread {
    slot: Arc<JournalSlot>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the actor how its writer thread ended, be it by a panic: an actor that did not hear of it would keep a journal
/// that nobody writes.
struct LastWord {
    actor: ActorRef<JournalMsg>,
    ended: Option<Failure>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        // An actor that is gone already knows that its writer ends.
        self.actor.send_message(JournalMsg::WriterEnded(self.ended.take())).ok();
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.slot.wake();
    }
}

impl Actor for JournalWriter {
    type Msg = JournalMsg;
    type State = WriterThread;
    type Arguments = Arc<JournalSlot>;

    async fn pre_start(
        &self,
        myself: ActorRef<JournalMsg>,
        slot: Arc<JournalSlot>,
    ) -> Result<WriterThread, ActorProcessingErr> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writer = WriterThread { slot: Arc::clone(&slot), stop: Arc::clone(&stop), thread: None };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let mut last_word =
                LastWord { actor: myself, ended: Some(Failure::text("the writer thread panicked")) };
            last_word.ended = slot.run(&stop).err().map(|error| Failure::new(&error));
        })?;
        writer.thread = Some(thread);
        Ok(writer)
    }

    async fn handle(
        &self,
        _myself: ActorRef<JournalMsg>,
        message: JournalMsg,
        _writer: &mut WriterThread,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            JournalMsg::WriterEnded(Some(failure)) => Err(Box::new(failure)),
            JournalMsg::WriterEnded(None) => Err(Box::new(Failure::text("the writer thread ended unasked"))),
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<JournalMsg>,
        writer: &mut WriterThread,
    ) -> Result<(), ActorProcessingErr> {
        writer.stop.store(true, Ordering::Release);
        writer.slot.wake();
        if let Some(thread) = writer.thread.take() {
            // A writer thread that panicked has already been reported by its own end.
            tokio::task::spawn_blocking(move || thread.join().ok()).await?;
        }
        Ok(())
    }
}
