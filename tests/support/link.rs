//! A line between a client and its broker that can swallow what the client says, be cut, and lead elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The line; it ends with the test.
pub(crate) struct Link {
    address: SocketAddr,
    broker: Arc<Mutex<Option<SocketAddr>>>,
    swallows: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    cuts: watch::Sender<u32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// A line that leads nowhere yet: whoever connects is sent away.
    pub(crate) async fn new() -> Self {
        let broker = Arc::<Mutex<Option<SocketAddr>>>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, swallowed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let cuts = watch::Sender::new(0);
        let (lossy, lost, cut) = (Arc::clone(&swallows), Arc::clone(&swallowed), cuts.clone());
        let target = Arc::clone(&broker);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let broker = *target.lock();
                let Some(broker) = broker else { continue };
                let Ok(broker) = TcpStream::connect(broker).await else { continue };
                tokio::spawn(carry(client, broker, Arc::clone(&lossy), Arc::clone(&lost), cut.subscribe()));
            }
        });
        Self { address, broker, swallows, swallowed, cuts, task }
    }

    /// Leads there from the next connection on.
    pub(crate) fn leads_to(&self, broker: SocketAddr) {
        *self.broker.lock() = Some(broker);
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on nothing that the client says arrives, though it seems to.
    pub(crate) fn swallow(&self) {
        self.swallows.store(true, Ordering::Release);
    }

    /// How many bytes did not arrive.
    pub(crate) fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::Acquire)
    }

    /// Ends the connections; later ones are good again.
    pub(crate) fn cut(&self) {
        self.swallows.store(false, Ordering::Release);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(
    client: TcpStream,
    broker: TcpStream,
    swallows: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    mut cuts: watch::Receiver<u32>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let out = async {
        let mut bytes = [0; 4096];
        loop {
            match from_client.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(read) if swallows.load(Ordering::Acquire) => {
                    swallowed.fetch_add(read, Ordering::AcqRel);
                }
                Ok(read) => {
                    if to_broker.write_all(&bytes[..read]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = out => {}
        _ = tokio::io::copy(&mut from_broker, &mut to_client) => {}
        _ = cuts.changed() => {}
    }
}
