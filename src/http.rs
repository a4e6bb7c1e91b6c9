//! The actor that serves console, API, health and metrics.
//!
//! Owns: the server's task. Receives: that the task ended. Lost on restart: nothing; the listening socket belongs to
//! the node, and requests under way are finished by their own connections. Supervised by: edges.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use voltree_actors::mqtt::ListenerSocket;
use voltree_runtime::Failure;
use voltree_runtime::metrics::MetricsHandle;

/// What the HTTP actor is told.
#[derive(Debug)]
pub(crate) enum HttpMsg {
    /// The server's task ended.
    Ended(String),
    /// Time to fold what the histograms collected, which otherwise grows until somebody scrapes.
    FoldMetrics,
}

/// Everything it needs in order to be born again.
#[derive(Clone)]
pub(crate) struct HttpArgs {
    pub(crate) socket: Arc<ListenerSocket>,
    pub(crate) router: Router,
    pub(crate) metrics: MetricsHandle,
}

/// How often histograms are folded.
const FOLD_EVERY: Duration = Duration::from_secs(5);

/// The actor.
#[derive(Debug)]
pub(crate) struct Http;

/// The server of one incarnation; it stops accepting when this is dropped.
pub(crate) struct Server {
    metrics: MetricsHandle,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Actor for Http {
    type Msg = HttpMsg;
    type State = Server;
    type Arguments = HttpArgs;

    #[expect(clippy::disallowed_methods, reason = "a server's task; it ends with the actor that holds it")]
    async fn pre_start(
        &self,
        myself: ActorRef<HttpMsg>,
        args: HttpArgs,
    ) -> Result<Server, ActorProcessingErr> {
        let listener = args.socket.accepting().map_err(|error| Failure::boxed(&error))?;
        let (stop, mut stopped) = watch::channel(false);
        myself.send_interval(FOLD_EVERY, || HttpMsg::FoldMetrics);
        let service = args.router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            let asked = async move {
                // A sender that is gone asks for the same as one that says so.
                stopped.changed().await.ok();
            };
            let served = axum::serve(listener, service).with_graceful_shutdown(asked).await;
            let how = served.map_or_else(|error| error.to_string(), |()| "asked to stop".to_owned());
            // An actor that is gone has no use for the news.
            myself.send_message(HttpMsg::Ended(how)).ok();
        });
        Ok(Server { metrics: args.metrics, task, stop })
    }

    async fn handle(
        &self,
        _myself: ActorRef<HttpMsg>,
        message: HttpMsg,
        server: &mut Server,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            HttpMsg::Ended(how) => Err(Box::new(Failure::text(format!("the HTTP server ended: {how}")))),
            HttpMsg::FoldMetrics => {
                server.metrics.run_upkeep();
                Ok(())
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<HttpMsg>,
        server: &mut Server,
    ) -> Result<(), ActorProcessingErr> {
        server.stop.send(true).ok();
        Ok(())
    }
}
