//! MQTT over TLS, with certificates that are made for the test: a client that trusts the node's authority comes in, and
//! where the node asks for certificates, its name decides what it may do.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rumqttc::{Connect, ConnectReturnCode, Packet, Publish, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use voltree_protocols::mqtt::PacketCodec;

use crate::support::mqtt::telemetry;
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::now_ms;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate in this name, and its key, both as PEM.
fn certificate(authority: &Authority, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![purpose];
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A site whose node shows a certificate of this authority, and asks for one if `client_ca` is set.
fn site(authority: &Authority, client_ca: Option<&Authority>) -> Site {
    let site = Site::new();
    let file = |name: &str, text: &str| {
        let path = site.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (pem, key) = certificate(authority, "localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let (pem, key) = (file("node.pem", &pem), file("node.key", &key));
    let client_ca = client_ca.map(|ca| format!("client_ca = {:?}\n", file("ca.pem", &ca.pem())));
    let users = client_ca.iter().map(|_| "[[mqtt.user]]\nname = \"pack-1\"\ndevice = \"pack-1\"\n");
    let users: String = users.collect();
    site.mqtt_sections(&format!(
        "[mqtt.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {pem:?}\nkey = {key:?}\n{}{users}",
        client_ca.clone().unwrap_or_default()
    ))
}

struct Client {
    stream: TlsStream<TcpStream>,
    codec: PacketCodec,
    incoming: BytesMut,
}

impl Client {
    async fn connect(
        node: &Node,
        trusts: &Authority,
        own: Option<(String, String)>,
    ) -> std::io::Result<(Self, ConnectReturnCode)> {
        let mut roots = RootCertStore::empty();
        roots.add(trusts.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                use tokio_rustls::rustls::pki_types::pem::PemObject as _;
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let tcp = TcpStream::connect(node.mqtts.expect("the node tells where TLS is")).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let mut this = Self { stream, codec: PacketCodec::default(), incoming: BytesMut::new() };
        match this.exchange(Packet::Connect(Connect::new("tls-client"))).await? {
            Packet::ConnAck(answer) => Ok((this, answer.code)),
            other => panic!("{other:?}"),
        }
    }

    async fn exchange(&mut self, packet: Packet) -> std::io::Result<Packet> {
        let mut bytes = BytesMut::new();
        self.codec.encode(packet, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await?;
        let reading = async {
            loop {
                if let Some(packet) = self.codec.decode(&mut self.incoming).unwrap() {
                    return Ok(packet);
                }
                if self.stream.read_buf(&mut self.incoming).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        tokio::time::timeout(BOUND, reading).await.expect("no answer")
    }

    async fn publish(&mut self, device: &str, at: i64) {
        let topic = format!("devices/{device}/telemetry");
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, telemetry(device, at, &[("soc", 50.0)]));
        publish.pkid = 1;
        let answer = self.exchange(Packet::Publish(publish)).await.unwrap();
        assert!(matches!(answer, Packet::PubAck(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trusts_the_nodes_authority_publishes_over_tls() {
    let trusted = authority();
    let site = site(&trusted, None);
    let node = site.start().await;
    let (mut client, code) = Client::connect(&node, &trusted, None).await.unwrap();
    assert_eq!(code, ConnectReturnCode::Success);
    client.publish("shed-1", now_ms()).await;
    assert_eq!(node.ledger_settled("shed-1", 1).await.stored, 1);
    assert!(Client::connect(&node, &authority(), None).await.is_err(), "it trusts another authority");
    // Neither one who speaks no TLS, nor one who says nothing and goes, keeps others out.
    let mut plain = TcpStream::connect(node.mqtts.unwrap()).await.unwrap();
    plain.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0").await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(answer.len() < 10 && answer.first() != Some(&0x20), "a TLS alert at most: {answer:?}");
    drop(TcpStream::connect(node.mqtts.unwrap()).await.unwrap());
    let (mut client, _) = Client::connect(&node, &trusted, None).await.unwrap();
    client.publish("shed-1", now_ms()).await;
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificates_name_is_the_identity_where_the_node_asks_for_one() {
    let (trusted, clients) = (authority(), authority());
    let site = site(&trusted, Some(&clients));
    let node = site.start().await;
    let of = |by: &Authority, name: &str| Some(certificate(by, name, ExtendedKeyUsagePurpose::ClientAuth));
    let (mut pack, code) = Client::connect(&node, &trusted, of(&clients, "pack-1")).await.unwrap();
    assert_eq!(code, ConnectReturnCode::Success);
    let at = now_ms();
    pack.publish("pack-1", at).await;
    pack.publish("pack-2", at).await;
    assert_eq!(node.ledger_settled("pack-1", 1).await.stored, 1);
    assert_eq!(node.ledger_settled(None, 1).await.rejected, 1, "the other pack's telemetry");
    let (_, code) = Client::connect(&node, &trusted, of(&clients, "stranger")).await.unwrap();
    assert_eq!(code, ConnectReturnCode::NotAuthorized);
    assert!(Client::connect(&node, &trusted, of(&authority(), "pack-1")).await.is_err(), "a forged one");
    assert!(Client::connect(&node, &trusted, None).await.is_err(), "none at all");
    assert_eq!(node.stop().await, Some(0));
}

#[test]
fn a_certificate_that_can_not_be_used_is_named_at_the_start() {
    let site = site(&authority(), None);
    let start = |config: &Path| {
        let output =
            Command::new(VOLTREE).args(["run", "--config", config.to_str().unwrap()]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    std::fs::write(site.dir.path().join("node.pem"), "no certificate").unwrap();
    let said = start(&site.config());
    assert!(
        said.contains("mqtt.tls can't be used") && said.contains("node.pem holds no certificate"),
        "{said}"
    );
}
