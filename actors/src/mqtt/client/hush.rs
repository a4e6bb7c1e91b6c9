//! Bytes that stay in a socket on purpose need not wake anybody. The system tells of every segment that arrives, and for
//! each the runtime is woken and finds nothing to do; under load that is more often than there is something.

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use tokio::net::TcpStream;

sockopt_impl!(
    /// From how many bytes on the system tells that there are some.
    ReceiveLowWaterMark,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    usize
);

/// Has the system tell of what arrives once there are so many bytes, or of the end; at once if there are already.
pub(super) fn tell_of(stream: &TcpStream, bytes: usize) -> std::io::Result<()> {
    Ok(setsockopt(stream, ReceiveLowWaterMark, &bytes)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const MANY: usize = 8 * 1024;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test]
    async fn few_bytes_wake_nobody_until_they_are_asked_for() {
        let (mut server, mut client) = connected().await;
        // A new one counts as readable until it was tried.
        assert_eq!(server.try_read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        tell_of(&server, MANY).unwrap();
        client.write_all(b"few").await.unwrap();
        let mut told = false;
        // A second connection, over which more comes later: by then the system had every chance to tell of the first.
        let (mut other, mut later) = connected().await;
        later.write_all(b"later").await.unwrap();
        tokio::select! {
            biased;
            ready = server.readable() => { ready.unwrap(); told = true; }
            read = other.read_u8() => { read.unwrap(); }
        }
        assert!(!told, "woken for what stays in the socket");
        tell_of(&server, 1).unwrap();
        let mut bytes = [0; 3];
        timeout(PATIENCE, server.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(&bytes, b"few");
    }

    #[tokio::test]
    async fn many_bytes_and_the_end_are_told_of_all_the_same() {
        let (mut server, mut client) = connected().await;
        tell_of(&server, MANY).unwrap();
        client.write_all(&[7; MANY]).await.unwrap();
        timeout(PATIENCE, server.read_exact(&mut [0; MANY])).await.unwrap().unwrap();
        drop(client);
        assert_eq!(timeout(PATIENCE, server.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    }
}
