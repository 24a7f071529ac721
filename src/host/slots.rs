//! Things made once and shared: a host's connection, an agent for each user. Made again when found dead.

use super::HostError;
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

/// Says whether a thing can still be used.
pub(crate) trait Alive: Send + Sync + 'static {
    /// False once the other side has gone.
    fn alive(&self) -> bool;
}

type Slot<T> = Shared<BoxFuture<'static, Result<Arc<T>, HostError>>>;

/// One slot a key. Whoever asks while a thing is being made waits for that one; a caller that goes away does not stop
/// the making.
pub(crate) struct Slots<T> {
    slots: Mutex<HashMap<String, Slot<T>>>,
}

impl<T: Alive> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Mutex::new(HashMap::new()) }
    }

    /// The thing of a key: the live one, the one being made, or a new one.
    pub(crate) async fn get<F>(&self, key: &str, make: impl FnOnce() -> F) -> Result<Arc<T>, HostError>
    where
        F: Future<Output = Result<T, HostError>> + Send + 'static,
    {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            match slots.get(key) {
                Some(slot) if slot.peek().is_none_or(|made| made.as_ref().is_ok_and(|thing| thing.alive())) => {
                    slot.clone()
                }
                _ => {
                    let slot = spawn(make());
                    slots.insert(key.to_owned(), slot.clone());
                    slot
                }
            }
        };
        slot.await
    }

    /// Takes out everything that was made; what is being made is forgotten.
    pub(crate) fn take(&self) -> Vec<Arc<T>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.drain().filter_map(|(_, slot)| slot.peek().cloned()?.ok()).collect()
    }
}

fn spawn<T: Alive>(make: impl Future<Output = Result<T, HostError>> + Send + 'static) -> Slot<T> {
    let task = tokio::spawn(make);
    async move {
        match task.await {
            Ok(made) => made.map(Arc::new),
            Err(error) => Err(HostError::Unreachable {
                stage: super::Stage::Connect,
                message: format!("connecting ended by an error of rollgate itself: {error}"),
                hint: None,
            }),
        }
    }
    .boxed()
    .shared()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    struct Thing(AtomicBool);

    impl Alive for Thing {
        fn alive(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn one_thing_is_made_for_many_and_again_only_when_it_is_dead() {
        let slots = Slots::new();
        let made = Arc::new(AtomicUsize::new(0));
        let make = || {
            let made = made.clone();
            async move {
                made.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok(Thing(AtomicBool::new(true)))
            }
        };
        let (a, b) = tokio::join!(slots.get("k", make), slots.get("k", make));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(made.load(Ordering::SeqCst), 1);
        a.0.store(false, Ordering::SeqCst);
        let c = slots.get("k", make).await.unwrap();
        assert!(!Arc::ptr_eq(&a, &c));
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept_and_a_panic_is_an_error_of_one_host() {
        let slots = Slots::<Thing>::new();
        let failed = slots.get("k", || async { panic!("on purpose") }).await;
        assert!(matches!(failed, Err(HostError::Unreachable { .. })));
        assert!(slots.get("k", || async { Ok(Thing(AtomicBool::new(true))) }).await.is_ok());
    }
}
