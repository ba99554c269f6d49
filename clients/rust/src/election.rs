//! Elections: standing for one, leading it until that is lost, and looking who leads.

mod leadership;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

pub use self::leadership::Leadership;
use crate::{
    Client,
    error::{Error, Result},
    pages::{self, PAGE},
    proto::{
        self, CampaignRequest, GetLeaderRequest, Guard, ListElectionsRequest, ObserveLeaderRequest,
        campaign_request::Wait, election_service_client::ElectionServiceClient,
    },
    queue::{self, Held, Place, Queue, QueuePlace, Tell, Told},
    session::Session,
    watch::Watch,
};

/// An election, to stand for or to observe. See [`Client::election`].
#[derive(Debug, Clone)]
pub struct Election {
    client: Client,
    election: String,
    candidate: String,
    proclamation: Bytes,
    metadata: BTreeMap<String, String>,
    session: Option<Session>,
    guard: Option<Guard>,
    tell: Option<Tell>,
}

// === impl Election ===

impl Election {
    pub(crate) fn new(client: Client, election: &str) -> Self {
        Self {
            client,
            election: election.into(),
            candidate: String::new(),
            proclamation: Bytes::new(),
            metadata: BTreeMap::new(),
            session: None,
            guard: None,
            tell: None,
        }
    }

    /// What others see of the candidate, such as host and purpose; at most 253 bytes.
    pub fn candidate(mut self, candidate: impl Into<String>) -> Self {
        self.candidate = candidate.into();
        self
    }

    /// What the candidate proclaims once it leads, such as its address; at most 4 KiB.
    pub fn proclamation(mut self, proclamation: impl Into<Bytes>) -> Self {
        self.proclamation = proclamation.into();
        self
    }

    /// What others may know.
    pub fn metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = metadata;
        self
    }

    /// The session that stands. Default: the one the client shares.
    pub fn session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Stands only while a lock is held or another election is led.
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// While this waits to be elected, `tell` is called with its place, now and whenever that changes:
    /// at most twice a second, by the thread that waits. Costs one write more once it has waited.
    pub fn on_place(mut self, tell: impl Fn(QueuePlace) + Send + Sync + 'static) -> Self {
        self.tell = Some(Tell::new(tell));
        self
    }

    /// Leads if nobody else stands; else fails with `LED_BY_ANOTHER`.
    pub async fn try_campaign(&self) -> Result<Leadership> {
        self.campaign_within(Some(Duration::ZERO)).await
    }

    /// Stands for at most so long; not elected by then, fails with `LED_BY_ANOTHER`.
    pub async fn campaign_timeout(&self, timeout: Duration) -> Result<Leadership> {
        self.campaign_within(Some(timeout)).await
    }

    /// Stands until elected, as long as it takes. Each call is a candidate of its own.
    pub async fn campaign(&self) -> Result<Leadership> {
        self.campaign_within(None).await
    }

    /// Reads who leads and who else stands.
    pub async fn read(&self) -> Result<proto::Election> {
        let request = GetLeaderRequest {
            namespace: self.client.namespace().into(),
            election: self.election.clone(),
            ..Default::default()
        };
        let call = self.client.caller();
        let call = call.call(request, ElectionServiceClient::get_leader);
        let answer = call.await?;
        answer.election.ok_or_else(|| Error::contract("election"))
    }

    /// Watches who leads: a snapshot of one leader or none, then every change.
    pub fn observe(&self) -> Watch<ObserveLeaderRequest> {
        self.client.watch(ObserveLeaderRequest {
            namespace: self.client.namespace().into(),
            election: self.election.clone(),
            ..Default::default()
        })
    }

    async fn campaign_within(&self, timeout: Option<Duration>) -> Result<Leadership> {
        let queue = Queue::Election(self.election.clone());
        let mut place = Place::new(&self.client, self.session.clone(), queue).await?;
        let events = place.session.events();
        let request = CampaignRequest {
            namespace: place.namespace.clone(),
            election: self.election.clone(),
            session_id: place.session.id().into(),
            request_id: place.request_id.clone(),
            candidate: self.candidate.clone(),
            proclamation: self.proclamation.clone(),
            metadata: self.metadata.clone(),
            guard: self.guard.clone(),
            wait: None,
        };
        let caller = place.caller.clone();
        let (patience, until) = caller.patience(timeout);
        // Repeats the same request, wherever it is answered, until the wait is over.
        let request = || {
            let mut request = request.clone();
            request.wait = queue::wait(until, Wait::NoWait(true), Wait::WaitTimeout);
            request
        };
        let tell = self.tell.clone();
        let tell = tell.filter(|_| timeout != Some(Duration::ZERO));
        let campaigning = async {
            let Some(tell) = tell else {
                let call = caller.call_with(patience, request, ElectionServiceClient::campaign);
                return call.await;
            };
            let told = || Told {
                request: request(),
                tell: tell.clone(),
            };
            caller.call_with(patience, told, queue::campaign).await
        };
        let answer = place.take(campaigning).await?;
        Ok(Leadership::new(Held::new(
            place,
            answer.term,
            None,
            events,
        )?))
    }
}

// === impl Client ===

impl Client {
    /// Reads the elections whose name begins with `prefix`, without those who wait, all pages.
    pub async fn elections(&self, prefix: &str) -> Result<Vec<proto::Election>> {
        pages::all(move |page_token| async move {
            let request = ListElectionsRequest {
                namespace: self.namespace().into(),
                prefix: prefix.into(),
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .caller()
                .call(request, ElectionServiceClient::list_elections)
                .await?;
            Ok((page.elections, page.next_page_token))
        })
        .await
    }
}
