//! union, intersect, difference, symmetric_difference. Ansible's order is that of a Python set, thus arbitrary; here
//! items keep the order in which they come.

use super::arguments::list;
use minijinja::{Environment, Error, Value};

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("union", |one: &Value, two: &Value| {
        let two = list("union", two)?;
        Ok::<_, Error>(unique(list("union", one)?.into_iter().chain(two)))
    });
    environment.add_filter("intersect", |one: &Value, two: &Value| {
        let two = list("intersect", two)?;
        Ok::<_, Error>(unique(list("intersect", one)?.into_iter().filter(|item| two.contains(item))))
    });
    environment.add_filter("difference", |one: &Value, two: &Value| {
        let two = list("difference", two)?;
        Ok::<_, Error>(unique(list("difference", one)?.into_iter().filter(|item| !two.contains(item))))
    });
    environment.add_filter("symmetric_difference", |one: &Value, two: &Value| {
        let (one, two) = (list("symmetric_difference", one)?, list("symmetric_difference", two)?);
        let first: Vec<_> = one.iter().filter(|item| !two.contains(item)).cloned().collect();
        let second: Vec<_> = two.iter().filter(|item| !one.contains(item)).cloned().collect();
        Ok::<_, Error>(unique(first.into_iter().chain(second)))
    });
}

fn unique(items: impl Iterator<Item = Value>) -> Value {
    let mut seen: Vec<Value> = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    Value::from(seen)
}
