//! Where text goes: standard output or any writer. A reader that has gone away ends the output, not the run.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

/// A shared, pipe-safe output.
#[derive(Clone)]
pub struct Out(Arc<Mutex<Inner>>);

struct Inner {
    writer: Box<dyn Write + Send>,
    gone: bool,
    /// Told once, when nobody reads any more.
    on_gone: Option<Box<dyn FnOnce() + Send>>,
}

impl Out {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::new(Box::new(std::io::stdout()))
    }

    /// Any writer.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(Inner { writer, gone: false, on_gone: None })))
    }

    /// Says what is done when the reader has gone away.
    #[must_use]
    pub fn on_gone(self, told: impl FnOnce() + Send + 'static) -> Self {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).on_gone = Some(Box::new(told));
        self
    }

    /// Writes and flushes. After the first error (a closed pipe, a full disk) nothing more is written.
    pub fn write(&self, text: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.gone || text.is_empty() {
            return;
        }
        let written = inner.writer.write_all(text.as_bytes()).and_then(|()| inner.writer.flush());
        inner.gone = written.is_err();
        if inner.gone
            && let Some(told) = inner.on_gone.take()
        {
            told();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_away_is_no_error() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = Out::new(Box::new(writer));
        out.write("first\n");
        out.write("second\n");
        assert!(out.0.lock().unwrap().gone);
    }
}
