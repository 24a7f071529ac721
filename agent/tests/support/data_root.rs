//! A data root as engine 20.10 leaves it, with a container of each kind that a remap treats differently.

use super::tree::{Listing, file, give, herd, listing, permit, zoo};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Uses volume `data`.
pub(crate) const DB: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Runs with `--network=host`, and uses volume `agent`.
pub(crate) const AGENT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn private(path: &Path) {
    fs_err::create_dir_all(path).unwrap();
    permit(path, 0o710);
}

/// Writes a container's directory. `more` is added to `hostconfig.json`.
pub(crate) fn container(root: &Path, id: &str, name: &str, mounts: &str, host: &str) {
    let directory = root.join("containers").join(id);
    private(&directory);
    private(&directory.join("mounts"));
    fs_err::create_dir(directory.join("mounts/shm")).unwrap();
    fs_err::create_dir(directory.join("checkpoints")).unwrap();
    for (name, text) in [("hostname", "c\n"), ("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "")] {
        file(&directory.join(name), text, 0, 0, 0o644);
    }
    file(&directory.join(format!("{id}-json.log")), "{\"log\":\"x\"}\n", 0, 0, 0o640);
    let config = format!(
        r#"{{"State":{{"Running":false}},"ID":"{id}","Args":["a \u0026\u0026 b"],"Name":"/{name}","Driver":"overlay2","MountPoints":{{{mounts}}},"Unknown":1.50}}"#
    );
    file(&directory.join("config.v2.json"), &config, 0, 0, 0o600);
    let host = format!(r#"{{"Binds":null,"NetworkMode":"default",{host}"UsernsMode":"","ShmSize":67108864}}"#);
    file(&directory.join("hostconfig.json"), &host, 0, 0, 0o644);
}

/// A mount of a local volume, as `config.v2.json` has it.
pub(crate) fn volume_mount(root: &Path, name: &str) -> String {
    let source = root.join("volumes").join(name).join("_data");
    format!(
        r#""/{name}":{{"Source":"{}","Destination":"/{name}","RW":true,"Name":"{name}","Driver":"local","Type":"volume","Relabel":"z"}}"#,
        source.display()
    )
}

fn layer(root: &Path, id: &str) -> PathBuf {
    let directory = root.join("overlay2").join(id);
    private(&directory);
    fs_err::create_dir_all(directory.join("diff")).unwrap();
    fs_err::create_dir_all(directory.join("work/work")).unwrap();
    permit(&directory.join("work/work"), 0o000);
    file(&directory.join("link"), "ABCDEF", 0, 0, 0o644);
    file(&directory.join("lower"), "l/ABCDEF", 0, 0, 0o644);
    fs_err::create_dir_all(root.join("overlay2/l")).unwrap();
    symlink(format!("../{id}/diff"), root.join("overlay2/l").join(format!("L{id}"))).unwrap();
    directory.join("diff")
}

/// Makes one, with a volume of `files` files.
pub(crate) fn data_root(root: &Path, files: u32) {
    private(root);
    private(&root.join("containers"));
    private(&root.join("overlay2"));
    zoo(&layer(root, "1111"));
    zoo(&layer(root, "2222"));
    // Made by an engine before 20.10.
    layer(root, "2222-init");
    permit(&root.join("overlay2/2222-init"), 0o700);
    for name in ["data", "agent", "tmpfs"] {
        fs_err::create_dir_all(root.join("volumes").join(name).join("_data")).unwrap();
    }
    permit(&root.join("volumes"), 0o701);
    give(&root.join("volumes/data/_data"), 999, 999);
    permit(&root.join("volumes/data/_data"), 0o700);
    herd(&root.join("volumes/data/_data"), files);
    file(&root.join("volumes/agent/_data/state"), "s", 7, 7, 0o4755);
    let options =
        r#"{"MountType":"tmpfs","MountOpts":"size=1m,uid=1000,gid=1001","MountDevice":"tmpfs","Quota":{"Size":0}}"#;
    file(&root.join("volumes/tmpfs/opts.json"), options, 0, 0, 0o600);
    file(&root.join("volumes/metadata.db"), "bolt", 0, 0, 0o600);
    for node in ["overlay2/backingFsBlockDev", "volumes/backingFsBlockDev"] {
        mknodat(CWD, root.join(node), FileType::BlockDevice, Mode::from_raw_mode(0o600), rustix::fs::makedev(7, 7))
            .unwrap();
    }
    for (path, text) in [
        ("image/overlay2/repositories.json", "{}"),
        ("network/files/local-kv.db", "bolt"),
        ("swarm/state.json", "{}"),
        ("plugins/storage/blobs/x", "b"),
        ("buildkit/cache.db", "bolt"),
        ("tmp/x", ""),
        ("engine-id", "id"),
    ] {
        fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        file(&root.join(path), text, 0, 0, 0o600);
    }
    container(root, DB, "db", &volume_mount(root, "data"), "");
    container(root, AGENT, "agent", &volume_mount(root, "agent"), r#""PidMode":"host","#);
}

/// What is in a data root, and what its files of text say. Of what is replaced or renamed, only what matters.
pub(crate) fn state(root: &Path) -> (Listing, BTreeMap<PathBuf, String>) {
    let mut found = listing(root, &[PathBuf::new()]);
    let mut texts = BTreeMap::new();
    for (path, seen) in &mut found {
        let json = path.extension().is_some_and(|extension| extension == "json");
        if json {
            texts.insert(path.clone(), fs_err::read_to_string(root.join(path)).unwrap());
        }
        if json || seen.mode & 0o170_000 == 0o040_000 {
            (seen.inode, seen.modified, seen.size, seen.blocks, seen.links) = Default::default();
        }
    }
    (found, texts)
}
