//! Batches, budgets, probes, triggers, and the judge, which is pure.

mod budget;
mod domains;
mod evidence;
mod expression;
mod health;
mod judge;
mod percentile;
mod policy;
mod progress;
mod resolved;
mod round;
mod sizes;
mod state;
mod trigger;
mod upgraded;
pub mod verdict;

#[cfg(test)]
pub(crate) mod histories;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Disruption, Failures, Spent};
pub use domains::{Domain, DomainOf, Domains};
pub use health::HealthyTime;
pub use judge::{Finding, Fired, Judge, Round};
pub use percentile::p95;
pub use policy::Policy;
pub use progress::Progress;
pub use resolved::{Resolved, count, ordinal, span};
pub use round::{Item, ProbeRules, Sample};
pub use sizes::{batches, exceeds_percentage, ramp, speed, tolerance};
pub use upgraded::Upgraded;
