//! Paths of the host that containers bind, given to the subordinate range and taken back (S11): what is there is written down
//! inode by inode before anything is changed, and only what was written down gets its owner and mode back.

mod book;
mod give;

pub use book::{Book, Standing};
pub use give::{Bind, Given, Policy};
