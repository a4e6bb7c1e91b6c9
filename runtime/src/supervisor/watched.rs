//! What stands between ractor and every worker: it announces the newborn to its supervisor before anything else can
//! happen to it, and marks when it is busy, so that a frozen one is found.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt as _;
use parking_lot::Mutex;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Key;
use crate::child::Newborn;
use crate::directory::{Fenced, Life};

/// Who is who among the actors of one supervisor.
#[derive(Debug, Default)]
pub(crate) struct Cradle {
    known: Mutex<HashMap<ActorId, (Key, u64)>>,
}

impl Cradle {
    /// Which child and generation this actor is.
    pub(super) fn get(&self, id: ActorId) -> Option<(Key, u64)> {
        self.known.lock().get(&id).copied()
    }

    pub(super) fn remove(&self, id: ActorId) -> Option<(Key, u64)> {
        self.known.lock().remove(&id)
    }
}

/// A newborn that its supervisor knows of; unless it is kept, it is forgotten again.
#[derive(Debug)]
pub(super) struct Announced<'a> {
    newborn: &'a Newborn,
    id: ActorId,
    kept: bool,
}

impl<'a> Announced<'a> {
    /// Announces a newborn, unless its time is over already.
    pub(super) fn new(newborn: &'a Newborn, id: ActorId) -> Result<Self, Fenced> {
        let fence = &newborn.birth.fence;
        fence.check()?;
        newborn.cradle.known.lock().insert(id, (newborn.key, fence.life().incarnation()));
        Ok(Self { newborn, id, kept: false })
    }

    /// Its start succeeded, if it wasn't given up meanwhile.
    pub(super) fn keep(mut self) -> Result<Arc<Life>, Fenced> {
        self.newborn.birth.fence.check()?;
        self.kept = true;
        Ok(Arc::clone(self.newborn.birth.fence.life()))
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.newborn.cradle.remove(self.id);
        }
    }
}

/// A worker under watch.
#[derive(Debug)]
pub(crate) struct Watched<A>(pub(crate) A);

/// Its state.
#[derive(Debug)]
pub(crate) struct WatchedState<S> {
    own: S,
    life: Arc<Life>,
}

/// Does this with the mark of being busy. What it has to remember is allocated for as long as it lasts: ractor keeps room
/// for two of a handler's futures in every actor, which was a quarter of an idle one.
fn busily<F: Future + Send>(
    life: &Life,
    work: F,
) -> Pin<Box<impl Future<Output = F::Output> + Send + use<'_, F>>> {
    let busy = life.busy();
    Box::pin(work.map(|done| {
        drop(busy);
        done
    }))
}

impl<A: Actor> Actor for Watched<A> {
    type Msg = A::Msg;
    type State = WatchedState<A::State>;
    type Arguments = (A::Arguments, Newborn);

    async fn pre_start(
        &self,
        myself: ActorRef<A::Msg>,
        (args, newborn): (A::Arguments, Newborn),
    ) -> Result<Self::State, ActorProcessingErr> {
        let announced = Announced::new(&newborn, myself.get_id())?;
        newborn.birth.fence.life().hears_at(myself.get_cell());
        let own = {
            let _busy = newborn.birth.fence.life().busy();
            self.0.pre_start(myself, args).await?
        };
        Ok(WatchedState { own, life: announced.keep()? })
    }

    async fn post_start(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let _busy = state.life.busy();
        self.0.post_start(myself, &mut state.own).await
    }

    fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        let WatchedState { own, life } = state;
        busily(life, self.0.handle(myself, message, own))
    }

    fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        let WatchedState { own, life } = state;
        busily(life, self.0.handle_supervisor_evt(myself, event, own))
    }

    async fn post_stop(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let _busy = state.life.busy();
        self.0.post_stop(myself, &mut state.own).await
    }
}
