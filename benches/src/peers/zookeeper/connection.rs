//! A session with ZooKeeper over one connection: requests go out in a row, answers come back in
//! the same order, and what a watch tells comes between them.

use std::{collections::VecDeque, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::jute::{put_buffer, put_string, take_buffer, take_i32, take_i64};
use crate::BenchError;

/// What the session asks for; the server's own limit is twenty of its ticks, 40 s by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);

/// `xid` of what a watch tells.
const NOTICE: i32 = -1;

/// `xid` of pings and of their answers.
const PING: i32 = -2;

/// Numbers of the operations, as in `ZooDefs.OpCode`.
mod operation {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const GET_DATA: i32 = 4;
    pub(super) const SET_DATA: i32 = 5;
    pub(super) const GET_CHILDREN: i32 = 8;
    pub(super) const PING: i32 = 11;
}

/// How long a znode lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Until it is deleted.
    Persistent,
    /// The same; a number that grows is appended to its name.
    PersistentNumbered,
    /// As long as the session that created it.
    Ephemeral,
    /// The same, numbered.
    EphemeralNumbered,
}

/// A session that is open. Ends some time after this is dropped.
pub(super) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    next_xid: i32,
    /// Requests without an answer, oldest first.
    pending: VecDeque<i32>,
    /// How many notices came while an answer was waited for.
    notices: usize,
    /// After how much silence a ping is due.
    ping_after: Duration,
}

// === impl Connection ===

impl Connection {
    /// Connects and opens a session.
    pub(super) async fn open(port: u16) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = Self {
            stream,
            input: BytesMut::with_capacity(16 * 1024),
            output: BytesMut::with_capacity(4 * 1024),
            next_xid: 1,
            pending: VecDeque::new(),
            notices: 0,
            ping_after: SESSION_TIMEOUT / 3,
        };
        connection.frame(|output| {
            output.put_i32(0); // version of the protocol
            output.put_i64(0); // last transaction seen
            output.put_i32(SESSION_TIMEOUT.as_millis() as i32);
            output.put_i64(0); // a new session
            put_buffer(output, &[0; 16]); // which has no password yet
            output.put_u8(0); // may not be read-only
        });
        connection.flush().await?;
        let mut answer = connection.read_frame().await?;
        let _version = take_i32(&mut answer)?;
        match u64::try_from(take_i32(&mut answer)?) {
            Ok(millis) if millis > 0 => {
                connection.ping_after = Duration::from_millis(millis / 3);
                Ok(connection)
            }
            _ => Err(BenchError::Failed("ZooKeeper refused a session".to_owned())),
        }
    }

    /// Queues a creation. Answered with a path.
    pub(super) fn create(&mut self, path: &str, data: &[u8], lifetime: Lifetime) {
        self.request(operation::CREATE, |output| {
            put_string(output, path);
            put_buffer(output, data);
            output.put_i32(1); // one entry of access control:
            output.put_i32(0x1f); // all permissions
            put_string(output, "world");
            put_string(output, "anyone");
            output.put_i32(match lifetime {
                Lifetime::Persistent => 0,
                Lifetime::Ephemeral => 1,
                Lifetime::PersistentNumbered => 2,
                Lifetime::EphemeralNumbered => 3,
            });
        });
    }

    /// Queues a deletion, whatever the version of the znode is. Answered with nothing.
    pub(super) fn delete(&mut self, path: &str) {
        self.request(operation::DELETE, |output| {
            put_string(output, path);
            output.put_i32(-1);
        });
    }

    /// Queues a read, which also sets a watch if asked to. Answered with the data, see [`data`].
    pub(super) fn get_data(&mut self, path: &str, watch: bool) {
        self.request(operation::GET_DATA, |output| {
            put_string(output, path);
            output.put_u8(u8::from(watch));
        });
    }

    /// Queues a write, whatever the version of the znode is.
    pub(super) fn set_data(&mut self, path: &str, data: &[u8]) {
        self.request(operation::SET_DATA, |output| {
            put_string(output, path);
            put_buffer(output, data);
            output.put_i32(-1);
        });
    }

    /// Queues a listing. Answered with names, see [`children`].
    pub(super) fn get_children(&mut self, path: &str) {
        self.request(operation::GET_CHILDREN, |output| {
            put_string(output, path);
            output.put_u8(0);
        });
    }

    /// Sends what is queued.
    pub(super) async fn flush(&mut self) -> Result<(), BenchError> {
        self.stream.write_all(&self.output).await.map_err(failed)?;
        self.output.clear();
        Ok(())
    }

    /// Waits for the answer to the oldest request.
    pub(super) async fn answer(&mut self) -> Result<Bytes, BenchError> {
        loop {
            let mut frame = self.read_frame().await?;
            if let Some(answer) = self.sort(&mut frame)? {
                return Ok(answer);
            }
        }
    }

    /// Sends what is queued and waits for the answer; there is one request.
    pub(super) async fn call(&mut self) -> Result<Bytes, BenchError> {
        self.flush().await?;
        self.answer().await
    }

    /// Waits until a watch tells something, and keeps the session alive meanwhile.
    pub(super) async fn notice(&mut self) -> Result<(), BenchError> {
        while self.notices == 0 {
            match timeout(self.ping_after, self.read_frame()).await {
                Ok(frame) => {
                    self.sort(&mut frame?)?;
                }
                Err(_) => {
                    self.frame(|output| {
                        output.put_i32(PING);
                        output.put_i32(operation::PING);
                    });
                    self.flush().await?;
                }
            }
        }
        self.notices -= 1;
        Ok(())
    }

    fn request(&mut self, operation: i32, body: impl FnOnce(&mut BytesMut)) {
        let xid = self.next_xid;
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        self.pending.push_back(xid);
        self.frame(|output| {
            output.put_i32(xid);
            output.put_i32(operation);
            body(output);
        });
    }

    /// Queues a frame: its length, which is known afterwards, and what `body` appends.
    fn frame(&mut self, body: impl FnOnce(&mut BytesMut)) {
        let start = self.output.len();
        self.output.put_i32(0);
        body(&mut self.output);
        let length = (self.output.len() - start - 4) as i32;
        self.output[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The body of an answer; nothing if the frame is something else.
    fn sort(&mut self, frame: &mut Bytes) -> Result<Option<Bytes>, BenchError> {
        let xid = take_i32(frame)?;
        let _transaction = take_i64(frame)?;
        let error = take_i32(frame)?;
        match xid {
            NOTICE => {
                self.notices += 1;
                Ok(None)
            }
            PING => Ok(None),
            _ if self.pending.pop_front() != Some(xid) => Err(BenchError::Failed(format!(
                "ZooKeeper answered request {xid} out of turn"
            ))),
            _ if error != 0 => Err(BenchError::Failed(format!(
                "ZooKeeper refused a request with error {error}"
            ))),
            _ => Ok(Some(std::mem::take(frame))),
        }
    }

    async fn read_frame(&mut self) -> Result<Bytes, BenchError> {
        loop {
            if let Some(length) = self.input.first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if self.input.len() >= 4 + length {
                    self.input.advance(4);
                    return Ok(self.input.split_to(length).freeze());
                }
            }
            self.input.reserve(4 * 1024);
            let read = self
                .stream
                .read_buf(&mut self.input)
                .await
                .map_err(failed)?;
            if read == 0 {
                return Err(BenchError::Failed(
                    "ZooKeeper closed a connection".to_owned(),
                ));
            }
        }
    }
}

/// The data that a read was answered with.
pub(super) fn data(mut answer: Bytes) -> Result<Bytes, BenchError> {
    take_buffer(&mut answer)
}

/// The path that a creation was answered with.
pub(super) fn path(mut answer: Bytes) -> Result<String, BenchError> {
    let path = take_buffer(&mut answer)?;
    Ok(String::from_utf8_lossy(&path).into_owned())
}

/// The names that a listing was answered with.
pub(super) fn children(mut answer: Bytes) -> Result<Vec<Bytes>, BenchError> {
    let count = take_i32(&mut answer)?.max(0);
    (0..count).map(|_| take_buffer(&mut answer)).collect()
}

fn failed(source: std::io::Error) -> BenchError {
    BenchError::io("cannot talk to ZooKeeper", source)
}
