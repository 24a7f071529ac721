//! The guard of a host (rollout.md 2.6): armed before its first mutating step, told every quarter of its timeout that we
//! are there, and disarmed by a confirmation over a new connection. Without us the host puts itself back.

use super::{
    calls::{self, CallPlan},
    dispatcher::{Desk, Permission, Permit},
    stop::Level,
    txn::TxnError,
    unit::{Txn, Unit, explained},
    watch::{News, Wire},
};
use crate::{
    clock::millis,
    host::{Host, HostError, RunAs},
    journal::{EventKind, hex},
    playbook::GuardKeys,
};
use rollgate_agent::protocol::{AgentErrorKind, Answer, Call, GuardArm, GuardForm, GuardReport};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::AbortHandle, time::Instant};

/// How long arming, confirming or asking a guard may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Before a confirmation that found no way in is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The guards of a play.
pub(crate) struct GuardCx {
    keys: GuardKeys,
    max_unavailable: usize,
    /// Hosts that hold a place: its number, and how many guards it has there.
    places: Mutex<BTreeMap<String, (usize, usize)>>,
    weak_said: AtomicBool,
    wire: Wire,
}

impl GuardCx {
    pub(crate) fn new(keys: GuardKeys, max_unavailable: usize, wire: Wire) -> Arc<Self> {
        let (places, weak_said) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { keys, max_unavailable: max_unavailable.max(1), places, weak_said, wire })
    }

    /// The slot of a host: the lowest number that no guarded host has, divided by `max_unavailable` (R14).
    fn enter(self: &Arc<Self>, host: &str) -> (usize, Place) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: Vec<usize> = places.values().map(|(number, _)| *number).collect();
        let free = (0..).find(|number| !taken.contains(number)).unwrap_or(0);
        let place = places.entry(host.to_owned()).or_insert((free, 0));
        place.1 += 1;
        (place.0 / self.max_unavailable, Place { cx: Arc::clone(self), host: host.to_owned() })
    }
}

/// A guarded host's place among the others, as long as one of its guards lives.
struct Place {
    cx: Arc<GuardCx>,
    host: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.cx.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(&self.host) {
            place.1 -= 1;
            if place.1 == 0 {
                places.remove(&self.host);
            }
        }
    }
}

/// What only this controller knows of a guard: whoever has it may confirm. Never shown, never written down.
#[derive(Clone)]
struct Nonce(String);

impl Nonce {
    fn new() -> Result<Self, String> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| format!("no random bytes for a guard: {error}"))?;
        Ok(Self(hex(&random)))
    }

    fn digest(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

/// A guard that is held: its lease is extended as long as this lives.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Held>);

struct Held {
    nonce: Nonce,
    extending: AbortHandle,
    _place: Place,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.extending.abort();
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

/// How a confirmation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfirmEnd {
    /// The change is kept.
    Confirmed,
    /// The guard has fired: the host puts itself back, or has.
    Lost(String),
    /// No new connection could be made, or the host refused.
    Failed(String),
    /// The run was aborted or killed first.
    Denied,
}

impl Unit {
    /// Arms a transaction's guard where the play has guards.
    pub(super) async fn arm(&self, txn: &Txn) -> Result<Option<Guard>, TxnError> {
        let Some(cx) = &self.play.guard else { return Ok(None) };
        let nonce = Nonce::new().map_err(TxnError::Failed)?;
        let (slot, place) = cx.enter(&self.name);
        let delay = cx.keys.delay(slot);
        let arm = GuardArm {
            txn: txn.id.clone(),
            nonce: nonce.0.clone(),
            timeout_ms: millis(cx.keys.timeout),
            delay_ms: millis(delay),
            revert_budget_ms: millis(cx.keys.revert_budget),
            expect_reboot: cx.keys.expect_reboot,
        };
        let call = Call::GuardArm(arm);
        let armed = guard_call(&self.run.desk, self.host.as_ref(), call, &txn.run_as, LIMIT).await;
        let report = armed.map_err(TxnError::from)?;
        self.armed.store(true, Ordering::Release);
        self.run.desk.emit(EventKind::GuardArmed {
            host: self.name.clone(),
            txn: txn.id.clone(),
            nonce_sha256: nonce.digest(),
            slot,
            timeout_ms: millis(cx.keys.timeout),
            delay_ms: millis(delay),
            form: report.form,
            weak: report.weak.clone(),
        });
        if report.form == GuardForm::Process && !cx.weak_said.swap(true, Ordering::Relaxed) {
            let why = report.weak.unwrap_or_default();
            self.warn(format!(
                "Its guard is of the weak form, a process that no reboot survives ({why}). Other hosts may have it, too."
            ));
        }
        let extending = Extending {
            desk: self.run.desk.clone(),
            host: Arc::clone(&self.host),
            name: self.name.clone(),
            run_as: txn.run_as.clone(),
            txn: txn.id.clone(),
            nonce: nonce.clone(),
            every: cx.keys.every(),
            wire: cx.wire.clone(),
            armed: Arc::clone(&self.armed),
        };
        let extending = tokio::spawn(extending.run()).abort_handle();
        Ok(Some(Guard(Arc::new(Held { nonce, extending, _place: place }))))
    }

    /// Whether the host puts itself back when nobody confirms.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// Lets the leases run out: what is not confirmed is the guard's.
    pub(crate) fn leave_to_guard(&mut self) {
        for txn in &mut self.txns {
            txn.guard = None;
        }
    }

    /// The host is as it should be, or as before: no guard is left.
    pub(super) fn disarmed(&mut self) {
        self.leave_to_guard();
        self.armed.store(false, Ordering::Release);
    }

    /// Confirms every guard over a new connection, which a change that broke the way in does not get.
    pub(crate) async fn confirm(&mut self) -> ConfirmEnd {
        let target = match (self.run.target)(&self.play.play, &self.name) {
            Ok(target) => target,
            Err(why) => return ConfirmEnd::Failed(why),
        };
        let limit = self.play.guard.as_ref().map_or(LIMIT, |cx| cx.keys.timeout);
        for txn in self.txns.clone() {
            let Some(guard) = &txn.guard else { continue };
            let intent = EventKind::ConfirmIntent { host: self.name.clone(), txn: txn.id.clone() };
            if self.run.desk.ask(Permission::Rollback, intent).await == Permit::Denied {
                return ConfirmEnd::Denied;
            }
            let until = Instant::now() + limit;
            let end = loop {
                let fresh = self.run.fleet.host(&target);
                let end = self.confirm_once(fresh.as_ref(), &txn, guard).await;
                drop(tokio::time::timeout(AGAIN, fresh.close()).await);
                match end {
                    ConfirmEnd::Failed(_) if Instant::now() + AGAIN < until => self.run.clock.sleep(AGAIN).await,
                    end => break end,
                }
            };
            let refused = match &end {
                ConfirmEnd::Lost(why) | ConfirmEnd::Failed(why) => Some(why.clone()),
                ConfirmEnd::Confirmed | ConfirmEnd::Denied => None,
            };
            let (host, id) = (self.name.clone(), txn.id.clone());
            self.run.desk.emit(EventKind::ConfirmResult { host, txn: id, refused });
            if end != ConfirmEnd::Confirmed {
                return end;
            }
            if let Some(held) = self.txns.iter_mut().find(|held| held.id == txn.id) {
                held.guard = None;
            }
        }
        self.armed.store(false, Ordering::Release);
        ConfirmEnd::Confirmed
    }

    async fn confirm_once(&self, fresh: &dyn Host, txn: &Txn, guard: &Guard) -> ConfirmEnd {
        let call = Call::GuardConfirm { txn: txn.id.clone(), nonce: guard.0.nonce.0.clone() };
        let confirmed = match calls::open(fresh, &txn.run_as).await {
            Ok(_) => guard_call(&self.run.desk, fresh, call, &txn.run_as, LIMIT).await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(_) => ConfirmEnd::Confirmed,
            Err(HostError::Agent(error)) if error.kind == AgentErrorKind::GuardLost => ConfirmEnd::Lost(error.message),
            Err(error) => ConfirmEnd::Failed(format!("not confirmed over a new connection: {}", explained(&error))),
        }
    }

    /// Nothing was changed here: the guard goes, and the record with it.
    pub(crate) async fn let_go(&mut self) {
        for txn in self.txns.clone() {
            let Some(guard) = &txn.guard else { continue };
            let call = Call::GuardConfirm { txn: txn.id.clone(), nonce: guard.0.nonce.0.clone() };
            if let Err(error) = guard_call(&self.run.desk, self.host.as_ref(), call, &txn.run_as, LIMIT).await {
                // It fires and finds nothing to put back.
                self.warn(format!("The guard of transaction {} was not disarmed: {}.", txn.id, explained(&error)));
                return;
            }
        }
        self.disarmed();
        self.keep().await;
        self.txns.clear();
    }
}

/// Asks one thing of a guard.
async fn guard_call(
    desk: &Desk,
    host: &dyn Host,
    call: Call,
    run_as: &RunAs,
    limit: Duration,
) -> Result<GuardReport, HostError> {
    match calls::call(desk, host, call, CallPlan::whole(run_as, limit)).await? {
        Answer::Guard(report) => Ok(*report),
        _ => Err(HostError::Protocol { message: "an answer of another kind".to_owned() }),
    }
}

/// Says every quarter of the timeout that the controller is there.
struct Extending {
    desk: Desk,
    host: Arc<dyn Host>,
    name: String,
    run_as: RunAs,
    txn: String,
    nonce: Nonce,
    every: Duration,
    wire: Wire,
    armed: Arc<AtomicBool>,
}

impl Extending {
    async fn run(self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = self.desk.until(Level::Kill) => return,
            }
            let call = Call::GuardExtend { txn: self.txn.clone(), nonce: self.nonce.0.clone() };
            // A host out of reach is told at the next quarter; its lease has room for that.
            let said = guard_call(&self.desk, self.host.as_ref(), call, &self.run_as, self.every).await;
            if let Err(HostError::Agent(error)) = said
                && error.kind == AgentErrorKind::GuardLost
            {
                // A play that has ended needs no news.
                let _ = self.wire.send((self.name, News::GuardLost { why: error.message, armed: self.armed }));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_from_the_lowest_free_place() {
        let (wire, _news) = tokio::sync::mpsc::unbounded_channel();
        let cx = GuardCx::new(GuardKeys::default(), 2, wire);
        let held: Vec<(usize, Place)> = ["a", "b", "c", "d", "e"].iter().map(|host| cx.enter(host)).collect();
        assert_eq!(held.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0, 0, 1, 1, 2]);
        let (again, second) = cx.enter("c");
        assert_eq!(again, 1, "a host has one place");
        drop(held);
        assert_eq!(cx.enter("f").0, 0);
        assert_eq!(cx.enter("c").0, 1, "still held by its second guard");
        drop(second);
    }

    #[test]
    fn a_nonce_is_random_and_hidden() {
        let (one, two) = (Nonce::new().expect("random"), Nonce::new().expect("random"));
        assert_ne!(one.0, two.0);
        assert_eq!(one.0.len(), 32);
        assert_eq!(one.digest().len(), 64);
    }
}
