//! From requests to what they ask for.

use stanchion_client::proto::{
    CampaignRequest, ProclaimRequest, ResignRequest, campaign_request, resign_request,
};
use tonic::Status;

use crate::{
    domain::{
        Error,
        keyspace::{QueueKind, QueuePath},
        lock::{Acquire, LockMode, MAX_PROCLAMATION, Proclaim, Release, Which},
        names::QueueName,
    },
    rpc::{
        convert::{Violations, wait},
        lock::{MAX_METADATA, MAX_METADATA_BYTES},
        status,
    },
};

pub(super) fn campaign(request: CampaignRequest) -> Result<Acquire, Status> {
    let mut violations = Violations::new();
    let election = path(&mut violations, &request.namespace, &request.election);
    let session = violations.session_id(&request.session_id);
    let request_id = violations.request_id(&request.request_id);
    let wait = wait!(violations, request.wait, campaign_request);
    let candidate = violations.label("candidate", &request.candidate);
    check_proclamation(&mut violations, &request.proclamation);
    let metadata = violations.metadata(
        "metadata",
        request.metadata,
        MAX_METADATA,
        MAX_METADATA_BYTES,
    );
    let guard = violations.guard(request.guard, &request.namespace);
    Ok(Acquire {
        lock: violations.give(election)?,
        // One that cannot be is as good as one that is gone.
        session: session.ok_or_else(|| status::of(Error::LeaseExpired))?,
        request_id,
        wait,
        reentrant: None,
        mode: LockMode::Exclusive,
        delay: None,
        owner: candidate,
        metadata,
        proclamation: request.proclamation,
        // What is shown of candidates does not say it.
        address: String::new(),
        guard,
        let_go: None,
    })
}

pub(super) fn proclaim(request: ProclaimRequest) -> Result<Proclaim, Status> {
    let mut violations = Violations::new();
    let election = path(&mut violations, &request.namespace, &request.election);
    let session = violations.session_id(&request.session_id);
    check_term(&mut violations, request.term);
    check_proclamation(&mut violations, &request.proclamation);
    let guard = violations.guard(request.guard, &request.namespace);
    Ok(Proclaim {
        election: violations.give(election)?,
        session,
        term: request.term,
        proclamation: request.proclamation,
        guard,
    })
}

pub(super) fn resign(request: ResignRequest) -> Result<Release, Status> {
    let mut violations = Violations::new();
    let election = path(&mut violations, &request.namespace, &request.election);
    let session = violations.session_id(&request.session_id);
    let which = match request.claim {
        None => Which::Request(String::new()),
        Some(resign_request::Claim::RequestId(id)) => Which::Request(violations.request_id(&id)),
        Some(resign_request::Claim::Term(term)) => {
            check_term(&mut violations, term);
            Which::Token(term)
        }
    };
    let guard = violations.guard(request.guard, &request.namespace);
    Ok(Release {
        lock: violations.give(election)?,
        session,
        reentrant: None,
        which,
        guard,
    })
}

pub(super) fn path(
    violations: &mut Violations,
    namespace: &str,
    election: &str,
) -> Option<QueuePath> {
    let namespace = violations.namespace(namespace);
    let name = violations.take("election", QueueName::parse(election));
    Some(QueuePath {
        kind: QueueKind::Election,
        namespace: namespace?,
        name: name?,
    })
}

fn check_term(violations: &mut Violations, term: i64) {
    if term <= 0 {
        violations.add("term", "must be positive");
    }
}

fn check_proclamation(violations: &mut Violations, proclamation: &[u8]) {
    let size = proclamation.len();
    if size > MAX_PROCLAMATION {
        violations.add(
            "proclamation",
            format!("must be at most {MAX_PROCLAMATION} bytes, is {size}"),
        );
    }
}
