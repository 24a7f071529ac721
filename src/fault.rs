//! Faults on purpose, in debug builds only: a step that goes wrong at a chosen point, for the tests that inject a fault at
//! every step of a playbook.
//!
//! `ROLLGATE_FAULT_AT=step:K:MODE` means the K-th step that this process asks an agent to apply. `fail-before`: it is not
//! asked for, and has failed. `fail-after`: it is done, and its answer says that it failed. `repeat`: the same request is
//! sent twice, and the second answer counts. `again`: it is done twice, as a retry does it.
//! `ROLLGATE_FAULT_TRACE=FILE` writes the name of each such step into a file.

#[cfg(not(debug_assertions))]
pub(crate) use off::step;
#[cfg(debug_assertions)]
pub(crate) use on::step;

#[cfg(debug_assertions)]
mod on {
    use crate::host::HostError;
    use rollgate_agent::protocol::{Answer, Call, Change, Mode, TaskCall, TaskReport};
    use std::{
        io::Write as _,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    #[derive(Clone, Copy)]
    enum Fault {
        FailBefore,
        FailAfter,
        Repeat,
        Again,
    }

    static AT: LazyLock<Option<(u64, Fault)>> = LazyLock::new(|| {
        let text = std::env::var("ROLLGATE_FAULT_AT").ok()?;
        let (number, fault) = text.strip_prefix("step:")?.split_once(':')?;
        let fault = match fault {
            "fail-before" => Fault::FailBefore,
            "fail-after" => Fault::FailAfter,
            "repeat" => Fault::Repeat,
            "again" => Fault::Again,
            _ => return None,
        };
        Some((number.parse().ok()?, fault))
    });

    static STEPS: AtomicU64 = AtomicU64::new(0);

    const SAID: &str = "a fault on purpose";

    /// Asks for a step, with the fault that it is to meet.
    pub(crate) async fn step<F>(call: Call, send: impl Fn(Call) -> F) -> Result<Answer, HostError>
    where
        F: Future<Output = Result<Answer, HostError>>,
    {
        let Call::Task(task) = &call else { return send(call).await };
        if task.mode != Mode::Apply {
            return send(call).await;
        }
        let number = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
        trace(task);
        match AT.filter(|(at, _)| *at == number).map(|(_, fault)| fault) {
            None => send(call).await,
            Some(Fault::FailBefore) => Ok(failed(TaskReport::changed_if(false))),
            Some(Fault::FailAfter) => send(call).await.map(|answer| match answer {
                Answer::Task(report) => failed(*report),
                other => other,
            }),
            Some(Fault::Repeat) => {
                drop(send(call.clone()).await);
                send(call).await
            }
            Some(Fault::Again) => {
                let next = next(task);
                Ok(merged(send(call).await?, send(Call::Task(next)).await?))
            }
        }
    }

    fn failed(report: TaskReport) -> Answer {
        Answer::Task(Box::new(TaskReport { failed: Some(SAID.to_owned()), ..report }))
    }

    /// The same work as a step of its own, by a number that no other step has: what counts in the record is the order.
    fn next(task: &TaskCall) -> TaskCall {
        let mut next = task.clone();
        if let Some(step) = &mut next.step {
            step.seq += 1 << 32;
        }
        next
    }

    /// The second answer, which has changed something if one of the two has.
    fn merged(first: Answer, second: Answer) -> Answer {
        match (first, second) {
            (Answer::Task(first), Answer::Task(mut second)) => {
                if first.change != Change::Unchanged {
                    second.change = first.change;
                }
                second.recorded |= first.recorded;
                Answer::Task(second)
            }
            (_, second) => second,
        }
    }

    fn trace(task: &TaskCall) {
        let Ok(path) = std::env::var("ROLLGATE_FAULT_TRACE") else { return };
        let name = task.step.as_ref().map_or_else(|| "no step", |step| step.name.as_str());
        if let Ok(mut file) = fs_err::OpenOptions::new().create(true).append(true).open(path) {
            let _ = file.write_all(format!("{}: {name}\n", task.call.module).as_bytes());
        }
    }
}

#[cfg(not(debug_assertions))]
mod off {
    use crate::host::HostError;
    use rollgate_agent::protocol::{Answer, Call};

    pub(crate) async fn step<F>(call: Call, send: impl Fn(Call) -> F) -> Result<Answer, HostError>
    where
        F: Future<Output = Result<Answer, HostError>>,
    {
        send(call).await
    }
}
