//! What servers tell over plain HTTP.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Reads a page; returns it with its head.
pub fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The sum of a counter or gauge over its series whose labels contain `label` (as in
/// `grpc_method="Txn"`), in a page of metrics. Panics when there is no such metric.
pub fn metric(page: &str, name: &str, label: &str) -> f64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once('}')?,
            None => ("", rest),
        };
        let value = rest.strip_prefix(' ')?.trim().parse::<f64>().ok()?;
        Some((labels.contains(label), value))
    });
    let values: Vec<_> = values.collect();
    assert!(!values.is_empty(), "there is no metric {name}");
    let wanted = values.iter().filter(|(wanted, _)| *wanted);
    wanted.map(|(_, value)| value).sum()
}
