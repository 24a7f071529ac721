//! Template files: their own options, files they include, and errors that point into them.

use super::{
    context::{Context, Written},
    environment,
    failure::{Failure, Site, carried, explain},
    prepare,
    render::with_newlines_of,
};
use crate::config::{Place, Source};
use minijinja::{Error, ErrorKind};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// How a template file is read; the defaults are those of Ansible's `template` module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOptions {
    /// The newline after a block is removed.
    pub trim_blocks: bool,
    /// Whitespace before a block at the start of a line is removed.
    pub lstrip_blocks: bool,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { trim_blocks: true, lstrip_blocks: false }
    }
}

/// The first line of a file may set options: `#jinja2: lstrip_blocks: True`.
const HEADER: &str = "#jinja2:";

/// Renders a template file. Backslashes in its strings are escapes, as in Ansible.
///
/// # Errors
/// What is wrong in it, and where; [`Failure::Unknown`] where it reads what check mode cannot know.
pub fn render_file(context: &Context, path: &Path, options: &FileOptions) -> Result<String, Failure> {
    let text = fs_err::read_to_string(path)
        .map_err(|error| Failure::message(format!("cannot read the template: {error}"), None))?;
    // Jinja reads every kind of line end as a newline.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let source = Arc::new(Source { path: path.display().to_string(), text });
    let (options, start) = header(&source, options)?;
    let body = source.text.get(start..).unwrap_or_default();
    let place = Place { source: Arc::clone(&source), range: start..source.text.len() };
    let prepared = prepare::template(body, false);
    let mut engine = environment::for_files(options.trim_blocks, options.lstrip_blocks);
    engine.set_path_join_callback(|name, parent| {
        let beside = Path::new(parent).parent().unwrap_or(Path::new("")).join(name);
        if beside.is_file() { beside.display().to_string().into() } else { name.to_owned().into() }
    });
    let bases = search_path(context, path);
    engine.set_loader(move |name| load(name, &bases));
    context.begin_writing();
    let text = prepared.text.strip_suffix('\n').unwrap_or(&prepared.text);
    let rendered = engine.render_named_str(&source.path, text, context.root());
    let written = context.end_writing();
    rendered.map(|text| finish(text, &written, body)).map_err(|error| {
        // An error within an included file names that file.
        if carried(&error).is_none()
            && let Some(name) = error.name().filter(|name| *name != source.path)
            && let Ok(text) = fs_err::read_to_string(name)
        {
            let prepared = prepare::template(&text, false);
            let included = Arc::new(Source { path: name.to_owned(), text: text.clone() });
            let place = Place { range: 0..text.len(), source: included };
            return explain(
                &error,
                context,
                &Site { text: &text, prepared: &prepared, offset: 0, place: Some(&place) },
            );
        }
        explain(&error, context, &Site { text: body, prepared: &prepared, offset: 0, place: Some(&place) })
    })
}

/// Puts back newlines at the end as Ansible does: not where nothing was written, nor where all that was written is one
/// value that is no text.
fn finish(text: String, written: &Written, body: &str) -> String {
    let nothing = text.is_empty() && written.count == 0;
    let one_value = written.count == 1
        && written.first.as_ref().is_some_and(|(value, length)| *length == text.len() && value.as_str().is_none());
    if nothing || one_value { text } else { with_newlines_of(&text, body) }
}

/// Directories in which included files are looked for.
fn search_path(context: &Context, path: &Path) -> Vec<PathBuf> {
    let own = path.parent().map(Path::to_path_buf);
    let others = context.variables().directories();
    own.into_iter().chain(others.iter().flat_map(|base| [base.join("templates"), base.clone()])).collect()
}

fn load(name: &str, bases: &[PathBuf]) -> Result<Option<String>, Error> {
    // Joining an absolute name gives that name.
    for path in bases.iter().map(|base| base.join(name)) {
        if path.is_file() {
            let text = fs_err::read_to_string(&path)
                .map_err(|error| Error::new(ErrorKind::BadInclude, format!("cannot read an included file: {error}")))?;
            // Jinja takes one newline off the end of an included file.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            return Ok(Some(prepare::template(text, false).text));
        }
    }
    Ok(None)
}

/// Reads the options of the first line. Returns them and where the template begins.
fn header(source: &Arc<Source>, options: &FileOptions) -> Result<(FileOptions, usize), Failure> {
    let mut options = *options;
    let Some(rest) = source.text.strip_prefix(HEADER) else { return Ok((options, 0)) };
    let line = rest.lines().next().unwrap_or_default();
    let start = (HEADER.len() + line.len() + 1).min(source.text.len());
    for pair in line.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(':').map_or((pair, ""), |(key, value)| (key.trim(), value.trim()));
        let on = match value {
            "True" | "true" => true,
            "False" | "false" => false,
            _ => return Err(bad_header(source, start, pair)),
        };
        match key {
            "trim_blocks" => options.trim_blocks = on,
            "lstrip_blocks" => options.lstrip_blocks = on,
            _ => return Err(bad_header(source, start, pair)),
        }
    }
    Ok((options, start))
}

fn bad_header(source: &Arc<Source>, end: usize, pair: &str) -> Failure {
    let place = Place { source: Arc::clone(source), range: 0..end.saturating_sub(1) };
    Failure::message(
        format!("`{pair}` is no option of a template's first line"),
        Some("There are `trim_blocks: True` and `lstrip_blocks: True`, or False.".to_owned()),
    )
    .at(Some(&place))
}
