//! One call of the gRPC health protocol.

use std::io;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::service_fn;

use super::{
    AGENT,
    failure::{Failure, short},
};

/// The largest answer taken, in bytes: it is one number.
const MAX_ANSWER: usize = 4 * 1024;

/// Asks over a connection that is for this alone.
pub(super) async fn ask<S>(stream: S, origin: Uri, service: &str) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = Some(TokioIo::new(stream));
    let connect = service_fn(move |_: Uri| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| io::Error::other("there is one connection")) }
    });
    let endpoint = Endpoint::from(origin).user_agent(AGENT);
    let endpoint = endpoint.map_err(|error| Failure::Request(error.to_string()))?;
    let channel = endpoint.connect_with_connector(connect).await;
    let channel = channel.map_err(|_| Failure::Broken)?;
    let mut client = HealthClient::new(channel).max_decoding_message_size(MAX_ANSWER);
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = client.check(request).await.map_err(|s| failed(&s))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(Failure::NotServing(other.as_str_name().into())),
    }
}

fn failed(status: &Status) -> Failure {
    // The connection's own end is told as a status too, with what ended it.
    if std::error::Error::source(status).is_some() {
        return Failure::Broken;
    }
    Failure::NotServing(match status.code() {
        Code::NotFound => "that it knows no such service".into(),
        Code::Unimplemented => "that it does not speak the health protocol".into(),
        code => format!("{code:?}: {}", short(status.message())),
    })
}
