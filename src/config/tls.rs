//! TLS for the node's own MQTT listener: the section `[mqtt.tls]`.

use std::net::SocketAddr;

use voltree_actors::mqtt::tls::TlsFiles;

use super::reader::{Mistake, Section};

/// A listener that speaks TLS, beside the one that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsListener {
    pub(crate) listen: SocketAddr,
    pub(crate) files: TlsFiles,
}

/// Reads the section, if there is one.
pub(super) fn read(mqtt: &mut Section, mistakes: &mut Vec<Mistake>) -> Option<TlsListener> {
    let mut found = None;
    mqtt.section("tls", mistakes, |tls, mistakes| {
        tls.required(&["listen", "certificate", "key"], mistakes);
        let listen = tls.parsed("listen", "an address such as 0.0.0.0:8883", mistakes);
        let certificate = tls.text("certificate", mistakes);
        let key = tls.text("key", mistakes);
        let client_ca = tls.text("client_ca", mistakes).map(Into::into);
        let (Some(listen), Some(certificate), Some(key)) = (listen, certificate, key) else { return };
        found = Some(TlsListener {
            listen,
            files: TlsFiles { certificate: certificate.into(), key: key.into(), client_ca },
        });
    });
    found
}
