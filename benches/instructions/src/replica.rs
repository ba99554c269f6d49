//! A whole replica in this thread, but for its connections.

use std::sync::Arc;

use futures_util::FutureExt as _;
use prost::Message;
use stanchion::{
    cache::Settings as CacheSettings,
    clock::Clock,
    domain::{
        Acknowledged, Core, Settings,
        epoch::{Epoch, EpochKeeper},
        keyspace::Keyspace,
        names::ReplicaId,
        records,
        registry::Removals,
        state::{Cache, StateProjection},
    },
    rpc::{Context, Services, framed, health::HealthHandler, registry::RegistryHandler},
    store::{
        Event, KeyRange, KeyValue, Operation, RangeRequest, Revision, Store, Txn, WatchItem,
        embedded::{self, Embedded, Location},
    },
};
use tokio::{runtime::Runtime, task::yield_now};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service as _;

use crate::{error::CountError, instances, relay::Relay, still::StillClock, stream::Stream};

/// How many revisions are remembered: few, so that after the warm-up the oldest is forgotten with
/// each new one, as in a server that runs for long.
pub(crate) const LOG_REVISIONS: usize = 256;

/// A replica with two services in it.
pub(crate) struct Replica<'r> {
    runtime: &'r Runtime,
    /// The domain's shared part.
    pub(crate) core: Arc<Core>,
    relay: Arc<Relay>,
    services: Services,
    /// The records of the large service's instances.
    records: Vec<KeyValue>,
    revision: Revision,
}

/// Something that happens to one instance of the large service.
pub(crate) struct Change {
    revision: Revision,
    item: Option<WatchItem>,
}

// === impl Replica ===

impl<'r> Replica<'r> {
    /// Starts a replica and registers the instances. The runtime is to be entered.
    pub(crate) fn start(runtime: &'r Runtime) -> Result<Self, CountError> {
        runtime.block_on(Self::prepare(runtime))
    }

    async fn prepare(runtime: &'r Runtime) -> Result<Self, CountError> {
        let clock: Arc<dyn Clock> = Arc::new(StillClock::new());
        let opened = Embedded::open(
            Location::Memory,
            embedded::Settings::default(),
            clock.clone(),
        );
        let embedded = opened
            .await
            .map_err(|e| CountError::unexpected(e.to_string()))?;
        let relay = Arc::new(Relay::new(embedded));
        let keys = Keyspace::new("stanchion");
        begin_epoch(&*relay, &keys).await?;
        let core = core(relay.clone(), keys, clock)?;
        core.cache.ready().await;
        let context = Context::new(core.clone(), Arc::default());
        instances::register(&RegistryHandler::new(context.clone())).await?;
        let health = HealthHandler::new(context.clone(), CancellationToken::new());
        let services = Services::new(&context, health)
            .map_err(|error| CountError::unexpected(error.to_string()))?;
        let prefix = [&core.keys.state()[..], b"reg/", instances::LARGE_PATH].concat();
        let found = core
            .store
            .range(RangeRequest::new(KeyRange::prefix(prefix)));
        let records = found.await?.kvs;
        if records.len() != instances::LARGE {
            let found = format!("{} instances are stored", records.len());
            return Err(CountError::unexpected(found));
        }
        Ok(Self {
            runtime,
            relay,
            services,
            records,
            revision: core.cache.view()?.revision,
            core,
        })
    }

    /// A request as a connection would hand it on.
    pub(crate) fn request(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> http::Request<Body> {
        let mut frame = Default::default();
        framed::append(&mut frame, message);
        let body = http_body_util::Full::new(frame.freeze());
        let mut request = http::Request::new(Body::new(body));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(path);
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            request
                .headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
        }
        request
    }

    /// Calls a method that answers from what is there; `None` if it has to wait.
    pub(crate) fn call(&mut self, request: http::Request<Body>) -> Option<Stream> {
        let answer = self.services.call(request).now_or_never()?;
        let Ok(answer) = answer;
        Some(Stream::new(framed::in_place(answer).into_body()))
    }

    /// The next change: another instance each time.
    pub(crate) fn next_change(&mut self) -> Change {
        self.revision += 1;
        // Never negative.
        let turn = usize::try_from(self.revision).unwrap_or_default() % self.records.len();
        let record = &mut self.records[turn];
        record.mod_revision = self.revision;
        record.version += 1;
        let item = WatchItem::Changes {
            revision: self.revision,
            events: vec![Event::Put(record.clone())],
        };
        Change {
            revision: self.revision,
            item: Some(item),
        }
    }

    /// Lets the watch tell of a change, until it is published and whoever waits for it is woken.
    /// Does nothing the second time.
    pub(crate) fn publish(&self, change: &mut Change) -> bool {
        let told = change.item.take().is_some_and(|item| self.relay.tell(item));
        told && self.runtime.block_on(async {
            // No more than this is needed; it is not waited for as others do because they would
            // have the store asked for its progress.
            for _ in 0..8 {
                yield_now().await;
                let view = self.core.cache.view();
                if view.is_ok_and(|view| view.revision >= change.revision) {
                    return true;
                }
            }
            false
        })
    }

    /// Has something happen that does not count.
    pub(crate) fn happen(&mut self) -> Result<(), CountError> {
        let mut change = self.next_change();
        if self.publish(&mut change) {
            Ok(())
        } else {
            Err(CountError::unexpected("a change was not published"))
        }
    }
}

/// Begins the store's history with a fixed name: it is in every header, and a random one costs more
/// to write now and then, when it begins with a zero.
async fn begin_epoch(store: &dyn Store, keys: &Keyspace) -> Result<(), CountError> {
    let epoch = Epoch {
        id: 0x1234_5678_9abc_def0,
        era: 1,
        timeline: store.status().await?.timeline,
        format: records::FORMAT,
        ..Epoch::default()
    };
    let put = Operation::put(keys.epoch(), records::encode_epoch(&epoch));
    store.txn(Txn::new().then(put)).await?;
    Ok(())
}

fn core(
    store: Arc<dyn Store>,
    keys: Keyspace,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Core>, CountError> {
    let cache = Cache::start(
        store.clone(),
        keys.state(),
        StateProjection::new(keys.clone()),
        Arc::new(EpochKeeper::new(
            store.clone(),
            keys.clone(),
            clock.clone(),
            Settings::default(),
        )),
        CacheSettings {
            log_revisions: LOG_REVISIONS,
            ..CacheSettings::default()
        },
        clock.clone(),
    );
    Ok(Arc::new(Core {
        store,
        cache,
        keys,
        clock,
        settings: Settings::default(),
        replica: ReplicaId::parse("0123456789abcdef")?,
        removals: Removals::default(),
        acknowledged: Acknowledged::default(),
    }))
}
