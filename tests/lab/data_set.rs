//! An engine's data with all in it that a remap can break (`data-set/`), migrated and taken back on a real host: every inode
//! is compared with what the three classes of ownership demand, and every container asked what it sees.

mod compare;
mod recipe;
mod site;

use crate::support::Lab;
use compare::Facts;
use rollgate::journal::HostState;
use site::{START, Site};

/// What containers write while they run remapped, and what the test itself writes.
const MEANWHILE: [&str; 4] =
    ["volumes/pgdata/_data/rows", "volumes/special/_data/meanwhile*", "*/diff/tmp", "*/diff/tmp/*"];

/// Files of a container's own while it is remapped: one of each sort that is to come back.
const WRITE: &str = "docker exec web sh -ec '
    mkdir /special/meanwhile; cd /special/meanwhile; echo x >of-999; chown 999:999 of-999
    cp /bin/busybox setuid; chown 1000:1000 setuid; chmod 4755 setuid; ln setuid other-name; mkdir private; chmod 700 private'
  at=$(docker volume inspect -f '{{.Mountpoint}}' special)/meanwhile
  python3 -c 'import os, struct, sys
os.setxattr(sys.argv[1], \"security.capability\", struct.pack(\"<6I\", 0x03000001, 1 << 13, 0, 0, 0, int(sys.argv[2])))' $at/of-999 ";

/// Returns what the containers saw before.
fn goes_there_and_back(site: &Site<'_>, strategy: &str) -> Facts {
    let before = site.view();
    compare::is_as_filled(&before);

    let run = site.migrate(strategy);
    run.expect_states(&[("h1", HostState::Changed)]);
    let remapped = site.view();
    compare::remapped(&before, &remapped, site.root());
    site.expect_migrated(strategy);

    site.root_shell(&format!("{WRITE}{START}"));
    site.roll_back(&run);
    let back = site.view();
    let differing = compare::differing(&before, &back);
    let (own, other): (Vec<_>, Vec<_>) =
        differing.iter().partition(|line| line.starts_with("+ file: /special/meanwhile"));
    assert_eq!((own.len(), other), (5, Vec::new()), "the containers see something else than before");
    site.expect_taken_back();
    site.expect_as_before(&MEANWHILE, strategy);
    let capability = "import os, sys; print(os.getxattr(sys.argv[1], 'security.capability').hex())";
    let path = format!("{}/volumes/special/_data/meanwhile/of-999", site.root());
    let found = site.root_shell(&format!("python3 -c \"{capability}\" {path}"));
    assert_eq!(found.trim(), "0100000200200000000000000000000000000000", "a capability set inside holds outside again");
    site.root_shell("docker exec web rm -r /special/meanwhile");
    before
}

/// Strategies that take long are for the full tier.
fn is_full() -> bool {
    std::env::var("ROLLGATE_FULL").is_ok_and(|full| full == "1")
}

#[test]
fn the_data_set_is_copied_and_comes_back() {
    let Some(lab) = is_full().then(|| Lab::with("data-set-copy", &["h1"])).flatten() else { return };
    goes_there_and_back(&Site::filled(&lab, "h1", 200_000), "copy");
}

#[test]
fn the_data_set_is_copied_by_sharing_bytes_on_xfs_and_comes_back() {
    let Some(lab) = is_full().then(|| Lab::with("data-set-reflink", &["h1"])).flatten() else { return };
    goes_there_and_back(&Site::filled_on_xfs(&lab, "h1", 200_000), "reflink");
}

#[test]
fn the_data_set_is_moved_and_comes_back_and_the_recipe_fails_on_it() {
    let Some(lab) = Lab::with("data-set", &["h1"]) else { return };
    let site = Site::filled(&lab, "h1", 200_000);
    let before = goes_there_and_back(&site, "move");
    recipe::fails_where_it_is_said_to(&site, &before);
}
