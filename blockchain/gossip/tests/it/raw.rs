//! A peer that knows the protocols' names and keeps to nothing else.

use std::time::Duration;

use alloy_primitives::hex;
use async_trait::async_trait;
use libp2p::core::upgrade::Version;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{self, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Transport, noise, tcp, yamux};

use crate::support::GENESIS;

/// Sends and receives bytes as they are.
#[derive(Clone, Default)]
pub(crate) struct RawCodec;

#[async_trait]
impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        io.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await?;
        io.close().await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await?;
        io.close().await
    }
}

#[derive(NetworkBehaviour)]
pub(crate) struct Doors {
    pub(crate) gossip: gossipsub::Behaviour,
    pub(crate) requests: request_response::Behaviour<RawCodec>,
}

pub(crate) struct Raw {
    pub(crate) swarm: Swarm<Doors>,
    pub(crate) topic: IdentTopic,
}

impl Raw {
    pub(crate) fn new(seed: u8) -> Self {
        let chain = hex::encode(&GENESIS[..8]);
        let mut seed = [seed; 32];
        let key = Keypair::ed25519_from_bytes(&mut seed).expect("32 bytes");
        let noise = noise::Config::new(&key)
            .expect("a key")
            .with_prologue(GENESIS.to_vec());
        let transport = tcp::tokio::Transport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(noise)
            .multiplex(yamux::Config::default())
            .boxed();
        let config = gossipsub::ConfigBuilder::default()
            .protocol_id_prefix(format!("/lucid/{chain}/gossip"))
            .max_transmit_size(16 << 20)
            .validation_mode(ValidationMode::Anonymous)
            .message_id_fn(|message| blake3::hash(&message.data).as_bytes()[..20].to_vec().into())
            .build()
            .expect("it fits together");
        let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config)
            .expect("it fits together");
        let topic = IdentTopic::new(format!("lucid/{chain}/transactions/1"));
        gossip.subscribe(&topic).expect("a topic");
        let name =
            StreamProtocol::try_from_owned(format!("/lucid/{chain}/sync/1")).expect("a name");
        let requests = request_response::Behaviour::with_codec(
            RawCodec,
            [(name, ProtocolSupport::Full)],
            request_response::Config::default(),
        );
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(600));
        let own = key.public().to_peer_id();
        Self {
            swarm: Swarm::new(transport, Doors { gossip, requests }, own, config),
            topic,
        }
    }

    pub(crate) fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Connects, and waits until the other end listens to transactions.
    pub(crate) async fn connect(&mut self, address: &str) {
        let address: Multiaddr = address.parse().expect("an address");
        self.swarm.dial(address).expect("it can be dialed");
        loop {
            if let SwarmEvent::Behaviour(DoorsEvent::Gossip(gossipsub::Event::Subscribed {
                ..
            })) = self.swarm.select_next_some().await
            {
                return;
            }
        }
    }

    pub(crate) fn publish(&mut self, data: Vec<u8>) {
        let topic = self.topic.clone();
        let sent = self.swarm.behaviour_mut().gossip.publish(topic, data);
        assert!(sent.is_ok(), "{sent:?}");
    }

    pub(crate) fn request(&mut self, peer: PeerId, bytes: Vec<u8>) {
        self.swarm
            .behaviour_mut()
            .requests
            .send_request(&peer, bytes);
    }

    /// Goes on until something holds elsewhere.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        tokio::select! {
            () = crate::support::until(what, holds) => {}
            () = async { loop { self.swarm.select_next_some().await; } } => {}
        }
    }
}
