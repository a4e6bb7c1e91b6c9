//! A simulated device behind a port of the network, as a serial line behind a gateway that passes on its bytes.
//!
//! Clients may connect as often and as many as they like; the device is one and hears them all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::device::{DeviceSide, SimStats};
use super::serve::{LinePace, Mode, Server, SimHandle, Terms, until_stopped};

/// Starts simulated devices on the network.
#[derive(Debug)]
pub struct TcpSim;

impl TcpSim {
    /// Listens and serves the device. Its handle's path is the URL of a raw gateway.
    pub async fn spawn(
        device: impl DeviceSide + 'static,
        pace: LinePace,
        listen: SocketAddr,
    ) -> io::Result<SimHandle> {
        let listener = TcpListener::bind(listen).await?;
        let path = format!("tcp://{}", listener.local_addr()?).into();
        let stats = Arc::new(SimStats::default());
        let (mode, watched) = watch::channel(Mode::Serving);
        let started = Instant::now();
        let terms = Terms { pace, stats: Arc::clone(&stats), mode: watched, started };
        #[expect(
            clippy::disallowed_methods,
            reason = "the device's own life, ended by its handle; no actor serves it"
        )]
        let task = tokio::spawn(accept(listener, Arc::new(Mutex::new(device)), terms));
        Ok(SimHandle { path, stats, mode, started, task })
    }
}

/// Serves whoever connects until the device is stopped; connections end with this.
async fn accept<D: DeviceSide + 'static>(
    listener: TcpListener,
    device: Arc<Mutex<D>>,
    mut terms: Terms,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            gone = until_stopped(&mut terms.mode) => return gone,
            accepted = listener.accept() => accepted,
            // A connection that broke is over, and its client comes again.
            Some(_ended) = connections.join_next() => continue,
        };
        let (stream, _) = accepted?;
        connections.spawn(serve(stream, Arc::clone(&device), terms.clone()));
    }
}

async fn serve<D: DeviceSide>(mut stream: TcpStream, device: Arc<Mutex<D>>, terms: Terms) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let greeting = device.lock().greeting();
    stream.write_all(&greeting).await?;
    let (heard, said) = stream.into_split();
    Server { heard, said, device, terms }.run().await
}
