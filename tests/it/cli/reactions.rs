//! `stanchion config edit`, `config get --out`, `config watch -- CMD`: configs for people with editors
//! and programs that only read files.

use std::{fs, os::unix::fs::PermissionsExt};

use super::Shell;
use crate::support::server::{Backend, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_saved_in_the_editor_is_written_unless_somebody_was_faster() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    shell
        .text("config put a 1 --type json --label k=v --description d")
        .await;
    let edit = async |editor: &str, arguments: &str| {
        let mut command = shell.command(&format!("config edit {arguments}"));
        command.env("EDITOR", editor).env_remove("VISUAL");
        command.output().await.unwrap()
    };

    let output = edit("printf '2\\n' >", "a -m edited").await;
    assert!(output.status.success(), "{output:?}");
    let config = shell.json("config get a").await;
    assert_eq!(config["content"], "2");
    assert_eq!(config["content_type"], "json");
    assert_eq!(config["labels"]["k"], "v");
    assert_eq!(config["description"], "d");
    assert_eq!(config["comment"], "edited");

    let output = edit("true", "a").await;
    assert!(output.status.success(), "{output:?}");
    let output = edit("false", "a").await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(shell.json("config get a").await["version"], 2);

    let faster = format!(
        "{} config put a 3 && printf 4 >",
        env!("CARGO_BIN_EXE_stanchion")
    );
    let output = edit(&faster, "a").await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(shell.text("config get a").await, "3");
    // What was typed is not lost.
    let error = String::from_utf8(output.stderr).unwrap();
    let (_, draft) = error.split_once("edited text is in ").unwrap();
    let draft = std::path::Path::new(draft.lines().next().unwrap());
    assert_eq!(fs::read(draft).unwrap(), b"4");
    fs::remove_dir_all(draft.parent().unwrap()).unwrap();

    let output = edit("printf 5 >", "new.yaml").await;
    assert!(output.status.success(), "{output:?}");
    let config = shell.json("config get new.yaml").await;
    assert_eq!(config["content_type"], "yaml");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_shows_the_config_and_keeps_its_mode() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    shell.text("config put a 1").await;
    shell
        .text(&format!("config get a --out {}", path.display()))
        .await;
    assert_eq!((fs::read(&path).unwrap(), mode()), (b"1".to_vec(), 0o600));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut watch = shell.start_alone(&format!("config watch a --out {}", path.display()));
    shell.text("config put a 2").await;
    let shows = async |content: &[u8]| {
        let what = format!("{content:?} in the file");
        eventually(&what, async || {
            (fs::read(&path).unwrap() == content).then_some(())
        })
        .await;
    };
    shows(b"2").await;
    assert_eq!(mode(), 0o644);
    // What is deleted stays in the file.
    shell.text("config delete a").await;
    shell.text("config put a 3").await;
    shows(b"3").await;
    watch.signal("TERM");
    assert_eq!(watch.end().await.code(), Some(128 + 15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_starts_with_its_config_and_anew_at_each_content() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let show = "echo $STANCHION_CONFIG $(cat $STANCHION_CONFIG_FILE) $$; cat";
    let arguments = format!("config watch a --out {}", path.display());
    let mut running = shell.start(&arguments, &["sh", "-c", show]);

    shell.text("config put a 1").await;
    let first = running.line().await;
    let (said, first) = first.rsplit_once(' ').unwrap();
    assert_eq!(said, "a 1");
    // A label concerns nobody who reads the file.
    shell.text("config put a 1 --label k=v").await;
    shell.text("config put a 2").await;
    let second = running.line().await;
    let (said, second) = second.rsplit_once(' ').unwrap();
    assert_eq!(said, "a 2");
    assert_ne!(first, second);
    assert!(!std::path::Path::new("/proc").join(first).exists());

    running.signal("TERM");
    assert_eq!(running.end().await.code(), Some(128 + 15));
    assert!(!std::path::Path::new("/proc").join(second).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_wants_a_signal_is_not_restarted() {
    let backend = Backend::embedded().await;
    let server = backend.server().await;
    let shell = Shell::at(server.address);
    shell.text("config put shop/a 1").await;
    let command = [
        "sh",
        "-c",
        "trap 'echo again' HUP; trap 'exit 7' USR1; echo $$; while :; do sleep 0.05; done",
    ];
    let mut running = shell.start("config watch --prefix shop/ --signal HUP", &command);
    running.line().await;
    shell.text("config put shop/b 1").await;
    assert_eq!(running.line().await, "again");
    shell.text("config delete shop/a").await;
    assert_eq!(running.line().await, "again");
    running.signal("USR1");
    assert_eq!(running.end().await.code(), Some(7));

    assert_eq!(shell.code("config watch shop/b -- /no/such").await, 127);
    assert_eq!(
        shell
            .code("config watch shop/b --signal KILL -- true")
            .await,
        2
    );
    assert_eq!(shell.code("config watch shop/b --signal HUP").await, 2);
}
