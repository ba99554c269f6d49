//! Traces, as a collector gets them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use rustix::process::Signal;
use stanchion_client::proto::PutConfigRequest;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, async_trait, transport::Server};

use crate::support::{etcd::Etcd, process::Process, raw::RawClient};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const PUT_CONFIG: &str = "/stanchion.v1.ConfigService/PutConfig";

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

// === impl Collector ===

impl Collector {
    /// Serves, and returns the address as an endpoint.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        endpoint
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let name = attributes.iter().find(|a| a.key == "service.name").unwrap();
            let name = name.value.as_ref().unwrap().value.as_ref().unwrap();
            assert_eq!(*name, Value::StringValue("stanchion".into()));
            let spans = resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_continues_the_trace_of_its_caller_down_to_etcd() {
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let root = format!("trace-{:016x}", rand::random::<u64>());
    let etcd = Etcd::shared().await.endpoint();
    let mut process = Process::serve(&[
        &format!("--store=etcd://{etcd}/{root}"),
        &format!("--telemetry-otlp-endpoint={endpoint}"),
        // Of logs alone.
        "--telemetry-log=error",
    ])
    .await;
    let mut client = RawClient::connect(process.address).await;
    let put = PutConfigRequest {
        key: "a".into(),
        ..PutConfigRequest::default()
    };
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let traced = [("traceparent", parent.as_str())];
    let answer = client.call(PUT_CONFIG, &traced, &put).await;
    assert_eq!(answer.status.code(), Code::Ok);
    let nonsense = client.send("/no.such/Method", &traced, "").await;
    assert_eq!(nonsense.status.code(), Code::Unimplemented);
    // What is left is sent at the end.
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(0));

    let spans = collector.spans();
    let of_trace: Vec<_> = spans
        .iter()
        .filter(|span| hex(&span.trace_id) == TRACE)
        .collect();
    let call = |name: &str| {
        let mut named = of_trace.iter().filter(|span| span.name == name);
        let call = named
            .next()
            .unwrap_or_else(|| panic!("no {name}: {of_trace:?}"));
        assert!(named.next().is_none(), "two spans for one call");
        assert_eq!(hex(&call.parent_span_id), CALLER);
        call
    };
    let put = call(PUT_CONFIG.trim_start_matches('/'));
    assert_eq!(
        attribute(put, "rpc.grpc.status_code"),
        Some(Value::IntValue(0))
    );
    let unknown = call("unknown");
    assert_eq!(unknown.status.as_ref().unwrap().code, 2, "an error");

    // The transaction hangs on the call, through however many spans.
    let by_id: HashMap<_, _> = of_trace.iter().map(|span| (&span.span_id, span)).collect();
    let txn = of_trace.iter().find(|span| span.name == "etcd.txn");
    let mut span = txn.unwrap_or_else(|| panic!("no transaction in {of_trace:?}"));
    while span.span_id != put.span_id {
        span = by_id[&span.parent_span_id];
    }
    // What nobody asked for is no part of it, and the exporter does not trace itself.
    let exporter = spans
        .iter()
        .find(|span| span.name.contains("opentelemetry"));
    assert!(exporter.is_none(), "{exporter:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_nothing() {
    let mut process = Process::serve(&[
        "--store=memory:",
        "--telemetry-otlp-endpoint=http://127.0.0.1:1",
    ])
    .await;
    let mut client = RawClient::connect(process.address).await;
    let put = PutConfigRequest {
        key: "a".into(),
        ..PutConfigRequest::default()
    };
    let answer = client.call(PUT_CONFIG, &[], &put).await;
    assert_eq!(answer.status.code(), Code::Ok);
    process.signal(Signal::TERM);
    assert_eq!(process.end().await.code(), Some(0));
    assert!(!process.log().contains("\"ERROR\""), "{}", process.log());
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    let found = span.attributes.iter().find(|a| a.key == key)?;
    found.value.clone()?.value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
