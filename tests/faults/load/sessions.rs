//! Client programs that live on: each has a session and an instance, through the Rust client.

use std::time::{Duration, Instant};

use stanchion_client::{
    Client, Options, Registration, RegistrationState, Session, SessionOptions,
    proto::{Health, InstanceView},
};

/// The service of their instances.
pub const SERVICE: &str = "load";
/// Their time to live: the shortest there is by default.
pub const TTL: Duration = Duration::from_secs(5);

/// One client program.
pub struct Program {
    pub client: Client,
    pub session: Session,
    pub registration: Registration,
}

// === impl Program ===

impl Program {
    /// Starts a program that may use all these endpoints.
    pub async fn start(endpoints: &[String], name: &str) -> Self {
        let options = Options {
            session: SessionOptions {
                ttl: Some(TTL),
                client_id: name.to_owned(),
                ..SessionOptions::default()
            },
            ..Options::default()
        };
        let client = Client::connect(endpoints, options).unwrap();
        let session = client.session().await.unwrap();
        let request = client.register(SERVICE, "10.0.0.1").id(name);
        let registration = request.port("http", 80, "http").start().await.unwrap();
        Self {
            client,
            session,
            registration,
        }
    }

    /// Asserts that nothing was lost: neither the session nor what hangs on it.
    pub fn lives(&self) {
        let name = self.session.client_id();
        assert_eq!(self.session.ended(), None, "{name} lost its session");
        let state = self.registration.state();
        assert!(
            matches!(state, RegistrationState::Registered { .. }),
            "{name} is {state:?}"
        );
    }

    /// Waits until everybody sees its instance, and healthy.
    pub async fn is_registered(&self, within: Duration) {
        let name = self.session.client_id();
        let begun = Instant::now();
        loop {
            let found = self.client.instances(SERVICE, InstanceView::All).await;
            let found = found.unwrap().instances;
            let mine = found.iter().find(|instance| instance.instance_id == name);
            if mine.is_some_and(|mine| mine.health() == Health::Healthy) {
                return;
            }
            let state = self.registration.state();
            assert!(
                begun.elapsed() < within,
                "{name}, {state:?}, is not well in {found:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
