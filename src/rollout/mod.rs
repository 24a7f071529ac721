//! Batches, budgets, probes, triggers, and the judge, which is pure.

pub mod verdict;
