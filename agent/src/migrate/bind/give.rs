//! Giving a bound path to the range, and taking it back. Both are functions of the record and of what is there, so that
//! doing them twice, or after an interruption anywhere, is doing them once.

use super::book::{Book, Known, Standing, Wish};
use crate::files::{digest_of, hex, unhex};
use crate::migrate::acl::{self, ACLS};
use crate::migrate::beneath::{Base, Found};
use crate::migrate::caps::CAPABILITY;
use crate::migrate::ids::{Direction, Mapping, Place};
use crate::migrate::inode::{Inode, is_whiteout, kind};
use crate::migrate::manifest::links;
use crate::migrate::walk::{Visitor, walk};
use crate::migrate::{MigrateError, Watch};
use crate::undo::{path_of, path_text};
use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, statx, syncfs};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Setuid and setgid.
const SET_IDS: u32 = 0o6000;

/// Owner, group and others, setuid, setgid and sticky.
const PERMISSIONS: u32 = 0o7777;

/// How many inodes are written down at once, which waits for the disk.
const BATCH: usize = 2048;

/// How many are named.
const NAMED: usize = 20;

/// How containers may use a path under the remap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Owners are shifted into the range.
    Chown,
    /// Owners stay; the container's root is let in by an access list.
    Acl,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Inodes looked at.
    pub inodes: u64,
    /// Inodes changed.
    pub changed: u64,
    /// On the way back: what was made since, and had no owner or mode to get back; some of them.
    pub made_since: Vec<String>,
    /// On the way back: files that have been written to since, and do not get setuid, setgid or capabilities back.
    pub lost: Vec<String>,
}

/// A path and what is to be done with it.
pub struct Bind<'a> {
    base: Base,
    start: PathBuf,
    wish: Wish,
    watch: &'a dyn Watch,
}

impl<'a> Bind<'a> {
    /// A path that is no link and no mount.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn new(
        path: &Path,
        mapping: Mapping,
        policy: Policy,
        recurse: bool,
        watch: &'a dyn Watch,
    ) -> Result<Self, MigrateError> {
        Self::of(Wish { path: path_text(path), mapping, policy, recurse }, watch)
    }

    /// The path of a record. None if there is nothing to take back.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn recorded(book: &Book, watch: &'a dyn Watch) -> Result<Option<Self>, MigrateError> {
        match (book.standing(), book.wish()) {
            (Standing::AsItWas, _) | (_, None) => Ok(None),
            (_, Some(wish)) => Self::of(wish.clone(), watch).map(Some),
        }
    }

    fn of(wish: Wish, watch: &'a dyn Watch) -> Result<Self, MigrateError> {
        let path = path_of(&wish.path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(MigrateError::Refused(format!("{} is no path that can be given away", path.display())));
        };
        Ok(Self { base: Base::open(parent)?, start: PathBuf::from(name), wish, watch })
    }

    /// What would be changed, and what forbids it.
    ///
    /// # Errors
    /// [`MigrateError`].
    pub fn look(&self) -> Result<Given, MigrateError> {
        let mut looker = Looker::new(self, None);
        self.visit(&mut looker)?;
        // Somebody could have put /etc/shadow there by another name.
        match looker.links.values().find(|(left, _)| *left > 0) {
            Some((_, file)) => Err(MigrateError::Refused(format!("{file} has another name outside of what is given"))),
            None => Ok(looker.given),
        }
    }

    /// Writes everything down, then gives it.
    ///
    /// # Errors
    /// [`MigrateError`]; it can be run again, or taken back.
    pub fn give(&self, book: &mut Book) -> Result<Given, MigrateError> {
        if book.standing() == Standing::AsItWas {
            self.look()?;
            self.watch.before_change()?;
            book.begin(self.wish.clone())?;
            let mut looker = Looker::new(self, Some(book));
            self.visit(&mut looker)?;
            self.watch.before_change()?;
            book.noted()?;
        } else if book.wish() != Some(&self.wish) {
            return Err(MigrateError::Refused(format!(
                "{} has been given in another way before: take that back first",
                path_of(&self.wish.path).display()
            )));
        }
        let given = self.put(book, Direction::Into)?;
        self.watch.before_change()?;
        book.given()?;
        Ok(given)
    }

    /// Puts everything that was written down back.
    ///
    /// # Errors
    /// [`MigrateError`]; it can be run again.
    pub fn take_back(&self, book: &mut Book) -> Result<Given, MigrateError> {
        let given = self.put(book, Direction::OutOf)?;
        self.watch.before_change()?;
        book.taken_back()?;
        Ok(given)
    }

    fn put(&self, book: &Book, direction: Direction) -> Result<Given, MigrateError> {
        let mut putter = Putter { bind: self, book, direction, given: Given::default() };
        self.visit(&mut putter)?;
        let dir = self.base.dir(Path::new(""))?;
        syncfs(&dir).map_err(|error| MigrateError::system("sync the file system of", self.base.path(), error))?;
        Ok(putter.given)
    }

    fn visit(&self, visitor: &mut (dyn OneByOne + Send)) -> Result<(), MigrateError> {
        walk(&self.base, std::slice::from_ref(&self.start), vec![Visiting { bind: self, visitor }])?;
        Ok(())
    }

    fn full(&self, inode: &Inode<'_>) -> String {
        self.base.full(inode.path()).display().to_string()
    }
}

/// Something done with each inode, one after the other.
trait OneByOne {
    fn one(&mut self, inode: &Inode<'_>, stat: &Stat) -> Result<(), MigrateError>;

    fn end(&mut self) -> Result<(), MigrateError> {
        Ok(())
    }
}

struct Visiting<'a> {
    bind: &'a Bind<'a>,
    visitor: &'a mut (dyn OneByOne + Send),
}

impl Visitor for Visiting<'_> {
    fn visit(&mut self, found: &Found<'_>) -> Result<bool, MigrateError> {
        self.bind.watch.go_on()?;
        let inode = Inode::hold(&self.bind.base, found)?;
        let stat = inode.stat()?;
        if stat.st_dev != self.bind.base.device() {
            return Err(self.bind.base.refused(inode.path(), rustix::io::Errno::XDEV));
        }
        if !is_whiteout(&stat) {
            self.visitor.one(&inode, &stat)?;
        }
        Ok(self.bind.wish.recurse && kind(&stat) == FileType::Directory)
    }

    fn finish(&mut self) -> Result<(), MigrateError> {
        self.visitor.end()
    }
}

struct Looker<'a> {
    bind: &'a Bind<'a>,
    known: Vec<Known>,
    /// Names of an inode that have not been met, and one that has.
    links: HashMap<u64, (u32, String)>,
    /// Where it is written down; none where it is only looked at.
    book: Option<&'a mut Book>,
    given: Given,
}

impl<'a> Looker<'a> {
    fn new(bind: &'a Bind<'a>, book: Option<&'a mut Book>) -> Self {
        Self { bind, known: Vec::new(), links: HashMap::new(), book, given: Given::default() }
    }
}

impl OneByOne for Looker<'_> {
    fn one(&mut self, inode: &Inode<'_>, stat: &Stat) -> Result<(), MigrateError> {
        let mapping = &self.bind.wish.mapping;
        let places = [mapping.uid.place(stat.st_uid, Direction::Into), mapping.gid.place(stat.st_gid, Direction::Into)];
        let file = self.bind.full(inode);
        if links(stat) > 1 && kind(stat) != FileType::Directory {
            let left = self.links.entry(stat.st_ino).or_insert_with(|| (links(stat), file.clone()));
            left.0 = left.0.saturating_sub(1);
        }
        if self.bind.wish.policy == Policy::Chown && places.contains(&Place::Outside) {
            let owner = format!("{}:{}", stat.st_uid, stat.st_gid);
            return Err(MigrateError::Refused(format!("{file} is {owner}'s, whom no container can be")));
        }
        self.given.inodes += 1;
        let moves = places.iter().any(|place| matches!(place, Place::To(_)));
        self.given.changed += u64::from(moves || self.bind.wish.policy == Policy::Acl);
        if self.book.is_some() {
            self.known.push(known(inode, stat)?);
            if self.known.len() >= BATCH {
                self.end()?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), MigrateError> {
        match &mut self.book {
            Some(book) if !self.known.is_empty() => book.note(std::mem::take(&mut self.known)),
            _ => Ok(()),
        }
    }
}

/// An inode as it is.
fn known(inode: &Inode<'_>, stat: &Stat) -> Result<Known, MigrateError> {
    let is = kind(stat);
    let plain = is == FileType::RegularFile;
    let capability = if plain { inode.attribute(CAPABILITY)? } else { None };
    let special = plain && (stat.st_mode & SET_IDS != 0 || capability.is_some());
    let list = |name| if is == FileType::Symlink { Ok(None) } else { inode.attribute(name) };
    Ok(Known {
        inode: stat.st_ino,
        born: born(inode),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & PERMISSIONS,
        capability: capability.as_deref().map(hex),
        sha256: if special { Some(content(inode)?) } else { None },
        lists: [list(ACLS[0])?.as_deref().map(hex), list(ACLS[1])?.as_deref().map(hex)],
    })
}

fn born(inode: &Inode<'_>) -> Option<(i64, u32)> {
    let found = statx(inode.descriptor(), c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let knows = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    knows.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
}

/// The digest of a regular file.
fn content(inode: &Inode<'_>) -> Result<String, MigrateError> {
    let failed = |error: std::io::Error| MigrateError::Refused(format!("{}: {error}", inode.path().display()));
    digest_of(inode.reader().map_err(failed)?).map_err(failed)
}

/// What an inode is to be.
struct Want {
    owner: (u32, u32),
    /// None: whatever it comes to.
    mode: Option<u32>,
    capability: Option<Vec<u8>>,
    /// None: as it is.
    lists: Option<[Option<Vec<u8>>; 2]>,
}

struct Putter<'a> {
    bind: &'a Bind<'a>,
    book: &'a Book,
    direction: Direction,
    given: Given,
}

impl OneByOne for Putter<'_> {
    fn one(&mut self, inode: &Inode<'_>, stat: &Stat) -> Result<(), MigrateError> {
        self.given.inodes += 1;
        // A number that another file has now is not that file.
        let known = self.book.known(stat.st_ino).filter(|known| known.born == born(inode));
        let want = match (known, self.direction) {
            (Some(known), Direction::Into) => self.wanted(known, stat),
            (Some(known), Direction::OutOf) => self.as_it_was(known, inode, stat)?,
            // Made by a container or the host meanwhile: whoever made it knows whose it is.
            (None, Direction::Into) => return Ok(()),
            (None, Direction::OutOf) => self.stranger(inode, stat),
        };
        let changed = self.make(inode, stat, &want)?;
        self.given.changed += u64::from(changed);
        Ok(())
    }
}

impl Putter<'_> {
    fn wanted(&self, known: &Known, stat: &Stat) -> Want {
        let mapping = &self.bind.wish.mapping;
        let had = lists(known);
        match self.bind.wish.policy {
            Policy::Chown => Want {
                owner: (mapping.uid.moved(known.uid, Direction::Into), mapping.gid.moved(known.gid, Direction::Into)),
                mode: Some(known.mode),
                capability: known.capability.as_deref().and_then(unhex),
                lists: Some(had.map(|list| list.and_then(|list| acl::moved(&list, mapping, Direction::Into)))),
            },
            Policy::Acl if kind(stat) == FileType::Symlink => {
                Want { owner: (known.uid, known.gid), mode: None, capability: None, lists: None }
            }
            Policy::Acl => {
                let [access, default] = had;
                let root = mapping.uid.start();
                let is_directory = kind(stat) == FileType::Directory;
                let list = |had: Option<Vec<u8>>| acl::with_user(had.as_deref(), known.mode, root);
                let default = if is_directory { list(default) } else { None };
                Want {
                    owner: (known.uid, known.gid),
                    mode: None,
                    capability: None,
                    lists: Some([list(access), default]),
                }
            }
        }
    }

    fn as_it_was(&mut self, known: &Known, inode: &Inode<'_>, stat: &Stat) -> Result<Want, MigrateError> {
        let mut want = Want {
            owner: (known.uid, known.gid),
            mode: Some(known.mode),
            capability: known.capability.as_deref().and_then(unhex),
            lists: Some(lists(known)),
        };
        // A container may have written another program into it, which would run as the host's root.
        if let Some(sha256) = &known.sha256
            && (kind(stat) != FileType::RegularFile || content(inode)? != *sha256)
        {
            want.mode = Some(known.mode & !SET_IDS);
            want.capability = None;
            name(&mut self.given.lost, self.bind.full(inode));
        }
        Ok(want)
    }

    fn stranger(&mut self, inode: &Inode<'_>, stat: &Stat) -> Want {
        let mapping = &self.bind.wish.mapping;
        name(&mut self.given.made_since, self.bind.full(inode));
        Want {
            owner: (mapping.uid.moved(stat.st_uid, Direction::OutOf), mapping.gid.moved(stat.st_gid, Direction::OutOf)),
            mode: Some(stat.st_mode & PERMISSIONS & !SET_IDS),
            capability: None,
            lists: None,
        }
    }

    fn make(&self, inode: &Inode<'_>, stat: &Stat, want: &Want) -> Result<bool, MigrateError> {
        let is_link = kind(stat) == FileType::Symlink;
        let mut changed = false;
        let mut about = || {
            changed = true;
            self.bind.watch.before_change()
        };
        let mode = want.mode.filter(|_| !is_link);
        // What must not be setuid any more is not for a moment the new owner's.
        if mode.is_some_and(|mode| stat.st_mode & SET_IDS & !mode != 0) {
            about()?;
            inode.permit(stat.st_mode & PERMISSIONS & !SET_IDS)?;
        }
        if kind(stat) == FileType::RegularFile && want.capability.is_none() && inode.attribute(CAPABILITY)?.is_some() {
            about()?;
            inode.remove_attribute(CAPABILITY)?;
        }
        if want.owner != (stat.st_uid, stat.st_gid) {
            about()?;
            inode.give(want.owner.0, want.owner.1)?;
        }
        if let (Some(lists), false) = (&want.lists, is_link) {
            for (name, list) in ACLS.iter().zip(lists) {
                let now = inode.attribute(name)?;
                match list {
                    Some(list) if now.as_ref() != Some(list) => {
                        about()?;
                        inode.set_attribute(*name, list)?;
                    }
                    None if now.is_some() => {
                        about()?;
                        inode.remove_attribute(name)?;
                    }
                    _ => {}
                }
            }
        }
        if let Some(capability) = &want.capability
            && inode.attribute(CAPABILITY)?.as_ref() != Some(capability)
        {
            about()?;
            inode.set_attribute(CAPABILITY, capability)?;
        }
        if let Some(mode) = mode
            && inode.stat()?.st_mode & PERMISSIONS != mode
        {
            about()?;
            inode.permit(mode)?;
        }
        Ok(changed)
    }
}

fn lists(known: &Known) -> [Option<Vec<u8>>; 2] {
    known.lists.each_ref().map(|list| list.as_deref().and_then(unhex))
}

fn name(names: &mut Vec<String>, path: String) {
    if names.len() < NAMED {
        names.push(path);
    } else if let Some(last) = names.last_mut()
        && !last.ends_with(" and more")
    {
        last.push_str(" and more");
    }
}
