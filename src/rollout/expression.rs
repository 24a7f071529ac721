//! The expressions of `success_when` and of triggers: Jinja, in which what is missing is undefined (R13).

use minijinja::{Environment, Error, UndefinedBehavior, Value, value::Rest};
use std::{collections::BTreeSet, fmt, sync::OnceLock};

/// A compiled expression.
pub(super) struct Expression {
    source: String,
    compiled: minijinja::Expression<'static, 'static>,
    paths: BTreeSet<String>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl Expression {
    /// Compiles; the error says what is wrong with it.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        let compiled = environment().compile_expression_owned(source.to_owned()).map_err(|error| sentence(&error))?;
        let mut paths: BTreeSet<String> = compiled.undeclared_variables(true).into_iter().collect();
        paths.retain(|path| environment().globals().all(|(function, _)| function != path));
        Ok(Self { source: source.to_owned(), compiled, paths })
    }

    /// As written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The dotted names in it, `health.json.docker`.
    pub(super) fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    /// The first parts of the names in it.
    pub(super) fn roots(&self) -> BTreeSet<&str> {
        self.paths.iter().map(|path| path.split('.').next().unwrap_or(path)).collect()
    }

    /// Whether it holds; the error says why that cannot be told.
    pub(super) fn holds(&self, context: &Value) -> Result<bool, String> {
        self.compiled.eval(context.clone()).map(|value| value.is_true()).map_err(|error| sentence(&error))
    }
}

fn sentence(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(100_000));
        environment.add_function("max", |values: Rest<Value>| values.iter().max().cloned());
        environment.add_function("min", |values: Rest<Value>| values.iter().min().cloned());
        environment
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn holds(source: &str, context: Value) -> Result<bool, String> {
        Expression::new(source).unwrap().holds(&context)
    }

    #[test]
    fn a_missing_field_is_undefined_and_differs_from_everything() {
        let json = context! { json => context! { redis => "healthy" } };
        assert_eq!(holds("json.docker != 'healthy'", json.clone()), Ok(true));
        assert_eq!(holds("json.docker == 'healthy'", json.clone()), Ok(false));
        assert_eq!(holds("nothing.at.all == 'healthy'", json.clone()), Ok(false));
        assert_eq!(holds("json.size > 3", json), Ok(false));
    }

    #[test]
    fn max_takes_the_larger_as_in_the_contract() {
        let values = context! { p => context! { p95 => 0.12, baseline => context! { p95 => 0.04 } } };
        let ratio = "p.p95 > max(3 * p.baseline.p95, p.baseline.p95 + 2)";
        assert_eq!(holds(ratio, values), Ok(false), "40 ms to 120 ms is below the floor");
        let values = context! { p => context! { p95 => 2.2, baseline => context! { p95 => 0.04 } } };
        assert_eq!(holds(ratio, values), Ok(true));
    }

    #[test]
    fn names_are_found_and_functions_are_not_names() {
        let expression = Expression::new("max(a.p95, limit) > 3 and health.json.docker != 'x'").unwrap();
        let paths: Vec<&str> = expression.paths().iter().map(String::as_str).collect();
        assert_eq!(paths, ["a.p95", "health.json.docker", "limit"]);
        assert_eq!(expression.roots().into_iter().collect::<Vec<_>>(), ["a", "health", "limit"]);
    }

    #[test]
    fn what_cannot_be_compiled_or_told_is_an_error() {
        assert!(Expression::new("a >").is_err());
        assert!(holds("3 * nothing > 1", context! {}).is_err());
    }
}
