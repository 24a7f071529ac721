//! The runbook on real hosts (tests/lab/README.md). `scripts/test` brings three hosts up and sets `ROLLGATE_LAB`.

#[cfg(test)]
mod support;

#[cfg(test)]
mod cleanup;
#[cfg(test)]
mod data_set;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod held;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod migrate_kills;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod swarm;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod triggers;
#[cfg(test)]
mod verification;
