//! Faults on purpose, in debug builds only: a part of a revert that goes wrong, for the tests that inject a fault at every
//! part of one.
//!
//! A file `fault` in the state directory says `undo:K:MODE`: the K-th part of a revert, whoever reverts, as long as the
//! file is there. `fail-before`: it is not done, and has failed. `fail-after`: it is done, and has failed. `repeat`: it is
//! done twice, and what the second time says counts. `migrate:K`: the agent is killed before the K-th change of a
//! migration, on its way or back, and the file is gone. `hold:K`: it stops there, the file is renamed to `held`, and it goes
//! on when that is gone. `count`: the number of changes is written into the file `changes`.

#[cfg(not(debug_assertions))]
pub(crate) use off::{Changes, Undo, undo};
#[cfg(debug_assertions)]
pub(crate) use on::{Changes, Undo, undo};

#[cfg(debug_assertions)]
mod on {
    use crate::undo::UndoError;
    use std::ops::RangeInclusive;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// The fault that a part of a revert is to meet.
    pub(crate) enum Undo {
        None,
        FailBefore,
        FailAfter,
        Repeat,
    }

    /// The fault of the parts with these numbers, from 1.
    pub(crate) fn undo(state_dir: &Path, numbers: RangeInclusive<u64>) -> Undo {
        let Ok(text) = fs_err::read_to_string(state_dir.join("fault")) else { return Undo::None };
        let words: Vec<&str> = text.trim().split(':').collect();
        match words[..] {
            ["undo", number, fault] if number.parse().is_ok_and(|number| numbers.contains(&number)) => match fault {
                "fail-before" => Undo::FailBefore,
                "fail-after" => Undo::FailAfter,
                "repeat" => Undo::Repeat,
                _ => Undo::None,
            },
            _ => Undo::None,
        }
    }

    /// What is to come of the changes of a migration.
    #[derive(Debug, Default, Clone, Copy)]
    enum At {
        #[default]
        Nothing,
        Killed(u64),
        Held(u64),
        Counted,
    }

    /// The changes of a migration, counted.
    #[derive(Debug, Default)]
    pub(crate) struct Changes {
        state_dir: PathBuf,
        at: At,
        made: AtomicU64,
    }

    impl Changes {
        /// As a test asks for.
        pub(crate) fn of(state_dir: &Path) -> Self {
            let text = fs_err::read_to_string(state_dir.join("fault")).unwrap_or_default();
            let number = |text: &str| text.parse().unwrap_or_default();
            let at = match text.trim().split_once(':') {
                Some(("migrate", last)) => At::Killed(number(last)),
                Some(("hold", last)) => At::Held(number(last)),
                None if text.trim() == "count" => At::Counted,
                _ => At::Nothing,
            };
            Self { state_dir: state_dir.to_owned(), at, made: AtomicU64::new(0) }
        }

        /// One more is about to be made.
        pub(crate) fn next(&self) {
            let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
            let fault = self.state_dir.join("fault");
            match self.at {
                At::Killed(last) if last == number => {
                    let _gone = fs_err::remove_file(fault);
                    let _killed =
                        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                }
                At::Held(last) if last <= number => {
                    let held = self.state_dir.join("held");
                    if last == number {
                        let _held = fs_err::rename(&fault, &held);
                    }
                    // So do the other threads.
                    while fault.exists() || held.exists() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                _ => {}
            }
        }
    }

    impl Drop for Changes {
        fn drop(&mut self) {
            if matches!(self.at, At::Counted) {
                let made = self.made.load(Ordering::SeqCst).to_string();
                let _written = fs_err::write(self.state_dir.join("changes"), made);
            }
        }
    }

    impl Undo {
        /// Does a part, and meets the fault.
        pub(crate) fn around<T>(&self, part: &mut impl FnMut() -> Result<T, UndoError>) -> Result<T, UndoError> {
            let failed = || UndoError::Other("a fault on purpose".to_owned());
            match self {
                Self::None => part(),
                Self::FailBefore => Err(failed()),
                Self::FailAfter => part().and_then(|_| Err(failed())),
                Self::Repeat => part().and_then(|_| part()),
            }
        }
    }
}

#[cfg(not(debug_assertions))]
mod off {
    use crate::undo::UndoError;
    use std::ops::RangeInclusive;
    use std::path::Path;

    /// No fault.
    pub(crate) struct Undo;

    /// No fault.
    #[derive(Debug, Default)]
    pub(crate) struct Changes;

    impl Changes {
        pub(crate) fn of(_state_dir: &Path) -> Self {
            Self
        }

        pub(crate) fn next(&self) {}
    }

    pub(crate) fn undo(_state_dir: &Path, _numbers: RangeInclusive<u64>) -> Undo {
        Undo
    }

    impl Undo {
        /// Does a part.
        pub(crate) fn around<T>(&self, part: &mut impl FnMut() -> Result<T, UndoError>) -> Result<T, UndoError> {
            part()
        }
    }
}
