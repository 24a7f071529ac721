//! `-e`: `key=value` pairs, YAML or JSON, or `@file`.

use crate::{
    config::{Diagnostic, Diagnostics, Document, Source, load_yaml, parse_yaml},
    playbook::Template,
};
use serde_json::Value;
use std::{path::Path, sync::Arc};

/// Parses the arguments of `-e` in order; of two of one name the later wins. Values of `key=value` are strings.
///
/// # Errors
/// Every argument that cannot be read.
pub fn parse(arguments: &[String]) -> Result<Vec<(String, Template)>, Diagnostics> {
    let mut variables = Vec::new();
    let mut problems = Diagnostics::default();
    for argument in arguments {
        match one(argument) {
            Ok(found) => variables.extend(found),
            Err(mut found) => problems.0.append(&mut found.0),
        }
    }
    if problems.0.is_empty() { Ok(variables) } else { Err(problems) }
}

fn one(argument: &str) -> Result<Vec<(String, Template)>, Diagnostics> {
    if let Some(path) = argument.strip_prefix('@') {
        return mapping(&load_yaml(Path::new(path))?);
    }
    if argument.trim_start().starts_with(['{', '[']) {
        let source = Source { path: "-e".to_owned(), text: argument.to_owned() };
        return mapping(&parse_yaml(Arc::new(source))?);
    }
    pairs(argument)
}

fn wrong(message: String, help: &str) -> Diagnostics {
    Diagnostics(vec![Diagnostic { message, place: None, label: String::new(), help: Some(help.to_owned()) }])
}

fn pairs(argument: &str) -> Result<Vec<(String, Template)>, Diagnostics> {
    let words = words(argument)
        .ok_or_else(|| wrong(format!("`-e {argument}`: a quote is not closed"), "Write -e 'name=\"a value\"'."))?;
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if is_name(name) => {
                Ok((name.to_owned(), Template { value: Value::String(value.to_owned()), place: None }))
            }
            Some((name, _)) => Err(wrong(
                format!("`-e {argument}`: `{name}` is no name of a variable"),
                "Names are letters, digits and `_`, and do not begin with a digit.",
            )),
            None => Err(wrong(
                format!("`-e {argument}`: `{word}` is neither name=value, JSON or YAML, nor @FILE"),
                "Write -e name=value, -e '{\"name\": 1}' or -e @vars.yml.",
            )),
        })
        .collect()
}

/// Splits at spaces outside quotes and template braces. Quotes around a value are taken off. None: a quote is open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut braces = 0_usize;
    let mut characters = text.trim().chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '{' if characters.peek() == Some(&'{') || characters.peek() == Some(&'%') => braces += 1,
            '}' if word.ends_with(['}', '%']) => braces = braces.saturating_sub(1),
            _ => {}
        }
        match quote {
            _ if braces > 0 => word.push(c),
            Some(open) if c == open => quote = None,
            Some('"') if c == '\\' && matches!(characters.peek(), Some('"' | '\\')) => {
                word.extend(characters.next());
            }
            Some(_) => word.push(c),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_')
}

fn mapping(document: &Document) -> Result<Vec<(String, Template)>, Diagnostics> {
    let root = &document.root;
    if root.is_null() {
        return Ok(Vec::new());
    }
    let Some(entries) = root.as_map() else {
        return Err(Diagnostics(vec![Diagnostic {
            message: "variables must be a mapping of names to values".to_owned(),
            place: Some(root.place.clone()),
            label: format!("this is {}", root.describe()),
            help: Some("Write `name: value`.".to_owned()),
        }]));
    };
    Ok(entries
        .iter()
        .map(|entry| {
            let value = Template { value: entry.value.value(), place: Some(entry.value.place.clone()) };
            (entry.key.clone(), value)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(argument: &str) -> Vec<(String, Value)> {
        let variables = parse(&[argument.to_owned()]).expect("parses");
        variables.into_iter().map(|(name, template)| (name, template.value)).collect()
    }

    /// As ansible-core 2.19 takes them.
    #[test]
    fn values_of_pairs_are_strings() {
        assert_eq!(
            parsed("a=1 b='two words' c=true"),
            [("a".to_owned(), json!("1")), ("b".to_owned(), json!("two words")), ("c".to_owned(), json!("true")),]
        );
        assert_eq!(
            parsed("t={{ x | default('a b') }} u=1"),
            [("t".to_owned(), json!("{{ x | default('a b') }}")), ("u".to_owned(), json!("1")),]
        );
        assert_eq!(parsed(r#"{"a": 1, "b": [true]}"#), [("a".to_owned(), json!(1)), ("b".to_owned(), json!([true])),]);
    }

    #[test]
    fn files_are_typed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("vars.yml");
        fs_err::write(&path, "a: 1\nb: yes\n").expect("written");
        let variables = parsed(&format!("@{}", path.display()));
        assert_eq!(variables, [("a".to_owned(), json!(1)), ("b".to_owned(), json!(true))]);
    }

    #[test]
    fn all_mistakes_are_told() {
        let arguments = ["nothing", "1a=2", "a='open", "@/no/such/file", "[1]"].map(str::to_owned);
        assert_eq!(parse(&arguments).expect_err("mistakes").0.len(), 5);
    }
}
