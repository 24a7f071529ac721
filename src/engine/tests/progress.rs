//! How far a long step has come.

use super::{
    scene::{good, rollout},
    script::Script,
};
use crate::journal::EventKind;
use rollgate_agent::protocol::WorkProgress;

#[tokio::test(start_paused = true)]
async fn how_far_a_step_has_come_is_told_between_its_beginning_and_its_end() {
    let work = WorkProgress {
        doing: "shifting".to_owned(),
        files: 3,
        all_files: Some(9),
        bytes: 0,
        all_bytes: None,
        took_ms: 1000,
        left_ms: Some(2000),
    };
    let run = rollout("    batches: [1]", &[Script { tells: Some(work.clone()), ..good() }]).await;
    let place = |is: &dyn Fn(&EventKind) -> bool| run.events.iter().position(|event| is(&event.kind));
    let told = place(&|kind| matches!(kind, EventKind::StepProgress { work: found, .. } if *found == work)).unwrap();
    let EventKind::StepProgress { id: step, .. } = &run.events[told].kind else { unreachable!() };
    let begun = place(&|kind| matches!(kind, EventKind::StepIntent { id, .. } if id == step)).unwrap();
    let ended = place(&|kind| matches!(kind, EventKind::StepResult { id, .. } if id == step)).unwrap();
    assert!(begun < told && told < ended, "{begun} {told} {ended}");
}
