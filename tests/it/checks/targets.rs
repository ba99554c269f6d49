//! Things to check: servers that behave as they are told.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use stanchion::checks::Target;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server that treats every connection alike. Gone when dropped.
pub struct Listening {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A server whose answers have the status that it is told. Gone when dropped.
pub struct Switch {
    pub listening: Listening,
    status: Arc<AtomicU16>,
    /// That of the next answer alone; 0: the same as ever.
    next: Arc<AtomicU16>,
}

// === impl Listening ===

impl Listening {
    pub async fn with<F, T>(treat: F) -> Self
    where
        F: Fn(TcpStream) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(treat(stream));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// Answers a request with `answer`, then closes.
    pub async fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::with(move |stream| respond(stream, answer.clone())).await
    }

    /// Accepts, and says nothing for ever.
    pub async fn hanging() -> Self {
        Self::with(|mut stream| async move {
            let mut taken = Vec::new();
            let _ = stream.read_to_end(&mut taken).await;
            std::future::pending().await
        })
        .await
    }

    /// Resets the connection once something was asked.
    pub async fn resetting() -> Self {
        Self::with(|mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            stream.set_zero_linger().unwrap();
        })
        .await
    }

    /// Sends a good head and a body without end.
    pub async fn endless() -> Self {
        Self::with(|mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
            while stream.write_all(&chunk).await.is_ok() {}
        })
        .await
    }

    /// Sends a head without end.
    pub async fn endless_head() -> Self {
        Self::with(|mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            let header = format!("x: {}\r\n", "y".repeat(8000));
            while stream.write_all(header.as_bytes()).await.is_ok() {}
        })
        .await
    }

    /// Answers after a while.
    pub async fn slow(pause: Duration) -> Self {
        Self::with(move |stream| async move {
            tokio::time::sleep(pause).await;
            respond(stream, ok()).await;
        })
        .await
    }

    pub fn target(&self) -> Target {
        Target {
            host: self.address.ip().to_string(),
            port: Some(self.address.port()),
        }
    }

    pub fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Switch ===

impl Switch {
    pub async fn new() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let next = Arc::new(AtomicU16::new(0));
        let (shown, once) = (status.clone(), next.clone());
        let treat = move |stream| {
            let status = match once.swap(0, Ordering::SeqCst) {
                0 => shown.load(Ordering::SeqCst),
                status => status,
            };
            let answer = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
            Box::pin(respond(stream, answer)) as BoxFuture<'static, ()>
        };
        Self {
            listening: Listening::with(treat).await,
            status,
            next,
        }
    }

    pub fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Gives one answer another status.
    pub fn set_once(&self, status: u16) {
        self.next.store(status, Ordering::SeqCst);
    }
}

pub fn ok() -> String {
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()
}

/// Reads the head of a request and answers it.
pub async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    // What was asked is put where the answer says so.
    let asked = String::from_utf8(head).unwrap();
    let answer = match asked.contains("x-expected: yes\r\n") {
        true => ok(),
        false => answer,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
