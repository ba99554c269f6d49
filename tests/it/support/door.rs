//! A door to a server: one address that stays while the server behind it is cut off or replaced.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Forwards connections to whatever is behind it.
pub struct Door {
    pub address: SocketAddr,
    /// Who is behind it; nobody while it is shut.
    behind: Arc<watch::Sender<Option<SocketAddr>>>,
    silence: Arc<watch::Sender<()>>,
    listening: JoinHandle<()>,
}

// === impl Door ===

impl Door {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = Arc::new(watch::Sender::new(Some(server)));
        let silence = Arc::new(watch::Sender::new(()));
        Self {
            address: listener.local_addr().unwrap(),
            listening: tokio::spawn(listen(listener, behind.clone(), silence.clone())),
            behind,
            silence,
        }
    }

    /// Cuts all connections and lets nobody in.
    pub fn shut(&self) {
        self.behind.send_replace(None);
    }

    /// Lets nothing through any more on the connections that there are, and leaves them open.
    pub fn fall_silent(&self) {
        self.silence.send_replace(());
    }

    /// Lets callers in to this server.
    pub fn open(&self, server: SocketAddr) {
        self.behind.send_replace(Some(server));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(
    listener: TcpListener,
    behind: Arc<watch::Sender<Option<SocketAddr>>>,
    silence: Arc<watch::Sender<()>>,
) {
    loop {
        let (mut outside, _) = listener.accept().await.unwrap();
        let mut moved = behind.subscribe();
        let mut silent = silence.subscribe();
        let Some(server) = *moved.borrow_and_update() else {
            continue;
        };
        tokio::spawn(async move {
            let Ok(mut inside) = TcpStream::connect(server).await else {
                return;
            };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut outside, &mut inside) => {}
                _ = moved.changed() => {}
                _ = silent.changed() => {
                    let _ = moved.changed().await;
                }
            }
        });
    }
}
