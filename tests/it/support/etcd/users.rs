//! Users of a cluster: root for the tests, and one for the replicas.

use etcd_client::{ConnectOptions, Permission};

use super::Etcd;

/// The user of the replicas.
pub const USER: &str = "stanchion";
pub const PASSWORD: &str = "correct horse";
/// The role that lets it do what it is to do.
const ROLE: &str = "tenant";

// === impl Etcd ===

impl Etcd {
    /// Lets in nobody but root and a user who may do what it likes with keys that begin so.
    pub async fn guard(&mut self, prefix: &str) {
        let mut client = self.client(0).await;
        client.role_add("root").await.unwrap();
        client.user_add("root", "root", None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.role_add(ROLE).await.unwrap();
        let below = Permission::read_write(prefix).with_prefix();
        client.role_grant_permission(ROLE, below).await.unwrap();
        self.add_user().await;
        client.auth_enable().await.unwrap();
        self.options = ConnectOptions::new().with_user("root", "root");
    }

    /// Gives the replicas their user, who may do what it is to do.
    pub async fn add_user(&self) {
        let mut client = self.client(0).await;
        client.user_add(USER, PASSWORD, None).await.unwrap();
        self.allow_user().await;
    }

    /// Takes the replicas their user.
    pub async fn remove_user(&self) {
        self.client(0).await.user_delete(USER).await.unwrap();
    }

    /// Lets the user do what it is to do.
    pub async fn allow_user(&self) {
        let mut client = self.client(0).await;
        client.user_grant_role(USER, ROLE).await.unwrap();
    }

    /// Lets the user in, and do nothing.
    pub async fn forbid_user(&self) {
        let mut client = self.client(0).await;
        client.user_revoke_role(USER, ROLE).await.unwrap();
    }
}
